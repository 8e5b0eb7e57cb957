"""Skeleton metrics by hand: the worked examples, the edge cases, ids that floats cannot hold."""

from __future__ import annotations

import numpy as np
import pytest

import connectomake.measure
from connectomake.errors import DataError
from connectomake.measure.skeleton_metrics import skeleton_metrics


def measure_paths(*paths: tuple[int, list[int]], step_nm: float = 1.0, dtype: type = np.uint64) -> dict:
    """Measure straight paths, each given as (skeleton id, segment of every node), with nodes `step_nm` apart."""
    edges, skeleton, segment, position = [], [], [], []
    for row, (skeleton_id, segments) in enumerate(paths):
        first = len(skeleton)
        edges += [(first + i, first + i + 1) for i in range(len(segments) - 1)]
        skeleton += [skeleton_id] * len(segments)
        segment += segments
        position += [(row * 1000.0, 0.0, i * step_nm) for i in range(len(segments))]
    return skeleton_metrics(
        np.array(edges, np.int64).reshape(-1, 2),
        np.array(skeleton, dtype),
        np.reshape(position, (-1, 3)),
        np.array(segment, dtype),
    )


def test_one_path_cut_in_two() -> None:
    found = measure_paths((1, [1, 1, 1, 2, 2]))
    assert (found["erl"], found["max_erl"], found["nerl"], found["n_splits"]) == (1.25, 4.0, 0.3125, 1)
    assert found["voi_split"] == pytest.approx(0.970951, abs=1e-6)
    assert found["voi_merge"] == 0


def test_two_paths_joined_and_one_of_them_cut() -> None:
    found = measure_paths((1, [7, 7, 7]), (2, [7, 8, 8]))
    assert (found["erl"], found["max_erl"], found["nerl"]) == (0.25, 2.0, 0.125)
    assert (found["n_mergers"], found["n_non0_mergers"], found["n_splits"]) == (2, 2, 1)
    assert found["nerl_5"] == found["nerl_inf"] == 0.625
    assert found["voi_split"] == pytest.approx(0.459148, abs=1e-6)
    assert found["voi_merge"] == pytest.approx(0.540852, abs=1e-6)


def test_one_node_makes_a_merger_and_background_omits() -> None:
    found = measure_paths((1, [3, 3, 0, 3]), (2, [0, 4]), (3, [3]), step_nm=10.0)
    assert (found["erl"], found["nerl"], found["max_erl"]) == (0.0, 0.0, 25.0)
    assert (found["n_mergers"], found["n_non0_mergers"], found["n_splits"]) == (4, 2, 0)
    assert found["nerl_5"] == pytest.approx(0.1)


def test_a_small_contact_counts_only_where_its_skeleton_is_merged_elsewhere() -> None:
    """Skeleton 1 touches segment 9, where 2 and 3 merge, with 3 nodes; once it is also merged in its own segment."""
    base = [(2, [9] * 10), (3, [9] * 10)]
    alone = measure_paths((1, [1] * 10 + [9] * 3), *base)
    elsewhere = measure_paths((1, [1] * 10 + [9] * 3), *base, (4, [1] * 10))
    assert alone["erl_5"] == pytest.approx((9**2 + 2**2) / alone["total_length"])
    assert elsewhere["erl_5"] == 0.0


def test_the_table_adds_up_to_the_totals() -> None:
    found = measure_paths((1, [3, 3, 0, 3, 5]), (2, [3, 4, 4, 6]), (3, [7, 7, 7]))
    table = found["per_skeleton"]
    assert table["skeleton_id"].tolist() == [1, 2, 3]
    assert table["length_nm"].tolist() == [4.0, 3.0, 2.0]
    assert table["erl_nm"] == pytest.approx([0.0, 1 / 3, 2.0])
    assert table["longest_run_nm"].tolist() == [0.0, 1.0, 2.0]
    assert table["n_runs"].tolist() == [0, 1, 1]
    assert table["n_background_nodes"].tolist() == [1, 0, 0]
    assert table["n_nodes"].tolist() == [5, 4, 3]
    assert table["n_splits"].sum() == found["n_splits"] == 3
    assert table["n_mergers"].sum() == found["n_non0_mergers"] == 2
    assert table["n_omitted"].sum() == found["n_omitted"] == 2
    assert found["erl"] == pytest.approx((table["erl_nm"] * table["length_nm"]).sum() / table["length_nm"].sum())


def test_ids_that_are_equal_as_floats_stay_apart() -> None:
    big = 2**53
    found = measure_paths((1, [big, big]), (2, [big + 1, big + 1]))
    assert found["n_mergers"] == 0
    assert found["nerl"] == 1.0
    top = 2**64 - 1
    assert measure_paths((top, [1, 1]), (top - 1, [1, 1]))["n_mergers"] == 2


def test_without_any_node_nothing_is_defined_but_nothing_fails() -> None:
    found = measure_paths()
    assert (found["erl"], found["max_erl"], found["n_splits"], found["voi_sum"]) == (0.0, 0.0, 0, 0.0)
    assert np.isnan(found["nerl"])
    assert all(len(column) == 0 for column in found["per_skeleton"].values())


def test_without_edges_mergers_still_count() -> None:
    found = measure_paths((1, [5]), (2, [5]))
    assert found["n_mergers"] == 2
    assert found["erl"] == 0.0
    assert np.isnan(found["nerl"])


def test_all_ids_zero_leaves_no_path_to_normalise_by() -> None:
    found = measure_paths((0, [5, 5, 5]))
    assert (found["erl"], found["max_erl"], found["voi_sum"]) == (2.0, 0.0, 0.0)
    assert np.isnan(found["nerl"])


def test_a_skeleton_of_length_zero_contributes_nothing() -> None:
    with_it = measure_paths((1, [1, 1, 2]))
    edges, ids = np.array([[0, 1], [1, 2], [3, 4]]), np.array([1, 1, 1, 2, 2])
    position = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [9, 9, 9], [9, 9, 9]], float)
    found = skeleton_metrics(edges, ids, position, np.array([1, 1, 2, 3, 3]))
    assert (found["erl"], found["nerl"]) == (with_it["erl"], with_it["nerl"])
    assert found["per_skeleton"]["erl_nm"].tolist() == [0.5, 0.0]


def test_an_edge_between_two_skeletons_belongs_to_its_first_node() -> None:
    edges, ids = np.array([[0, 1], [1, 2]]), np.array([1, 1, 2])
    position = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 3]], float)
    found = skeleton_metrics(edges, ids, position, np.array([1, 1, 2]))
    assert found["per_skeleton"]["length_nm"].tolist() == [3.0, 0.0]
    assert found["n_splits"] == 1
    assert found["max_erl"] == pytest.approx(1 / 3)


def test_every_edge_of_a_cycle_counts_once() -> None:
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [2, 2]])
    position = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]], float)
    found = skeleton_metrics(edges, np.ones(4, int), position, np.array([1, 1, 2, 2]))
    assert (found["total_length"], found["n_splits"], found["n_correct"]) == (4.0, 2, 3)
    assert found["erl"] == (1 + 1) / 4
    assert found["max_erl"] == 4


def test_the_package_gives_the_function_under_its_own_name() -> None:
    assert connectomake.measure.skeleton_metrics is skeleton_metrics


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"node_segment_id": np.zeros(2, int)}, "do not fit together"),
        ({"node_pos_nm": np.zeros((3, 2))}, "do not fit together"),
        ({"node_segment_id": np.zeros(3)}, "must be integers"),
        ({"node_pos_nm": np.full((3, 3), np.nan)}, "not finite"),
        ({"edges": np.array([[0, 3]])}, "node indices"),
        ({"edges": np.array([[-1, 0]])}, "node indices"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict, said: str) -> None:
    arrays = {
        "edges": np.array([[0, 1]]),
        "node_skeleton_id": np.ones(3, int),
        "node_pos_nm": np.zeros((3, 3)),
        "node_segment_id": np.ones(3, int),
    }
    with pytest.raises(DataError, match=said):
        skeleton_metrics(**(arrays | change))
