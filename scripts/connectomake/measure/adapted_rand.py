"""Adapted Rand error (1 - F1 of the pairs of voxels that are joined) in the two conventions in use.

They agree but for segment 0, what a segmentation leaves out. scikit-image takes it for a segment like any other; the
script of SNEMI3D, which gala and CREMI took over, for as many segments as it has voxels. CREMI also leaves out truth
within some nm of a border between objects in the same section; that tolerance is not applied here.
"""

from __future__ import annotations

import math

import numpy as np

from connectomake.measure.contingency import Contingency, ratio
from connectomake.measure.table_metric import TableMetric
from connectomake.measure.variation_of_information import variation_of_information


def adapted_rand(table: Contingency, *, ignore_background: bool) -> dict[str, float]:
    """Return the adapted Rand error in both conventions, and the CREMI score.

    Returns
    -------
    dict
        `adapted_rand_error`, `adapted_rand_precision`, `adapted_rand_recall` (0 to 1): see `adapted_rand_error`; truth
        0 left out where `ignore_background` says so.
        `adapted_rand_error_snemi` (0 to 1): see `adapted_rand_error_snemi`; always without truth 0.
        `cremi_score`: the geometric mean of voi_sum (bits) and adapted_rand_error_snemi, both without truth 0, by
        which CREMI ranks (Funke et al. 2016, cremi.org), but without its border tolerance.
        All are NaN where the truth holds nothing to compare.
    """
    error, precision, recall = adapted_rand_error(table.foreground if ignore_background else table)
    snemi = adapted_rand_error_snemi(table)
    return {
        "adapted_rand_error": error,
        "adapted_rand_precision": precision,
        "adapted_rand_recall": recall,
        "adapted_rand_error_snemi": snemi,
        "cremi_score": math.sqrt(sum(variation_of_information(table.foreground)) * snemi),
    }


def adapted_rand_error(table: Contingency) -> tuple[float, float, float]:
    """Return 1 - F1 of the pairs of different voxels that share a label, with precision and recall.

    Precision is the share of pairs within a segment that the truth also joins (low: mergers); recall the share of
    pairs within a truth object that the segmentation also joins (low: splits). Segment 0 is an ordinary segment.
    scikit-image computes this (without truth 0), and returns precision and recall under each other's name (its issue
    6485). The measure is that of Arganda-Carreras et al. 2015.

    Returns
    -------
    tuple of float
        error, precision, recall; NaN where there is no pair to judge.
    """
    joined_in_both = _pairs_within(table.count)
    joined_in_segment = _pairs_within(table.segment.size)
    joined_in_truth = _pairs_within(table.truth.size)
    error = 1.0 - ratio(2 * joined_in_both, joined_in_segment + joined_in_truth)
    return error, ratio(joined_in_both, joined_in_segment), ratio(joined_in_both, joined_in_truth)


def adapted_rand_error_snemi(table: Contingency) -> float:
    """Return the adapted Rand error as the scripts of SNEMI3D, gala and CREMI compute it.

    With the counts c of truth object i and segment j (both not 0), the voxels b of truth objects in segment 0 and all
    n voxels of the volume (those of truth 0 too): precision = (sum c_ij^2 + b / n) / (sum_j (sum_i c_ij)^2 + b / n),
    recall = (sum c_ij^2 + b / n) / sum of the squared sizes of truth objects. A voxel is paired with itself too. Each
    voxel of segment 0 is meant to be a segment of its own, which would add b; the scripts add b / n, of their older
    version with shares in place of counts, and so do we: left out voxels lower recall alone.

    Parameters
    ----------
    table
        With truth 0, for n.

    Returns
    -------
    float
        0 to 1; NaN where there is no truth object.
    """
    foreground = table.foreground
    if foreground.total == 0:
        return float("nan")
    segment = foreground.segment
    size = segment.size[segment.ids != 0]
    lone = (foreground.total - int(size.sum())) / table.total
    joined_in_both = _squares(foreground.count[foreground.segment_id != 0]) + lone
    precision = joined_in_both / (_squares(size) + lone)
    recall = joined_in_both / _squares(foreground.truth.size)
    return 1.0 - 2.0 * precision * recall / (precision + recall)


def _pairs_within(size: np.ndarray) -> int:
    """Count ordered pairs of different voxels."""
    return _squares(size) - int(size.sum())


def _squares(size: np.ndarray) -> int:
    """Sum squares exactly: a perfect segmentation must give 0, and the square of 3e9 voxels overflows int64."""
    large = size >= 1 << 32  # few objects
    square = size[~large].astype(np.uint64) ** 2
    low, high = int((square & np.uint64(0xFFFFFFFF)).sum()), int((square >> np.uint64(32)).sum())
    return (high << 32) + low + sum(n * n for n in size[large].tolist())


ADAPTED_RAND = TableMetric(
    adapted_rand,
    columns=(
        "adapted_rand_error",
        "adapted_rand_precision",
        "adapted_rand_recall",
        "adapted_rand_error_snemi",
        "cremi_score",
    ),
    settings=("ignore_background",),
)
