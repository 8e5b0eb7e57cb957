"""Decoding in blocks against decoding at once: the same labels, id by id, for any grid, any jobs, any interruption."""

import itertools
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import affinity_cc3d, decode
from connectomake.decode.blocks.label import label_blocks
from connectomake.decode.blocks.relabel import finish_labels, relabel_blocks
from connectomake.decode.blocks.stitch import stitch_blocks
from connectomake.decode.channels import Channels
from connectomake.volumes.store import read_attributes, write_store
from connectomake.volumes.volume import open_volume

UNITS = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
CONVENTIONS = ("source", "destination")
shapes = st.tuples(*[st.sampled_from([1, 2, 3, 5, 7, 11])] * 2, st.sampled_from([1, 2, 7, 63, 64, 65, 70]))
cuts = st.tuples(*[st.integers(1, 4)] * 3)
seeds = st.integers(0, 2**32 - 1)
few = settings(deadline=None, max_examples=50)


def random_affinities(seed, shape_zyx, dtype=np.uint8):
    """Return affinities at a density where components wind through many blocks."""
    rng = np.random.default_rng(seed)
    values = rng.choice([0.0, 0.3, 0.502, 0.6, 1.0], (3, *shape_zyx), p=[0.4, 0.2, 0.05, 0.15, 0.2])
    return np.rint(255 * values).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)


def write_affinities(folder, affinities, edge_offset=0):
    store = Path(folder) / "affinities.zarr"
    attributes = {"offsets_zyx_vx": UNITS, "edge_convention": CONVENTIONS[edge_offset]}
    write_store(store, affinities, voxel_size_zyx_nm=(8, 8, 8), attributes=attributes)
    return store


def config(block_zyx, **changes):
    return DecodeConfig(block_zyx_vx=block_zyx, chunk_zyx_vx=block_zyx, **changes)


def check(decode_in_blocks, seed, shape_zyx, cuts_zyx, edge_offset, jobs=1, dtype=np.uint8, threads=1, **changes):
    affinities = random_affinities(seed, shape_zyx, dtype)
    cfg = config(tuple(-(-side // cut) for side, cut in zip(shape_zyx, cuts_zyx, strict=True)), **changes)
    with TemporaryDirectory() as folder:
        store = write_affinities(folder, affinities, edge_offset)
        found = decode_in_blocks(store, cfg, jobs, threads)
    whole = decode(affinities, cfg, channels=Channels.of_nearest(edge_offset))
    np.testing.assert_array_equal(found, whole)
    assert found.dtype == whole.dtype


@few
@given(
    seeds,
    shapes,
    cuts,
    st.integers(0, 1),
    st.integers(1, 4),
    st.sampled_from([np.uint8, np.float16, np.float32]),
    st.integers(1, 3),
)
def test_blocks_give_the_labels_of_the_whole(
    decode_in_blocks, seed, shape_zyx, cuts_zyx, edge_offset, jobs, dtype, threads
):
    check(decode_in_blocks, seed, shape_zyx, cuts_zyx, edge_offset, jobs, dtype, threads)


@pytest.mark.slow("decodes fifty volumes whole and in blocks")
@few
@given(seeds, shapes, cuts, st.integers(0, 1), st.integers(0, 9), st.sampled_from(["background", "neighbor", "none"]))
def test_small_objects_are_told_by_their_size_in_the_volume(
    decode_in_blocks, seed, shape_zyx, cuts_zyx, edge_offset, size, mode
):
    check(decode_in_blocks, seed, shape_zyx, cuts_zyx, edge_offset, min_size_vx=size, remove_small=mode, threshold=0.55)


@pytest.mark.slow("decodes fifty volumes whole and in blocks")
@few
@given(seeds, shapes, cuts, st.integers(0, 1), st.integers(1, 4), st.sampled_from([0.0, 0.2, 0.5]), st.integers(0, 5))
def test_objects_grow_across_faces(decode_in_blocks, seed, shape_zyx, cuts_zyx, edge_offset, distance, floor, size):
    fill = {"fill": "grow", "fill_distance_vx": distance, "fill_floor": floor}
    check(decode_in_blocks, seed, shape_zyx, cuts_zyx, edge_offset, threshold=0.7, min_size_vx=size, **fill)


def test_a_thread_that_winds_through_every_block_is_one_object(decode_in_blocks, tmp_path):
    shape_zyx = (4, 9, 9)
    path = np.zeros(shape_zyx, bool)
    for z, y in itertools.product(range(0, 4, 3), range(0, 9, 2)):
        path[z, y] = True
        path[z, y + 1 : y + 2, 8 * (y // 2 % 2 == 0)] = True
    path[:, 8, 8] = True
    affinities = np.zeros((3, *shape_zyx), np.uint8)
    for axis in range(3):
        here, there = np.moveaxis(path, axis, 0)[:-1], np.moveaxis(path, axis, 0)[1:]
        np.moveaxis(affinities[axis], axis, 0)[:-1] = 255 * (here & there)
    found = decode_in_blocks(write_affinities(tmp_path, affinities), config((2, 2, 2)), jobs=3)
    np.testing.assert_array_equal(found, path)


def test_a_job_goes_on_where_it_was_and_settings_that_change_begin_anew(decode_in_blocks, tmp_path, monkeypatch):
    affinities = random_affinities(1, (6, 7, 8))
    store, cfg = write_affinities(tmp_path, affinities), config((3, 3, 4))
    labels, stitched = tmp_path / "labels.zarr", tmp_path / "ids.json"
    done = []

    def die_after_three(values, *args, **kwargs):
        done.append(values.shape)
        if len(done) == 4:
            raise KeyboardInterrupt
        return original(values, *args, **kwargs)

    import connectomake.decode.blocks.label as module

    original = module.label_block
    monkeypatch.setattr(module, "label_block", die_after_three)
    with pytest.raises(KeyboardInterrupt):
        label_blocks(store, labels, cfg)
    label_blocks(store, labels, cfg)
    assert 12 <= len(done) - 1 <= 13  # the block that was being written when it died may have to be done again
    stitch_blocks(store, labels, cfg, stitched)
    relabel_blocks(store, labels, stitched, cfg)
    other = config((3, 3, 4), threshold=0.2)
    assert not np.array_equal(decode_in_blocks(store, other), affinity_cc3d(affinities, 0.5))
    np.testing.assert_array_equal(open_volume(labels).read(), affinity_cc3d(affinities, 0.2))
    assert read_attributes(labels)["settings"]["threshold"] == 0.2
    assert not (tmp_path / "parts").exists()


def test_what_is_missing_is_named(tmp_path):
    from connectomake.errors import ConfigError, DataError, MissingDataError

    store, cfg = write_affinities(tmp_path, random_affinities(0, (4, 4, 8))), config((2, 2, 4))
    labels, stitched = tmp_path / "labels.zarr", tmp_path / "ids.json"
    with pytest.raises(ConfigError, match="block_zyx_vx is null"):
        label_blocks(store, labels, DecodeConfig())
    with pytest.raises(MissingDataError, match="nothing was begun"):
        stitch_blocks(store, labels, cfg, stitched)
    label_blocks(store, labels, cfg, job=1, jobs=2)
    with pytest.raises(DataError, match=r"lacks 4 of 8 blocks \(0, 2, 4, 6\)"):
        stitch_blocks(store, labels, cfg, stitched)
    label_blocks(store, labels, cfg)
    stitch_blocks(store, labels, cfg, stitched)
    relabel_blocks(store, labels, stitched, cfg, job=0, jobs=4)
    with pytest.raises(DataError, match=r"lacks 6 of 8 blocks"):
        finish_labels(store, labels, stitched, cfg)
    shutil.rmtree(tmp_path / "parts")
    with pytest.raises(DataError, match="is not there"):
        relabel_blocks(store, labels, stitched, cfg)
