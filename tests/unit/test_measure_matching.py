"""Matching of objects: worked examples, a slow twin, and more objects than a dense matrix could hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from connectomake.config.settings.measure import MeasureConfig
from connectomake.measure.contingency import Contingency, contingency_of_arrays
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.matching import Overlaps, match_pairs, matching


def measure(truth: np.ndarray, segment: np.ndarray, *thresholds: float, ignore: tuple[int, ...] = ()) -> dict:
    cfg = MeasureConfig(voxel_metrics=("matching",), iou_thresholds=thresholds, ignore_labels=ignore)
    return dense_metrics(contingency_of_arrays(np.atleast_3d(truth), np.atleast_3d(segment)), cfg)


def test_numbers_of_a_worked_example() -> None:
    truth = np.array([1] * 8 + [2] * 6 + [3] * 4 + [0] * 6)
    segment = np.array([7] * 6 + [0] * 2 + [8] * 6 + [8, 0, 0, 0] + [9] * 3 + [0] * 3)
    # IoU: 1-7 6/8, 2-8 6/7, 3-8 1/10; 9 meets no object
    found = measure(truth, segment, 0.5, 0.75, 0.8)
    assert [found[f"n_{kind}_50"] for kind in ("true_positives", "false_positives", "false_negatives")] == [2, 1, 1]
    assert (found["precision_50"], found["recall_50"], found["f1_50"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert found["average_precision_50"] == 0.5
    assert found["segmentation_quality_50"] == pytest.approx((6 / 8 + 6 / 7) / 2)
    assert found["panoptic_quality_50"] == pytest.approx((6 / 8 + 6 / 7) / 3)
    assert (found["n_true_positives_75"], found["n_true_positives_80"]) == (2, 1)
    assert found["mean_coverage"] == pytest.approx((6 / 8 + 6 / 7 + 1 / 10) / 3)


def test_panoptic_quality_is_the_product_of_its_two_parts() -> None:
    truth, segment = np.random.default_rng(4).integers(0, 4, (2, 5, 6, 7))
    found = measure(truth, segment, 0.1)
    assert found["panoptic_quality_10"] == pytest.approx(found["segmentation_quality_10"] * found["f1_10"])


def test_thresholds_are_named_in_percent() -> None:
    found = measure(np.ones(4, int), np.ones(4, int), 0.5, 0.55, 0.125, 1.0)
    assert [key for key in found if key.startswith("recall")] == ["recall_50", "recall_55", "recall_12.5", "recall_100"]


def test_an_overlap_of_just_the_threshold_is_a_match() -> None:
    for overlap, size, threshold in ((1, 10, 0.1), (3, 4, 0.75), (7, 10, 0.7), (1, 3, 1 / 3)):
        truth = np.ones(size, int)
        found = matching(
            contingency_of_arrays(truth, (np.arange(size) < overlap).astype(int)),
            iou_thresholds=(threshold,),
        )
        assert next(value for key, value in found.items() if key.startswith("n_true")) == 1


def test_one_segment_matches_one_object_even_where_two_reach_the_threshold() -> None:
    found = measure(np.array([1, 1, 2, 2]), np.array([5, 5, 5, 5]), 0.5)
    assert (found["n_true_positives_50"], found["n_false_positives_50"], found["n_false_negatives_50"]) == (1, 0, 1)


def test_more_pairs_come_before_better_pairs() -> None:
    # object 1 fits segment 1 well, but then object 2 and segment 2 have nobody
    truth, segment = np.array([0, 0, 1]), np.array([0, 1, 0])
    assert match_pairs(truth, segment, np.array([0.9, 0.3, 0.3])).tolist() == [1, 2]
    # as many either way: the higher sum
    truth, segment = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert match_pairs(truth, segment, np.array([0.4, 0.3, 0.4, 0.2])).tolist() == [1, 2]


def test_ignored_voxels_are_no_part_of_a_segment() -> None:
    truth = np.array([1, 1, 1, 1, -1, -1, 9, 9, 9, -1])
    segment = np.array([5, 5, 5, 5, 5, 5, 5, 6, 6, 7])
    found = measure(truth, segment, 0.9, ignore=(9,))
    assert (found["n_true_positives_90"], found["n_false_positives_90"], found["n_false_negatives_90"]) == (1, 0, 0)
    assert found["segmentation_quality_90"] == 1.0


@pytest.mark.parametrize(
    ("truth", "segment", "precision", "recall", "average_precision"),
    [
        ([0, 0], [0, 0], np.nan, np.nan, np.nan),
        ([1, 1], [0, 0], np.nan, 0.0, 0.0),
        ([0, 0], [4, 4], 0.0, np.nan, 0.0),
        ([-1, -1], [4, 4], np.nan, np.nan, np.nan),
        ([3, 3], [4, 4], 1.0, 1.0, 1.0),
    ],
)
def test_nothing_on_one_side(
    truth: list[int], segment: list[int], precision: float, recall: float, average_precision: float
) -> None:
    found = measure(np.array(truth), np.array(segment), 0.5)
    numbers = [found[f"{name}_50"] for name in ("precision", "recall", "average_precision")]
    assert numbers == pytest.approx([precision, recall, average_precision], nan_ok=True)


def match_slowly(iou: np.ndarray, threshold: float) -> tuple[int, float]:
    """Solve one dense assignment of all objects, as StarDist does: each match is worth 1 and a little of its IoU."""
    worth = (iou >= threshold) * (1 + iou / (2 * min(iou.shape)))
    row, column = linear_sum_assignment(worth, maximize=True)
    chosen = iou[row, column][iou[row, column] >= threshold]
    return len(chosen), float(chosen.sum())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.05, 0.2, 0.5]))
def test_matching_equals_one_dense_assignment(seed: int, n_truth: int, n_segments: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    iou = rng.random((n_truth, n_segments)).round(rng.integers(1, 8)) * (rng.random((n_truth, n_segments)) < 0.2)
    truth, segment = np.nonzero(iou)
    pairs = Overlaps(truth, segment, iou[truth, segment], n_truth, n_segments)
    found = pairs.matched_iou(threshold)
    n_pairs, sum_of_iou = match_slowly(iou, threshold)
    assert len(found) == n_pairs
    assert found.sum() == pytest.approx(sum_of_iou, abs=1e-6)
    keep = np.flatnonzero(pairs.iou >= threshold)
    chosen = keep[match_pairs(truth[keep], segment[keep], pairs.iou[keep])]
    assert len(np.unique(truth[chosen])) == len(np.unique(segment[chosen])) == len(chosen)


def test_a_chain_of_objects_is_matched_from_end_to_end() -> None:
    # object i overlaps segments i and i + 1: one group of all
    n = 3_000
    truth, shift = np.repeat(np.arange(n), 2), np.tile([0, 1], n)
    iou = np.where(shift == 0, 0.3, 0.25)
    assert np.array_equal(match_pairs(truth, truth + shift, iou), np.flatnonzero(shift == 0))
    assert len(match_pairs(truth[1:], (truth + shift)[1:], iou[1:])) == n


def test_a_million_objects() -> None:
    n = 1_000_000
    truth = np.r_[np.arange(1, n + 1), np.arange(1, n + 1)]
    segment = np.r_[np.arange(1, n + 1), np.arange(2, n + 2)]
    table = Contingency(truth, segment, np.r_[np.full(n, 800), np.full(n, 30)])
    found = matching(table, iou_thresholds=(0.5, 0.75))
    assert (found["n_true_positives_75"], found["n_false_positives_75"]) == (n, 1)
    assert found["segmentation_quality_75"] == pytest.approx(800 / 860, rel=1e-4)
