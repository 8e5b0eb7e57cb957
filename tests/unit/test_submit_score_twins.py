"""Components, pairing and distances equal slow twins, whatever the slabs."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_twins import components_twin, hausdorff_twin, make_pair, score_twin

from connectomake.submit.score import hausdorff
from connectomake.submit.score.components import SlabComponents, label_slab
from connectomake.submit.score.crop import count_objects
from connectomake.submit.score.hausdorff import hausdorff_nm
from connectomake.submit.score.matching import match_objects
from connectomake.submit.score.metric import find_metric
from connectomake.submit.score.overlaps import Overlaps

METRIC = find_metric("6b9ad68")
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 8), st.integers(1, 9))


def draw_labels(shape, seed, share, n):
    rng = np.random.default_rng(seed)
    return (rng.integers(1, n + 1, shape) * (rng.random(shape) < share)).astype(np.uint16)


def draw_blobs(shape, seed, n, moved=0):
    """Draw boxes that may overlap; the later hide the earlier."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    for i in range(1, n + 1):
        low = [int(rng.integers(0, side)) for side in shape]
        box = tuple(slice(max(0, a + moved), a + moved + int(rng.integers(1, 5))) for a in low)
        labels[box] = i
    return labels


def number_in_slabs(labels, thickness):
    components, parts = SlabComponents(), []
    for low in range(0, len(labels), thickness):
        slab = labels[low : low + thickness]
        numbers, count = label_slab(slab)
        parts.append(np.where(numbers > 0, numbers + np.int64(components.offsets[-1]), 0))
        components.add(slab, numbers, count)
    component, count = components.finish()
    return component[np.concatenate(parts)], count


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(0, 2**32), st.floats(0.05, 0.9), st.integers(1, 4), st.integers(1, 9))
def test_components_of_slabs_are_numbered_as_cc3d_numbers_the_whole(shape, seed, share, n, thickness):
    labels = draw_labels(shape, seed, share, n)
    numbers, count = number_in_slabs(labels, thickness)
    whole, n_whole = cc3d.connected_components(labels, connectivity=26, return_N=True)
    twin, n_twin = components_twin(labels)
    np.testing.assert_array_equal(numbers, whole)
    np.testing.assert_array_equal(numbers, twin)
    assert count == n_whole == n_twin


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32, ">u4"])
def test_components_of_every_type(dtype):
    labels = draw_labels((6, 7, 8), 1, 0.4, 1).astype(dtype)
    np.testing.assert_array_equal(number_in_slabs(labels, 2)[0], components_twin(labels)[0])


@settings(max_examples=150, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32), n=st.integers(0, 4), m=st.integers(0, 4), thickness=st.integers(1, 9))
def test_counts_and_sums_equal_those_of_every_pairing_tried(shape, seed, n, m, thickness):
    truth, submitted = draw_blobs(shape, seed, n), draw_blobs(shape, seed + (seed % 3 == 0), m, moved=seed % 2)
    if components_twin(submitted)[1] > 6:
        return
    tp, fp, fn, sums, n_distances = score_twin(truth, submitted)
    counts = count_objects(make_pair(truth, submitted, slab_voxels=thickness * shape[1] * shape[2]), METRIC)
    assert (counts.tp, counts.fp, counts.fn, counts.n_hausdorff) == (tp, fp, fn, n_distances)
    assert min(abs(counts.hausdorff_norm_sum - s) for s in sums) < 1e-6
    assert (counts.tie is not None) == (len(sums) > 1)
    if counts.tie is not None:
        assert min(abs(counts.tie["hausdorff_norm_sum"] - s) for s in sums) < 1e-6


@settings(max_examples=80, deadline=None)
@given(
    shape=SHAPES,
    seed=st.integers(0, 2**32),
    share=st.floats(0.02, 0.98),
    size=st.sampled_from([(1.0, 1.0, 1.0), (3.48, 4.0, 4.0), (40.0, 4.0, 4.0), (2.0, 7.0, 30.0)]),
    thickness=st.integers(1, 9),
)
def test_distances_equal_those_of_distance_maps(shape, seed, share, size, thickness):
    """With holes and noise, where the farthest voxel lies inside."""
    truth, submitted = draw_labels(shape, seed, share, 2), draw_labels(shape, seed + 1, 1 - share, 2)
    pair = make_pair(truth, submitted, size, slab_voxels=thickness * shape[1] * shape[2])
    found = Overlaps(pair)
    numbers = components_twin(submitted)[0]
    owner = np.zeros(len(found.submitted.size_vx), np.int64)
    for i in range(1, len(owner)):
        owner[i] = submitted[numbers == i][0]
    owner = np.where(np.isin(owner, found.truth.ids), owner, 0)
    expected = [
        hausdorff_twin(truth == i, submitted == i, size) if (submitted == i).any() else 1e9 for i in found.truth.ids
    ]
    nm = hausdorff_nm(found, owner, found.truth.ids, 1e9)
    np.testing.assert_allclose(nm, expected, rtol=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hausdorff, "TREE_POINTS", 9)
        np.testing.assert_array_equal(hausdorff_nm(found, owner, found.truth.ids, 1e9), nm)
    capped = hausdorff_nm(found, owner, found.truth.ids, 5.0, threads=2)
    np.testing.assert_allclose(capped, np.minimum(expected, 5.0), rtol=1e-12)


def test_the_farthest_voxel_may_lie_deep_inside():
    truth = np.ones((15, 15, 15), np.uint8)
    submitted = truth.copy()
    submitted[1:-1, 1:-1, 1:-1] = 0
    found = Overlaps(make_pair(truth, submitted, (1.0, 1.0, 1.0), slab_voxels=450))
    assert hausdorff_nm(found, np.array([0, 1]), np.array([1]), 100.0).tolist() == [7.0]


def test_boxes_and_sizes_of_objects():
    truth, submitted = draw_blobs((9, 8, 7), 3, 4), draw_blobs((9, 8, 7), 5, 5)
    found = Overlaps(make_pair(truth, submitted, slab_voxels=150))
    for objects, labels in ((found.truth, truth), (found.submitted, components_twin(submitted)[0])):
        for i in objects.ids:
            places = np.argwhere(labels == i)
            assert objects.size_vx[i] == len(places)
            assert objects.box_zyx[i].tolist() == [*places.min(axis=0), *places.max(axis=0)]


def test_least_cost_may_leave_an_object_alone_that_has_a_partner_left():
    """One good pair costs less than two poor ones, so this is no pairing of the most objects."""
    truth, submitted = np.array([1, 1, 2]), np.array([1, 2, 1])
    matching = match_objects(truth, submitted, np.array([0.9, 0.1, 0.05], np.float32), 1_000_000)
    assert matching.chosen.tolist() == [0]
    assert matching.other.tolist() == [0]


def test_large_groups_are_paired_at_the_least_cost():
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(0)
    n = 70
    table = np.where(rng.random((n, n)) < 0.1, rng.random((n, n)).astype(np.float32), 0)
    truth, submitted = np.nonzero(table)
    matching = match_objects(truth, submitted, table[truth, submitted].astype(np.float32), 1_000_000)
    cost = np.full((n, 2 * n), 1e12)
    cost[:, n:] = 1_000_001
    cost[truth, submitted] = np.trunc((1 - table[truth, submitted].astype(np.float32).astype(float)) * 1_000_000)
    expected = cost[linear_sum_assignment(cost)].sum()
    for pairs in (matching.chosen, matching.other):
        rows = truth[pairs]
        assert len(set(rows)) == len(set(submitted[pairs])) == len(pairs)
        assert cost[rows, submitted[pairs]].sum() + (n - len(pairs)) * 1_000_001 == expected
