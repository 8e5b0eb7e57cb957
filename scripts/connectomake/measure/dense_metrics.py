"""Variation of information and adapted Rand error from the contingency table of truth and segmentation.

One convention for nodes and voxels: `split` is what the segmentation cut apart, `merge` what it joined; logarithms
are to base 2.
"""

from __future__ import annotations

import numpy as np

from connectomake.measure.contingency import Contingency

UNKNOWN = -1


def dense_metrics(table: Contingency, *, ignore_background: bool = True) -> dict[str, float]:
    """Compute every voxel metric of one volume.

    Truth -1 (unknown) never counts. Segment 0 is an ordinary segment: what a segmentation leaves out is then a merger
    of whatever lies there, and leaving everything out does not pay.

    Parameters
    ----------
    table
        Voxel counts of a whole volume (`contingency`).
    ignore_background
        Leave out truth 0 as well, as SNEMI3D and CREMI do.

    Returns
    -------
    dict
        `voxel_voi_split`, `voxel_voi_merge`, `voxel_voi_sum` (bits), `adapted_rand_error`, `adapted_rand_precision`,
        `adapted_rand_recall` (0 to 1; NaN where the truth holds nothing to compare), `n_truth_voxels` (compared),
        `n_truth_objects`, `n_segments` (that touch them; segment 0 is no object).
    """
    table = table.without_truth(UNKNOWN, 0) if ignore_background else table.without_truth(UNKNOWN)
    split, merge = variation_of_information(table)
    error, precision, recall = adapted_rand_error(table)
    return {
        "voxel_voi_split": split,
        "voxel_voi_merge": merge,
        "voxel_voi_sum": split + merge,
        "adapted_rand_error": error,
        "adapted_rand_precision": precision,
        "adapted_rand_recall": recall,
        "n_truth_voxels": table.total,
        "n_truth_objects": len(np.unique(table.truth_id)),
        "n_segments": int(np.count_nonzero(np.unique(table.segment_id))),
    }


def variation_of_information(table: Contingency) -> tuple[float, float]:
    """Give the conditional entropies H(segment | truth) and H(truth | segment), in bits.

    Each term is count * log2(size / count), never a difference of entropies, so a perfect segmentation gives exactly
    0. An empty table gives 0, 0.

    Returns
    -------
    tuple of float
        voi_split, voi_merge (Meila 2007; split and merge as in Nunez-Iglesias 2013).
    """
    if table.total == 0:
        return 0.0, 0.0
    count = table.count.astype(np.float64)
    split = count @ np.log2(_size_of(table.truth_id, count) / count)
    merge = count @ np.log2(_size_of(table.segment_id, count) / count)
    return float(split / count.sum()), float(merge / count.sum())


def adapted_rand_error(table: Contingency) -> tuple[float, float, float]:
    """Give 1 - F of the pairs of voxels that share a label, with precision and recall (SNEMI3D; Arganda-Carreras 2015).

    Precision is the share of pairs within a segment that the truth also joins (low: mergers); recall the share of
    pairs within a truth object that the segmentation also joins (low: splits). scikit-image returns the same two
    numbers under each other's name (its issue 6485).

    Returns
    -------
    tuple of float
        error, precision, recall; NaN where there is no pair to judge.
    """
    count = table.count.astype(np.float64)
    joined_in_both = _pairs_within(count)
    joined_in_segment = _pairs_within(np.bincount(_dense(table.segment_id), count))
    joined_in_truth = _pairs_within(np.bincount(_dense(table.truth_id), count))
    error = 1.0 - _ratio(2 * joined_in_both, joined_in_segment + joined_in_truth)
    return error, _ratio(joined_in_both, joined_in_segment), _ratio(joined_in_both, joined_in_truth)


def _pairs_within(size: np.ndarray) -> float:
    """Count ordered pairs of different voxels; in float64, for a square of 1e10 voxels overflows int64."""
    return float((size * (size - 1)).sum())


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def _size_of(ids: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Give, for each row, the total count of its id."""
    index = _dense(ids)
    return np.bincount(index, count)[index]


def _dense(ids: np.ndarray) -> np.ndarray:
    return np.unique(ids, return_inverse=True)[1]
