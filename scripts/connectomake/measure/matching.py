"""Find which segment is which truth object: precision, recall, AP and panoptic quality at thresholds of IoU.

The intersection over union (IoU) of every two objects that overlap follows from the table; voxels of unknown or
ignored truth belong to no segment, so a segment that lies wholly there is no false positive. At a threshold t, truth
objects and segments of IoU >= t are paired one to one: as many pairs as possible, and of all such pairings one with
the highest sum of IoU (Hungarian matching, as in StarDist, Weigert et al. 2020, and Hirsch et al. 2020). Above 0.5
there is no choice, for an object has at most one such partner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from connectomake.measure.contingency import Contingency, ratio
from connectomake.measure.table_metric import TableMetric

BATCH_OBJECTS = 256
IOU_STEPS = 1 << 26  # IoU in whole steps of 1.5e-8, so that no sum is rounded and the solver always ends


def matching(table: Contingency, *, iou_thresholds: Sequence[float]) -> dict[str, float]:
    """Match truth objects with segments at each of some thresholds.

    About 0.5 s for a million objects at thresholds of 0.5 and 0.75; memory is proportional to the rows of the table.
    Below 0.2, objects that hardly fit each other form large groups, and time grows with the square of the largest
    (18,000 pairs: 0.2 s).

    Returns
    -------
    dict
        `mean_coverage`: the IoU of a truth object with the segment that fits it best, mean over truth objects (mCov;
        Wang et al. 2019), whatever the threshold. And for each threshold T in percent, as in `precision_50`:
        `n_true_positives_T` (pairs), `n_false_positives_T` (segments without partner), `n_false_negatives_T` (truth
        objects without partner);
        `precision_T` = TP / (TP + FP), `recall_T` = TP / (TP + FN), `f1_T` = 2 TP / (2 TP + FP + FN), which panoptic
        segmentation calls recognition quality;
        `average_precision_T` = TP / (TP + FP + FN), as the Data Science Bowl 2018, StarDist and Cellpose define it; the
        AP-50 and AP-75 of COCO and MitoEM is another number: the area under the precision-recall curve of segments
        ranked by a confidence, which labels do not have;
        `segmentation_quality_T` (mean IoU of the pairs) and `panoptic_quality_T`, its product with f1_T (Kirillov et
        al. 2019).
        Shares are NaN where there is nothing to divide by.
    """
    overlaps = Overlaps.of_table(table)
    numbers = {"mean_coverage": overlaps.mean_coverage()}
    for threshold in iou_thresholds:
        iou = overlaps.matched_iou(threshold)
        found = _quality(len(iou), float(iou.sum()), overlaps.n_truth, overlaps.n_segments)
        numbers |= {f"{name}_{100 * threshold:.10g}": value for name, value in found.items()}
    return numbers


@dataclass(frozen=True)
class Overlaps:
    """The truth objects and segments that share voxels, as K pairs.

    Parameters
    ----------
    truth, segment
        (K,) int64 numbers of the objects.
    iou
        (K,) float64, above 0.
    n_truth, n_segments
        All objects, also those without a pair.
    """

    truth: np.ndarray
    segment: np.ndarray
    iou: np.ndarray
    n_truth: int
    n_segments: int

    @classmethod
    def of_table(cls, table: Contingency) -> Overlaps:
        """Take the pairs of a table but for label 0; sizes include what lies in 0 of the other side."""
        both = (table.truth_id != 0) & (table.segment_id != 0)
        truth, segment, count = table.truth.index[both], table.segment.index[both], table.count[both]
        union = table.truth.size[truth] + table.segment.size[segment] - count
        return cls(truth, segment, count / union, table.truth.n_objects, table.segment.n_objects)

    def mean_coverage(self) -> float:
        """Return the mean over truth objects of their largest IoU; NaN without truth objects."""
        best = np.zeros(int(self.truth.max(initial=-1)) + 1)
        np.maximum.at(best, self.truth, self.iou)
        return ratio(float(best.sum()), self.n_truth)

    def matched_iou(self, threshold: float) -> np.ndarray:
        """Return the IoU of each pair of a best one-to-one matching of objects with IoU >= threshold."""
        keep = self.iou >= threshold
        truth, segment, iou = self.truth[keep], self.segment[keep], self.iou[keep]
        return iou[match_pairs(truth, segment, iou)]


def match_pairs(truth: np.ndarray, segment: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Choose the most pairs in which no object comes twice, and of all such choices one of highest total IoU.

    Objects that overlap one another, directly or through others, form a group; groups are solved apart from each
    other, small ones some hundred at a time.

    Parameters
    ----------
    truth, segment
        (K,) int64 numbers from 0 on; no pair comes twice.
    iou
        (K,) float64, 0 to 1.

    Returns
    -------
    np.ndarray
        Which pairs are chosen: indices into the three, ascending.
    """
    lone = (np.bincount(truth)[truth] == 1) & (np.bincount(segment)[segment] == 1) if len(iou) else np.zeros(0, bool)
    chosen = [np.flatnonzero(lone)]
    rest = np.flatnonzero(~lone)
    for members in _batches(truth[rest], segment[rest]):
        batch = rest[members]
        chosen.append(batch[_solve(truth[batch], segment[batch], iou[batch])])
    return np.sort(np.concatenate(chosen))


def _batches(truth: np.ndarray, segment: np.ndarray) -> list[np.ndarray]:
    """Put pairs together, whole groups of objects, until a batch has enough truth objects."""
    if not len(truth):
        return []
    objects, row = np.unique(truth, return_inverse=True)
    column = np.unique(segment, return_inverse=True)[1] + len(objects)
    n = int(column.max()) + 1
    n_groups, group = connected_components(coo_array((np.ones(len(row), bool), (row, column)), (n, n)), directed=False)
    rows_before = np.cumsum(np.bincount(group[: len(objects)], minlength=n_groups))
    batch = (rows_before // BATCH_OBJECTS)[group[row]]
    order = np.argsort(batch, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(batch[order])) + 1)


def _solve(truth: np.ndarray, segment: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Choose the best pairs of some groups of objects.

    Each truth object also has a partner of its own that costs more than all IoU can outweigh: to be without a segment.
    The solver is the sparse one of Jonker and Volgenant 1987.
    """
    row = np.unique(truth, return_inverse=True)[1]
    column = np.unique(segment, return_inverse=True)[1]
    n_rows, n_columns = int(row.max()) + 1, int(column.max()) + 1
    cost = 1.0 + IOU_STEPS - np.round(iou * IOU_STEPS)
    alone = np.arange(n_rows)
    graph = csr_array(
        (
            np.concatenate([cost, np.full(n_rows, IOU_STEPS * (n_rows + 2.0))]),
            (np.concatenate([row, alone]), np.concatenate([column, n_columns + alone])),
        ),
        (n_rows, n_columns + n_rows),
    )
    partner = min_weight_full_bipartite_matching(graph)[1]
    return np.flatnonzero(partner[row] == column)


def _quality(n_pairs: int, sum_of_iou: float, n_truth: int, n_segments: int) -> dict[str, float]:
    false_positives, false_negatives = n_segments - n_pairs, n_truth - n_pairs
    f1 = ratio(2 * n_pairs, n_truth + n_segments)
    return {
        "n_true_positives": n_pairs,
        "n_false_positives": false_positives,
        "n_false_negatives": false_negatives,
        "precision": ratio(n_pairs, n_segments),
        "recall": ratio(n_pairs, n_truth),
        "f1": f1,
        "average_precision": ratio(n_pairs, n_pairs + false_positives + false_negatives),
        "segmentation_quality": ratio(sum_of_iou, n_pairs),
        "panoptic_quality": ratio(2 * sum_of_iou, n_truth + n_segments),
    }


MATCHING = TableMetric(
    matching,
    columns=(
        "mean_coverage",
        "n_true_positives_*",
        "n_false_positives_*",
        "n_false_negatives_*",
        "precision_*",
        "recall_*",
        "f1_*",
        "average_precision_*",
        "segmentation_quality_*",
        "panoptic_quality_*",
    ),
    settings=("iou_thresholds",),
)
