"""A store of affinities of any size, and the steps that decode it in blocks or at once."""

from functools import partial

import numpy as np
from peers import make_affinities

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_tune import BANIS_THRESHOLDS
from connectomake.decode.blocks.label import label_blocks
from connectomake.decode.blocks.relabel import finish_labels, relabel_blocks
from connectomake.decode.blocks.stitch import stitch_blocks
from connectomake.decode.whole import decode_store
from connectomake.geometry import BlockGrid, Box
from connectomake.tune.sweep.sweep import sweep_blocks
from connectomake.volumes.store import create_store, finish_store
from connectomake.volumes.volume import open_volume

TILE = 128
MIN_SIZE_VX = 64
NODES = 50_000


def write_affinities(folder, side):
    """Write a cube of uint8 affinities, made of one tile that differs a little from place to place."""
    store, shape = folder / "affinities.zarr", (3, side, side, side)
    place = {"voxel_size_zyx_nm": (8, 8, 8), "offset_zyx_nm": (0, 0, 0)}
    shard_zyx = (min(side, 256),) * 3
    array = create_store(store, shape=shape, dtype=np.uint8, shard_zyx=shard_zyx, **place)
    tile = make_affinities(TILE)
    for box in BlockGrid(shape[1:], shard_zyx):
        weakest = box.start_zyx[0] // TILE % 8
        array[:, *box.slices] = np.clip(np.tile(tile, (1, *[n // TILE for n in box.shape_zyx])), weakest, 255)
    units = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    finish_store(store, attributes={"offsets_zyx_vx": units, "edge_convention": "source"})
    return store


def block_steps(affinities, block, threads=2):
    """Return the steps of decoding in blocks, by name."""
    cfg = DecodeConfig(min_size_vx=MIN_SIZE_VX, block_zyx_vx=[block] * 3)
    labels, stitched = affinities.parent / "blocks.zarr", affinities.parent / "blocks.json"
    return {
        "label": partial(label_blocks, affinities, labels, cfg, threads=threads),
        "stitch": partial(stitch_blocks, affinities, labels, cfg, stitched),
        "relabel": partial(relabel_blocks, affinities, labels, stitched, cfg),
        "finish": partial(finish_labels, affinities, labels, stitched, cfg),
    }


def whole_step(affinities, threads=2):
    """Return the one step of decoding the volume at once."""
    cfg = DecodeConfig(min_size_vx=MIN_SIZE_VX)
    return partial(decode_store, affinities, affinities.parent / "whole.zarr", cfg, threads=threads)


def sweep_store(affinities, threads=2):
    """Try BANIS's 13 thresholds, labels at 50,000 nodes, from the store."""
    volume = open_volume(affinities)
    _, height, width = volume.shape_zyx
    nodes = np.random.default_rng(0).integers(0, volume.shape_zyx, (NODES, 3))

    def read(begin, end):
        return volume.read(Box((begin, 0, 0), (end, height, width)))

    sweep_blocks(read, volume.shape_zyx, BANIS_THRESHOLDS, nodes, depth=volume.file_chunks_zyx[0], threads=threads)


def require_same_labels(affinities):
    """Compare what both gave, id by id."""
    whole, blocks = (open_volume(affinities.parent / f"{name}.zarr") for name in ("whole", "blocks"))
    depth, height, width = whole.shape_zyx
    for z in range(0, depth, 64):
        box = Box((z, 0, 0), (z + 64, height, width))
        np.testing.assert_array_equal(whole.read(box), blocks.read(box))
