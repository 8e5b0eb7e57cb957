"""What rules ask of a machine, where that depends on settings or on a plan. No rules."""

import json
from math import prod

from connectomake.config.decoders import OWN_BYTES_PER_VOXEL


def block_memory_mb(wildcards, attempt):
    """Estimate the memory of decoding in blocks: this block, the next and the last one, with what surrounds them."""
    cfg = INDEX["decode", wildcards.decode].settings["decode"]
    halo_vx = max(cfg.block_halo_vx, cfg.fill_distance_vx * (cfg.fill != "none"))
    bytes_per_voxel = 24 + OWN_BYTES_PER_VOXEL.get(cfg.decoder, 0)
    return attempt * (500 + bytes_per_voxel * prod(side + 2 * halo_vx for side in cfg.block_zyx_vx) // 10**6)


def measuring_memory_mb(wildcards, threads):
    """Estimate the memory of measuring: two blocks for each thread, as they are read and counted, and the skeletons."""
    return 2000 + threads * 40 * settings("measure")(wildcards)["block_vx"] // 10**6


def decoding_crop_mb(wildcards, input, attempt):
    """Estimate the memory of decoding a crop: the objects of one class at a time, on the crop's own voxels."""
    with open(input.volume, encoding="utf-8") as file:
        shape_zyx = json.load(file)["crop"]["shape_zyx"]
    from connectomake.submit.objects import estimate_mb  # needed where a challenge is submitted alone

    return attempt * estimate_mb(shape_zyx)


def planned(need):
    """Give what the plan says that a job takes; more in each further attempt. Not known before the plan is made."""

    def of(wildcards, input, attempt):
        with open(input.plan, encoding="utf-8") as file:
            return attempt * json.load(file)["needs"][need]

    return of


def measuring_environment(wildcards):
    """Give the environment to measure in: funlib.evaluate, the second opinion, has its own."""
    own = settings("measure")(wildcards)["backend"] == "own"
    return ENVIRONMENT if own else "../../envs/funlib.yaml"
