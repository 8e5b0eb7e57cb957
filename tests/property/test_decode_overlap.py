"""Decoders that see a block in its surroundings: where blocks agree objects are joined, and the partition is whole."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import decode
from connectomake.decode.blocks.faces import keep_core
from connectomake.decode.blocks.stitch import match_planes
from connectomake.decode.channels import Channels, name_offset
from connectomake.geometry import Box
from connectomake.targets.affinity import affinities_of_labels
from connectomake.volumes.store import write_store

OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (3, 0, 0), (0, 3, 0), (0, 0, 3))
shapes = st.tuples(*[st.integers(6, 14)] * 3)
cuts = st.tuples(*[st.integers(1, 3)] * 3)


def write_maps(folder, maps, channels):
    """Write maps as a store that says what its channels are."""
    store = Path(folder) / "maps.zarr"
    attributes = {
        "channels": list(channels.names),
        "offsets_zyx_vx": [offset and list(offset) for offset in channels.offsets_zyx],
        "edge_convention": "source",
    }
    write_store(store, maps, voxel_size_zyx_nm=(8, 8, 8), attributes=attributes)
    return store


def pairs_of(a, b):
    return np.unique(np.stack([a.ravel(), b.ravel()]), axis=1).shape[1]


def assert_same_partition(a, b):
    assert pairs_of(a, b) == len(np.unique(a)) == len(np.unique(b))
    np.testing.assert_array_equal(a == 0, b == 0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), shapes, cuts, st.integers(1, 4), st.sampled_from([0, 30]))
def test_blobs_that_cross_faces_are_whole(decode_in_blocks, seed, shape_zyx, cuts_zyx, halo, size):
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape_zyx), 1.5)
    maps = np.where(noise > 0.02, np.uint8(255), np.uint8(0))[None]
    own = {"method": "binary", "min_seed_vx": 0}
    common = {"decoder": "seeded_watershed", "seeded_watershed": own, "min_size_vx": size}
    block = tuple(-(-side // cut) for side, cut in zip(shape_zyx, cuts_zyx, strict=True))
    cfg = DecodeConfig(**common, block_zyx_vx=block, chunk_zyx_vx=block, block_halo_vx=halo)
    channels = Channels(("binary",), (None,))
    with TemporaryDirectory() as folder:
        found = decode_in_blocks(write_maps(folder, maps, channels), cfg, jobs=2)
    assert_same_partition(found, decode(maps, DecodeConfig(**common), channels=channels))


@pytest.mark.parametrize("decoder", ["mutex_watershed", "waterz"])
def test_perfect_affinities_give_the_objects_of_the_whole_in_blocks(decode_in_blocks, tmp_path, decoder):
    pytest.importorskip({"mutex_watershed": "mwatershed"}.get(decoder, decoder))
    grid = np.stack(np.meshgrid(*[np.arange(20)] * 3, indexing="ij"), -1)
    seeds = np.random.default_rng(2).random((12, 3)) * 20
    truth = np.argmin(((grid[..., None, :] - seeds) ** 2).sum(-1), -1) + 1
    affinities = 255 * affinities_of_labels(truth, OFFSETS)[0]
    channels = Channels(tuple(map(name_offset, OFFSETS)), OFFSETS)
    cfg = DecodeConfig(decoder=decoder, block_zyx_vx=(8, 8, 8), chunk_zyx_vx=(8, 8, 8), block_halo_vx=4)
    found = decode_in_blocks(write_maps(tmp_path, affinities, channels), cfg, jobs=2)
    assert_same_partition(found, decode(affinities, DecodeConfig(decoder=decoder), channels=channels))
    assert len(np.unique(found)) == 13


def test_a_core_is_numbered_in_scan_order_and_knows_what_lies_beyond():
    labels = np.zeros((1, 4, 6), np.uint32)
    labels[0, 1] = [7, 7, 7, 5, 5, 9]
    labels[0, 2] = [3, 3, 0, 5, 5, 5]
    block = keep_core(labels, Box((0, 1, 1), (1, 3, 5)))
    assert block.labels[0].tolist() == [[1, 1, 2, 2], [3, 0, 2, 2]]
    assert block.sizes_vx.tolist() == [0, 2, 4, 1]
    assert block.first_voxel.tolist() == [0, 0, 2, 4]
    assert block.before[2].tolist() == [[1, 3]]
    assert block.beyond[2].tolist() == [[0, 2]]  # 9 does not reach the core
    assert not block.before[0].any()
    assert not block.beyond[0].any()


def test_objects_match_by_more_than_half_of_the_smaller():
    here = np.array([1, 1, 1, 1, 2, 2, 3, 3])
    there = np.array([5, 5, 6, 6, 6, 7, 0, 8])
    assert match_planes(here, there).tolist() == [[1, 5], [1, 6], [2, 7], [3, 8]]
