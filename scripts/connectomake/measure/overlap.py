"""Dice, intersection over union and accuracy: of foreground, and of each class where labels are classes.

With the voxels TP (in the class on both sides), FP (in the segmentation alone), FN (in the truth alone) and TN (in
neither): dice = 2 TP / (2 TP + FP + FN) (Dice 1945), iou = TP / (TP + FP + FN) (Jaccard 1912), accuracy =
(TP + TN) / all, precision = TP / (TP + FP), recall = TP / (TP + FN), which some call the accuracy of a class. A ratio
of which the denominator is 0 is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from connectomake.errors import DataError
from connectomake.measure.contingency import Contingency, ratio
from connectomake.measure.table_metric import TableMetric

MAX_CLASSES = 256
RATIOS = ("dice", "iou", "accuracy", "precision", "recall")


def foreground(table: Contingency) -> dict[str, float]:
    """Compare what is not 0 in the truth with what is not 0 in the segmentation.

    Returns
    -------
    dict
        `foreground_dice`, `foreground_iou`, `foreground_accuracy`, `foreground_precision`, `foreground_recall` (0 to
        1; NaN where not defined, as all but accuracy are where both sides are empty).
    """
    in_truth, in_segment = table.truth_id != 0, table.segment_id != 0
    in_both = in_truth & in_segment
    found = _ratios(*(int(table.count[where].sum()) for where in (in_both, in_truth, in_segment)), total=table.total)
    return {f"foreground_{name}": value for name, value in found.items()}


def classes(table: Contingency) -> dict[str, Any]:
    """Compare each class; equal labels mean the same class on both sides, 0 is background and no class.

    Returns
    -------
    dict
        For each class K that the truth or the segmentation holds: `class_K_dice`, `class_K_iou`, `class_K_accuracy`,
        `class_K_precision` (NaN where the segmentation lacks K), `class_K_recall` (NaN where the truth lacks K).
        `mean_dice`, `mean_iou`: over these classes, so a class that only one side holds counts as 0 and one that both
        lack does not count. `accuracy`: the share of voxels, background too, with the right label.

    Raises
    ------
    DataError
        More than 256 labels: these are objects and no classes.
    """
    ids = _all_classes(table)
    index = {label: i for i, label in enumerate(ids)}
    row, column = (
        np.array([index[i] for i in side.ids.tolist()], np.int64)[side.index] for side in (table.truth, table.segment)
    )
    confusion = np.zeros((len(ids), len(ids)), np.int64)
    confusion[row, column] = table.count
    found = {
        label: _ratios(int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum()), total=table.total)
        for label, i in index.items()
        if label != 0
    }
    numbers: dict[str, Any] = {f"class_{k}_{name}": v for k, ratios in found.items() for name, v in ratios.items()}
    for name in ("dice", "iou"):
        numbers[f"mean_{name}"] = ratio(sum(ratios[name] for ratios in found.values()), len(found))
    return numbers | {"accuracy": ratio(int(np.trace(confusion)), table.total)}


def _all_classes(table: Contingency) -> list[int]:
    """Return every label of either side, ascending."""
    n_labels = max(len(table.truth.ids), len(table.segment.ids))
    ids = sorted({*table.truth.ids.tolist(), *table.segment.ids.tolist()}) if n_labels <= MAX_CLASSES else []
    if n_labels > MAX_CLASSES or len(ids) > MAX_CLASSES:
        raise DataError(
            "the labels are no classes, so `classes` cannot be measured",
            expected=f"at most {MAX_CLASSES} different labels",
            got=max(n_labels, len(ids)),
            hint="take `classes` out of measure.voxel_metrics; `foreground` and `matching` measure objects",
        )
    return ids


def _ratios(in_both: int, in_truth: int, in_segment: int, *, total: int) -> dict[str, float]:
    in_either = in_truth + in_segment - in_both
    return {
        "dice": ratio(2 * in_both, in_truth + in_segment),
        "iou": ratio(in_both, in_either),
        "accuracy": ratio(total - in_either + in_both, total),
        "precision": ratio(in_both, in_segment),
        "recall": ratio(in_both, in_truth),
    }


FOREGROUND = TableMetric(foreground, columns=tuple(f"foreground_{name}" for name in RATIOS))
CLASSES = TableMetric(classes, columns=(*(f"class_*_{name}" for name in RATIOS), "mean_dice", "mean_iou", "accuracy"))
