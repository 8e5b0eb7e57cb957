"""What must hold for any skeletons and any labels, and the kernels against their slow twins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from connectomake.config.settings.measure import MeasureConfig
from connectomake.measure.adapted_rand import adapted_rand_error
from connectomake.measure.contingency import Contingency, count_pairs
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.measure.variation_of_information import variation_of_information


def check(*strategies: st.SearchStrategy) -> Callable:
    """Run a property on 60 examples, however long the first takes (kernels are compiled then)."""
    return lambda test: settings(deadline=None, max_examples=60)(given(*strategies)(test))


@st.composite
def forests(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random trees: edges, skeleton ids (1, 2, ...), positions on a grid of 9 x 9 x 20 nm."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    edges, first = [np.zeros((0, 2), np.int64)], 0
    for size in sizes:
        child = np.arange(1, size)
        edges.append(np.stack([first + rng.integers(0, child), first + child], axis=1) if size > 1 else edges[0])
        first += size
    ids = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    return np.concatenate(edges), ids, rng.integers(0, 50, (first, 3)) * [20.0, 9.0, 9.0]


def segments_for(ids: np.ndarray, seed: int, n_segments: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n_segments, len(ids))


def assert_same(found: dict, expected: dict) -> None:
    for key, value in expected.items():
        if key != "per_skeleton":
            assert found[key] == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), key


SEEDS = st.integers(0, 2**32)


@check(forests())
def test_a_perfect_segmentation_has_nerl_one_and_voi_zero(forest: tuple) -> None:
    edges, ids, position = forest
    found = skeleton_metrics(edges, ids, position, ids)
    assert (found["voi_split"], found["voi_merge"], found["n_splits"], found["n_mergers"]) == (0, 0, 0, 0)
    assert found["erl"] == found["max_erl"]
    if found["total_length"] > 0:
        assert found["nerl"] == found["nerl_5"] == found["nerl_inf"] == 1.0


@check(forests(), SEEDS)
def test_new_names_for_segments_change_nothing(forest: tuple, seed: int) -> None:
    edges, ids, position = forest
    segment = segments_for(ids, seed)
    new_name = np.uint64(2**64 - 10) + np.random.default_rng(seed + 1).permutation(6).astype(np.uint64)
    new_name[0] = 0
    assert_same(
        skeleton_metrics(edges, ids, position, new_name[segment]), skeleton_metrics(edges, ids, position, segment)
    )


@check(forests(), SEEDS)
def test_the_order_and_direction_of_edges_change_nothing(forest: tuple, seed: int) -> None:
    edges, ids, position = forest
    rng = np.random.default_rng(seed)
    segment = segments_for(ids, seed)
    shuffled = rng.permuted(rng.permutation(edges), axis=1)
    assert_same(skeleton_metrics(shuffled, ids, position, segment), skeleton_metrics(edges, ids, position, segment))


@check(forests(), SEEDS)
def test_the_order_of_nodes_changes_nothing(forest: tuple, seed: int) -> None:
    edges, ids, position = forest
    segment = segments_for(ids, seed)
    order = np.random.default_rng(seed).permutation(len(ids))
    rank = np.argsort(order)
    found = skeleton_metrics(rank[edges], ids[order], position[order], segment[order])
    assert_same(found, skeleton_metrics(edges, ids, position, segment))


@check(forests())
def test_joining_everything_never_splits(forest: tuple) -> None:
    edges, ids, position = forest
    found = skeleton_metrics(edges, ids, position, np.ones_like(ids))
    assert (found["voi_split"], found["n_splits"]) == (0, 0)
    if ids.max() > 1:
        assert found["erl"] == 0
        assert found["n_mergers"] == ids.max()


@check(forests())
def test_a_segment_for_each_node_leaves_no_run(forest: tuple) -> None:
    edges, ids, position = forest
    found = skeleton_metrics(edges, ids, position, np.arange(1, len(ids) + 1))
    assert (found["erl"], found["voi_merge"], found["n_splits"], found["n_mergers"]) == (0, 0, len(edges), 0)


@check(forests(), SEEDS)
def test_forgiving_larger_mergers_never_lowers_nerl(forest: tuple, seed: int) -> None:
    edges, ids, position = forest
    found = skeleton_metrics(edges, ids, position, segments_for(ids, seed), ignored_merger_nodes=(1, 2, 3, 5))
    values = [found[f"erl{suffix}"] for suffix in ("", "_1", "_2", "_3", "_5", "_inf")]
    assert values == sorted(values)
    assert found["erl_inf"] <= found["max_erl"] * (1 + 1e-12)


@check(forests(), SEEDS)
def test_every_edge_has_one_fate(forest: tuple, seed: int) -> None:
    edges, ids, position = forest
    found = skeleton_metrics(edges, ids, position, segments_for(ids, seed))
    assert sum(found[k] for k in ("n_omitted", "n_splits", "n_merged_edges", "n_correct")) == len(edges)


def naive_erl(edges: np.ndarray, ids: np.ndarray, position: np.ndarray, segment: np.ndarray, ignored: float) -> float:
    """Follow the definition edge by edge."""
    members: dict[int, dict[int, int]] = {}
    for s, g in zip(ids.tolist(), segment.tolist(), strict=True):
        members.setdefault(g, {}).setdefault(s, 0)
        members[g][s] += 1
    large = {g: {s for s, n in found.items() if n > ignored} for g, found in members.items()}
    merging = {g: found for g, found in large.items() if len(found) >= 2}
    merged_skeletons = {s for found in merging.values() for s in found}
    runs: dict[tuple[int, int], float] = {}
    total = 0.0
    for u, v in edges.tolist():
        length = float(np.linalg.norm(position[u] - position[v]))
        total += length
        lost = segment[u] in merging and ids[u] in merged_skeletons
        if segment[u] and segment[u] == segment[v] and not lost:
            runs[ids[u], segment[u]] = runs.get((ids[u], segment[u]), 0.0) + length
    return sum(run**2 for run in runs.values()) / total if total else 0.0


@check(forests(), SEEDS)
def test_erl_is_what_its_definition_says_edge_by_edge(forest: tuple, seed: int) -> None:
    edges, ids, position = forest
    segment = segments_for(ids, seed)
    found = skeleton_metrics(edges, ids, position, segment, ignored_merger_nodes=(2,))
    for suffix, ignored in (("", 0), ("_2", 2), ("_inf", np.inf)):
        assert found[f"erl{suffix}"] == pytest.approx(naive_erl(edges, ids, position, segment, ignored), rel=1e-12)


LABELS = hnp.arrays(np.int64, hnp.array_shapes(min_dims=1, max_dims=1, max_side=200), elements=st.integers(-1, 5))


@check(LABELS, SEEDS, st.sampled_from([np.int64, np.int8]), st.sampled_from([np.uint32, np.uint64]))
def test_counting_pairs_equals_sorting_them(
    truth: np.ndarray, seed: int, truth_dtype: type, segment_dtype: type
) -> None:
    segment = np.random.default_rng(seed).integers(0, 4, len(truth))
    found = count_pairs(truth.astype(truth_dtype), segment.astype(segment_dtype))
    pairs, counts = np.unique(np.stack([truth, segment], axis=1), axis=0, return_counts=True)
    order = np.lexsort((found[1], found[0]))
    assert [a.dtype for a in found] == [truth_dtype, segment_dtype, np.int64]
    assert np.array_equal(found[0][order], pairs[:, 0])
    assert np.array_equal(found[1][order], pairs[:, 1])
    assert np.array_equal(found[2][order], counts)


def table_of(truth: np.ndarray, segment: np.ndarray) -> Contingency:
    pairs, counts = np.unique(np.stack([truth, segment], axis=1), axis=0, return_counts=True)
    return Contingency(pairs[:, 0], pairs[:, 1], counts)


@check(LABELS, SEEDS)
def test_voxel_metrics_stay_in_their_range_and_swap_with_their_sides(truth: np.ndarray, seed: int) -> None:
    segment = np.random.default_rng(seed).integers(0, 4, len(truth))
    split, merge = variation_of_information(table_of(truth, segment))
    assert min(split, merge) >= 0
    assert variation_of_information(table_of(segment, truth)) == pytest.approx((merge, split))
    error, precision, recall = adapted_rand_error(table_of(truth, segment))
    assert adapted_rand_error(table_of(segment, truth)) == pytest.approx((error, recall, precision), nan_ok=True)
    assert all(np.isnan(v) or 0 <= v <= 1 for v in (error, precision, recall))


@check(LABELS)
def test_a_perfect_segmentation_has_no_voxel_error(truth: np.ndarray) -> None:
    found = dense_metrics(table_of(truth, truth + 7), MeasureConfig())
    assert found["voxel_voi_sum"] == 0
    assert found["n_truth_voxels"] == np.count_nonzero(truth > 0)
    assert found["adapted_rand_error"] == 0 or np.isnan(found["adapted_rand_error"])


@check(LABELS)
def test_joining_all_voxels_costs_merge_alone_and_parting_all_split_alone(truth: np.ndarray) -> None:
    assert dense_metrics(table_of(truth, np.ones_like(truth)), MeasureConfig())["voxel_voi_split"] == 0
    assert dense_metrics(table_of(truth, np.arange(len(truth))), MeasureConfig())["voxel_voi_merge"] == 0
