"""The sweep over thresholds against one decode for each, at every voxel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.config.settings.decode_tune import BANIS_THRESHOLDS
from connectomake.decode import affinity_cc3d
from connectomake.errors import DataError
from connectomake.tune.sweep import sweep
from connectomake.tune.sweep.sweep import sweep_blocks, sweep_thresholds

DTYPES = [np.uint8, bool, np.float16, np.float32, np.float64]
GRID = (0.3, 0.0, 0.502, 0.5, 0.3, 0.999, 0.1)

# Rows are cut into 64-bit words: widths on both sides of a word's end matter.
widths = st.sampled_from([1, 2, 3, 5, 63, 64, 65, 127, 129])
wide_shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), widths)
seeds = st.integers(0, 2**32 - 1)
quick = settings(deadline=None, max_examples=80)


def random_affinities(seed, shape_zyx, dtype, share_strong):
    """Return noise in which objects of all sizes form, with values on, above and below the thresholds."""
    rng = np.random.default_rng(seed)
    values = rng.random((3, *shape_zyx))
    exact = rng.random(values.shape) < 0.3
    values[exact] = rng.choice([*GRID, 1.0], exact.sum())
    values[rng.random(values.shape) < share_strong] = 1.0
    if dtype == np.uint8:
        return np.rint(255 * values).astype(np.uint8)
    if dtype is bool:
        return values > 0.5
    values = values.astype(dtype)
    values[rng.random(values.shape) < 0.02] = np.nan
    return values


def all_voxels(shape_zyx, seed=0):
    return np.random.default_rng(seed).permutation(np.argwhere(np.ones(shape_zyx, bool)))


def name_by_first_node(labels_at_nodes):
    """Turn any ids into 1 + the first node that has the same one; 0 stays."""
    _, first, inverse = np.unique(labels_at_nodes, return_index=True, return_inverse=True)
    return np.where(labels_at_nodes > 0, first[inverse] + 1, 0)


def decode_one_by_one(affinities, thresholds, nodes, min_size_vx, edge_offset):
    return np.stack(
        [
            name_by_first_node(
                affinity_cc3d(affinities, t, min_size_vx, edge_offset=edge_offset)[tuple(np.transpose(nodes))]
            )
            for t in thresholds
        ]
    )


@quick
@given(
    seeds,
    wide_shapes,
    st.sampled_from(DTYPES),
    st.sampled_from([0, 1]),
    st.sampled_from([0, 1, 2, 3, 7]),
    st.sampled_from([0.0, 0.3, 0.7]),
)
def test_a_sweep_gives_what_one_decode_for_each_threshold_gives(
    seed, shape_zyx, dtype, edge_offset, min_size_vx, share_strong
):
    affinities = random_affinities(seed, shape_zyx, dtype, share_strong)
    nodes = all_voxels(shape_zyx, seed)
    expected = decode_one_by_one(affinities, GRID, nodes, min_size_vx, edge_offset)
    for threads in (1, 3):
        found = sweep_thresholds(
            affinities, GRID, nodes, min_size_vx=min_size_vx, edge_offset=edge_offset, threads=threads
        )
        assert found.dtype == np.uint32
        np.testing.assert_array_equal(found, expected)


@quick
@given(seeds, wide_shapes, st.sampled_from([0, 1]), st.sampled_from([0, 4]), st.integers(1, 6), st.integers(1, 3))
def test_the_depth_of_slabs_and_the_width_of_entries_change_nothing(
    seed, shape_zyx, edge_offset, min_size_vx, depth, threads
):
    affinities = random_affinities(seed, shape_zyx, np.uint8, 0.4)
    nodes = all_voxels(shape_zyx, seed)
    expected = decode_one_by_one(affinities, BANIS_THRESHOLDS, nodes, min_size_vx, edge_offset)
    options = {"min_size_vx": min_size_vx, "edge_offset": edge_offset, "depth": depth, "threads": threads}

    def read(begin, end):
        return affinities[:, begin:end].copy()

    with pytest.MonkeyPatch.context() as patch:
        for entry in (sweep._choose_entry, lambda voxels, levels: (np.int64, 40)):
            patch.setattr(sweep, "_choose_entry", entry)
            found = sweep_blocks(read, shape_zyx, BANIS_THRESHOLDS, nodes, **options)
            np.testing.assert_array_equal(found, expected)


@quick
@given(seeds, wide_shapes, st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_any_thresholds_in_any_order(seed, shape_zyx, thresholds):
    affinities = random_affinities(seed, shape_zyx, np.float32, 0.2)
    nodes = all_voxels(shape_zyx)
    expected = decode_one_by_one(affinities, thresholds, nodes, 0, 0)
    np.testing.assert_array_equal(sweep_thresholds(affinities, thresholds, nodes), expected)


@quick
@given(seeds, st.tuples(st.integers(1, 7), st.integers(1, 7), st.sampled_from([4, 63, 66])), st.sampled_from([0, 5]))
def test_many_edges_of_the_same_level_in_squares_of_all_sizes(seed, shape_zyx, min_size_vx):
    rng = np.random.default_rng(seed)
    affinities = rng.choice(np.array([0, 100, 150, 200], np.uint8), (3, *shape_zyx), p=[0.2, 0.3, 0.3, 0.2])
    nodes, thresholds = all_voxels(shape_zyx, seed), [0.3, 0.5, 0.7]
    expected = decode_one_by_one(affinities, thresholds, nodes, min_size_vx, 0)
    found = sweep_blocks(
        lambda begin, end: affinities[:, begin:end], shape_zyx, thresholds, nodes, min_size_vx=min_size_vx, depth=3
    )
    np.testing.assert_array_equal(found, expected)


def test_more_thresholds_than_a_byte_can_count():
    affinities = random_affinities(0, (4, 5, 70), np.float32, 0.0)
    thresholds, nodes = np.linspace(0, 1, 300), all_voxels((4, 5, 70))
    expected = decode_one_by_one(affinities, thresholds, nodes, 3, 0)
    assert len(np.unique(expected, axis=0)) > 150
    np.testing.assert_array_equal(sweep_thresholds(affinities, thresholds, nodes, min_size_vx=3), expected)


def test_a_larger_volume_with_nodes_that_share_voxels_and_leave_most_without():
    affinities = random_affinities(0, (40, 50, 130), np.uint8, 0.0)
    thresholds = np.linspace(0.7, 0.99, 30)
    nodes = np.random.default_rng(1).integers(0, affinities.shape[1:], (500, 3))
    nodes = np.concatenate([nodes, nodes[::-7]])
    expected = decode_one_by_one(affinities, thresholds, nodes, 20, 0)
    assert len(np.unique(expected)) > 50
    found = sweep_thresholds(affinities, thresholds, nodes, min_size_vx=20, threads=2)
    np.testing.assert_array_equal(found, expected)


def test_a_row_of_edges_that_grow_stronger_makes_no_long_climbs_wrong():
    affinities = np.zeros((3, 3, 3, 200), np.uint8)
    affinities[2, 1, 1] = np.arange(200)
    affinities[1, 1, 1] = np.arange(200)[::-1]
    thresholds = np.arange(200) / 255
    nodes = all_voxels((3, 3, 200))
    expected = decode_one_by_one(affinities, thresholds, nodes, 3, 0)
    np.testing.assert_array_equal(sweep_thresholds(affinities, thresholds, nodes, min_size_vx=3), expected)


@pytest.mark.parametrize("shape_zyx", [(0, 4, 4), (3, 0, 2), (3, 3, 0)])
def test_a_volume_without_voxels_has_no_nodes(shape_zyx):
    found = sweep_thresholds(np.zeros((3, *shape_zyx), np.uint8), [0.5, 0.2], np.zeros((0, 3), int))
    assert found.shape == (2, 0)


def test_what_cannot_be_swept_is_refused():
    affinities, nodes = np.zeros((3, 2, 2, 2), np.uint8), np.zeros((1, 3), int)
    with pytest.raises(DataError, match=r"node 0 lies outside .* expected within \(2, 2, 2\)"):
        sweep_thresholds(affinities, [0.5], nodes + 2)
    with pytest.raises(DataError, match="nodes are voxels"):
        sweep_thresholds(affinities, [0.5], nodes.astype(float))
    for thresholds in ([], [0.5, 1.5], [-0.1], [float("nan")]):
        with pytest.raises(DataError, match="no affinities"):
            sweep_thresholds(affinities, thresholds, nodes)
    with pytest.raises(DataError, match="wrong shape"):
        sweep_thresholds(affinities[0], [0.5], nodes)
    with pytest.raises(DataError, match="edge_offset"):
        sweep_thresholds(affinities, [0.5], nodes, edge_offset=2)
