"""The counts of one class of one crop, as the challenge's scorer has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from connectomake.submit.score.hausdorff import hausdorff_nm
from connectomake.submit.score.labels import LabelPair, Labels, planes_of_slab
from connectomake.submit.score.matching import match_objects
from connectomake.submit.score.metric import Metric
from connectomake.submit.score.overlaps import Overlaps

SCORED, MISSING, SKIPPED = "scored", "missing", "skipped_too_many_instances"


@dataclass(frozen=True)
class Counts:
    """What one class of one crop adds to its class.

    Parameters
    ----------
    status
        scored, missing (not submitted, or not usable), or skipped_too_many_instances (adds nothing).
    tp, fp, fn
        Objects, or voxels.
    hausdorff_norm_sum, n_hausdorff
        Sum of the scores of distances, and how many there are; None for a class that is told voxel by voxel.
    about
        More to show: numbers of objects in ``n_truth`` and ``n_submitted``.
    tie
        None, or what another choice of pairs at the same cost would change: ``pairs`` (how many are others) and
        ``hausdorff_norm_sum``, the sum with that choice.
    """

    status: str
    tp: int
    fp: int
    fn: int
    hausdorff_norm_sum: float | None = None
    n_hausdorff: int | None = None
    about: Mapping[str, int] = field(default_factory=dict)
    tie: Mapping[str, Any] | None = None


def count_voxels(pair: LabelPair) -> Counts:
    """Count the voxels that are above 0 in both, in the submission alone, in truth alone."""
    n_both = n_truth = n_submitted = 0
    for truth, submitted in pair.slabs():
        of_truth, of_submitted = truth > 0, submitted > 0
        n_both += int(np.count_nonzero(of_truth & of_submitted))
        n_truth += int(np.count_nonzero(of_truth))
        n_submitted += int(np.count_nonzero(of_submitted))
    return Counts(SCORED, n_both, n_submitted - n_both, n_truth - n_both)


def count_missing(truth: Labels, grid: Any, is_instances: bool) -> Counts:
    """Count what was not submitted: all voxels of the crop are missed, or all objects of truth, at distance score 0."""
    shape = grid.shape_zyx
    if not is_instances:
        return Counts(MISSING, 0, 0, int(np.prod(shape, dtype=np.int64)))
    ids: set[int] = set()
    step = planes_of_slab(shape)
    for low in range(0, shape[0], step):
        ids.update(np.unique(truth.read((slice(low, min(low + step, shape[0])),))).tolist())
    n = len(ids - {0, truth.unknown})
    return Counts(MISSING, 0, 0, n, 0.0, n)


def count_objects(pair: LabelPair, metric: Metric, threads: int = 1) -> Counts:
    """Pair objects, and measure how far paired ones lie from each other.

    Components of the submitted labels are paired with truth objects. A component without partner keeps its number, and
    where that is also the id of a truth object, it is measured as part of what stands for that object: so the
    challenge's scorer has it.

    Parameters
    ----------
    pair
        Labels of whole numbers, 0 = background.
    metric
        The version of the metric.
    threads
        Objects that are measured at the same time.

    Raises
    ------
    DataError
        Truth is not of whole numbers, or cannot be read.
    """
    found = Overlaps(pair)
    n_truth, n_submitted = len(found.truth.size_vx) - 1, len(found.submitted.size_vx) - 1
    n_ids = len(found.truth.ids)
    about = {"n_truth": n_ids, "n_submitted": n_submitted}
    too_many = n_truth > 0 and n_submitted > 0 and n_submitted / n_truth > metric.most_per_truth(n_truth)
    if too_many or len(found.shared_vx) > metric.most_pairs:
        return Counts(SKIPPED, 0, 0, 0, 0.0, 0, about)
    union = found.truth.size_vx[found.truth_id] + found.submitted.size_vx[found.submitted_id] - found.shared_vx
    iou = (found.shared_vx / union).astype(np.float32)
    matching = match_objects(found.truth_id, found.submitted_id, iou, metric.cost_steps)
    tp = len(matching.chosen)
    measured = _measure(found, matching.chosen, metric, threads)
    tie = None
    if not np.array_equal(matching.chosen, matching.other):
        other = _measure(found, matching.other, metric, threads, known=measured)
        tie = {"pairs": len(np.setdiff1d(matching.chosen, matching.other)), "hausdorff_norm_sum": other.norm_sum}
    return Counts(SCORED, tp, n_submitted - tp, n_ids - tp, measured.norm_sum, n_ids + n_submitted - tp, about, tie)


@dataclass(frozen=True)
class _Measured:
    """What stands for which truth object, how far it lies (T,) nm, and the sum of the scores of all distances."""

    owner: np.ndarray
    nm: np.ndarray
    norm_sum: float


def _measure(
    found: Overlaps, chosen: np.ndarray, metric: Metric, threads: int, known: _Measured | None = None
) -> _Measured:
    """Measure a choice of pairs; of `known`, what stands for the same objects is taken over."""
    grid, ids = found.pair.grid, found.truth.ids
    farthest_nm = metric.farthest_nm(grid.shape_zyx, grid.voxel_size_zyx_nm)
    owner = _find_owners(found, chosen)
    if known is None:
        nm = hausdorff_nm(found, owner, ids, farthest_nm, threads)
    else:
        differs = owner != known.owner
        again = np.isin(ids, np.concatenate([owner[differs], known.owner[differs]]))
        nm = known.nm.copy()
        nm[again] = hausdorff_nm(found, owner, ids[again], farthest_nm, threads)
    alone = len(found.submitted.size_vx) - 1 - len(chosen)
    every = np.concatenate([nm, np.full(alone, farthest_nm)]).astype(np.float32)  # as the challenge's scorer holds them
    return _Measured(owner, nm, float(metric.normalise(every, grid.voxel_size_zyx_nm).sum()))


def _find_owners(found: Overlaps, chosen: np.ndarray) -> np.ndarray:
    """Return the truth id that each component stands for: its partner, else its own number where that is such an id."""
    owner = np.arange(len(found.submitted.size_vx))
    owner[owner >= len(found.truth.size_vx)] = 0
    owner[found.truth.size_vx[owner] == 0] = 0
    owner[found.submitted_id[chosen]] = found.truth_id[chosen]
    owner[0] = 0
    return owner
