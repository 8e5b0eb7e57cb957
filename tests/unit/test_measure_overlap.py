"""Dice, IoU and accuracy of foreground and classes, by hand and against scikit-learn's definitions."""

from __future__ import annotations

import numpy as np
import pytest

from connectomake.config.settings.measure import MeasureConfig
from connectomake.errors import DataError
from connectomake.measure.contingency import contingency_of_arrays
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.overlap import MAX_CLASSES


def measure(truth: list[int] | np.ndarray, segment: list[int] | np.ndarray, name: str, **settings: object) -> dict:
    cfg = MeasureConfig(voxel_metrics=(name,), **settings)
    return dense_metrics(contingency_of_arrays(np.asarray(truth), np.asarray(segment)), cfg)


def test_foreground_is_what_is_not_0() -> None:
    found = measure([0, 0, 3, 4, 4, 0, -1], [0, 7, 7, 0, 2, 0, 5], "foreground")
    expected = {"dice": 4 / 6, "iou": 2 / 4, "accuracy": 4 / 6, "precision": 2 / 3, "recall": 2 / 3}
    assert {key: found[f"foreground_{key}"] for key in expected} == pytest.approx(expected)


def test_foreground_counts_background_whatever_voi_does() -> None:
    truth, segment = [0, 0, 1, 1], [2, 0, 2, 2]
    for ignore_background in (True, False):
        found = measure(truth, segment, "foreground", ignore_background=ignore_background)
        assert found["foreground_precision"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("truth", "segment", "dice", "recall", "precision"),
    [
        ([0, 0], [0, 0], np.nan, np.nan, np.nan),
        ([0, 0], [1, 1], 0.0, np.nan, 0.0),
        ([1, 1], [0, 0], 0.0, 0.0, np.nan),
        ([-1, -1], [1, 0], np.nan, np.nan, np.nan),
    ],
)
def test_foreground_on_one_side_or_none(
    truth: list[int], segment: list[int], dice: float, recall: float, precision: float
) -> None:
    found = measure(truth, segment, "foreground")
    numbers = [found[f"foreground_{name}"] for name in ("dice", "recall", "precision")]
    assert numbers == pytest.approx([dice, recall, precision], nan_ok=True)


def test_each_class_has_its_own_numbers() -> None:
    found = measure([0, 0, 1, 1, 1, 3], [0, 1, 1, 1, 3, 3], "classes")
    of_1 = {"dice": 4 / 6, "iou": 2 / 4, "accuracy": 4 / 6, "precision": 2 / 3, "recall": 2 / 3}
    of_3 = {"dice": 2 / 3, "iou": 1 / 2, "accuracy": 5 / 6, "precision": 1 / 2, "recall": 1.0}
    assert {key: found[f"class_1_{key}"] for key in of_1} == pytest.approx(of_1)
    assert {key: found[f"class_3_{key}"] for key in of_3} == pytest.approx(of_3)
    assert (found["mean_dice"], found["mean_iou"]) == pytest.approx((2 / 3, 1 / 2))
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert not [key for key in found if key.startswith(("class_0", "class_2"))]


def test_a_class_that_one_side_lacks_counts_as_0_and_one_that_both_lack_not_at_all() -> None:
    found = measure([1, 1, 1, 2], [1, 1, 1, 5], "classes")
    assert (found["class_1_iou"], found["class_2_iou"], found["class_5_iou"]) == (1.0, 0.0, 0.0)
    assert (found["class_2_recall"], found["class_5_precision"]) == (0.0, 0.0)
    assert np.isnan([found["class_2_precision"], found["class_5_recall"]]).all()
    assert (found["mean_dice"], found["mean_iou"]) == pytest.approx((1 / 3, 1 / 3))


def test_without_any_class_means_are_not_defined_and_accuracy_is() -> None:
    found = measure([0, 0, -1], [0, 0, 4], "classes")
    assert np.isnan([found["mean_dice"], found["mean_iou"]]).all()
    assert found["accuracy"] == 1.0


def test_classes_equal_a_confusion_matrix_of_everything() -> None:
    rng = np.random.default_rng(2)
    truth, segment = rng.integers(0, 6, (2, 4000))
    found = measure(truth.astype(np.int8), segment.astype(np.uint64), "classes")
    iou = [np.sum((truth == k) & (segment == k)) / np.sum((truth == k) | (segment == k)) for k in range(1, 6)]
    assert [found[f"class_{k}_iou"] for k in range(1, 6)] == pytest.approx(iou)
    assert found["mean_iou"] == pytest.approx(np.mean(iou))
    assert found["accuracy"] == pytest.approx(np.mean(truth == segment))


def test_objects_are_no_classes() -> None:
    ids = np.arange(MAX_CLASSES + 1)
    with pytest.raises(DataError, match=r"no classes.*at most 256.*got 257"):
        measure(ids, ids, "classes")
    with pytest.raises(DataError, match=r"no classes.*got 400"):
        measure(np.arange(200), np.arange(200, 400), "classes")
    assert measure(ids[:-1], ids[:-1], "classes")["mean_dice"] == 1.0
