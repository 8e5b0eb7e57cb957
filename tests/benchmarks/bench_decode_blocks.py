"""Decoding a store in blocks against decoding it at once: time, memory, and the share of each step.

Run: pytest tests/benchmarks/bench_decode_blocks.py --benchmark-columns=min,rounds
CONNECTOMAKE_BENCH_SIDE sets the side of the cube in voxels (a multiple of 128; default 256; 1024 needs 8 GB of disk),
CONNECTOMAKE_BENCH_BLOCK that of a block (default 128).

Each step runs in a process of its own, as the jobs of the workflow do; its peak memory is among the extra_info, in GB.
The labels of blocks and of the whole are compared.
"""

import os
from functools import partial

import numpy as np
import pytest
from bench_decode import make_affinities
from processes import in_new_process, peak_bytes

from connectomake.config.decode import DecodeConfig
from connectomake.decode.finish_labels import finish_labels
from connectomake.decode.label_blocks import label_blocks
from connectomake.decode.relabel_blocks import relabel_blocks
from connectomake.decode.stitch_blocks import stitch_blocks
from connectomake.decode.stores import decode_store
from connectomake.geometry import BlockGrid, Box
from connectomake.volumes.store import create_store, finish_store
from connectomake.volumes.volume import open_volume

SIDE = int(os.environ.get("CONNECTOMAKE_BENCH_SIDE", "256"))
BLOCK = int(os.environ.get("CONNECTOMAKE_BENCH_BLOCK", "128"))
MIN_SIZE_VX = 64


def write_affinities(folder):
    """Write a cube of uint8 affinities, made of one tile with a gradient that makes every tile a little different."""
    store, shape = folder / "affinities.zarr", (3, SIDE, SIDE, SIDE)
    place = {"voxel_size_zyx_nm": (8, 8, 8), "offset_zyx_nm": (0, 0, 0)}
    shard_zyx = (min(SIDE, 256),) * 3
    array = create_store(store, shape=shape, dtype=np.uint8, shard_zyx=shard_zyx, **place)
    tile = make_affinities(128)
    for box in BlockGrid(shape[1:], shard_zyx):
        shift = box.start_zyx[0] // 128 % 8
        array[:, *box.slices] = np.clip(np.tile(tile, (1, *[side // 128 for side in box.shape_zyx])), shift, 255)
    units = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    finish_store(store, attributes={"offsets_zyx_vx": units, "edge_convention": "source"})
    return store


@pytest.fixture(scope="module")
def affinities(tmp_path_factory):
    return write_affinities(tmp_path_factory.mktemp("store"))


def steps(affinities, block):
    cfg = DecodeConfig(min_size_vx=MIN_SIZE_VX, block_zyx_vx=[block] * 3)
    labels, stitched = affinities.parent / f"blocks{block}.zarr", affinities.parent / f"blocks{block}.json"
    return {
        "label": partial(label_blocks, affinities, labels, cfg, threads=2),
        "stitch": partial(stitch_blocks, affinities, labels, cfg, stitched),
        "relabel": partial(relabel_blocks, affinities, labels, stitched, cfg),
        "finish": partial(finish_labels, affinities, labels, stitched, cfg),
    }


@pytest.mark.benchmark(group="store")
@pytest.mark.parametrize("step", ["label", "stitch", "relabel", "finish"])
def test_blocks(benchmark, affinities, step):
    peak = benchmark.pedantic(in_new_process, (peak_bytes, steps(affinities, BLOCK)[step]), rounds=1)
    benchmark.extra_info["peak GB"] = round(peak / 1e9, 2)


@pytest.mark.benchmark(group="store")
def test_whole(benchmark, affinities):
    cfg = DecodeConfig(min_size_vx=MIN_SIZE_VX)
    work = partial(decode_store, affinities, affinities.parent / "whole.zarr", cfg, threads=2)
    peak = benchmark.pedantic(in_new_process, (peak_bytes, work), rounds=1)
    benchmark.extra_info["peak GB"] = round(peak / 1e9, 2)
    whole, blocks = (open_volume(affinities.parent / f"{name}.zarr") for name in ("whole", f"blocks{BLOCK}"))
    for z in range(0, SIDE, 64):
        box = Box((z, 0, 0), (z + 64, SIDE, SIDE))
        np.testing.assert_array_equal(whole.read(box), blocks.read(box))
