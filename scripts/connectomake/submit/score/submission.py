"""Score a whole submission against truth, crop by crop and class by class."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

from connectomake.cellmap.manifest import ManifestRow, group_by_crop, read_manifest
from connectomake.errors import DataError
from connectomake.log import progress
from connectomake.submit.score.crop import MISSING, SCORED, SKIPPED, Counts, count_missing, count_objects, count_voxels
from connectomake.submit.score.labels import SLAB_VOXELS, LabelPair, Labels, Truth, open_submitted
from connectomake.submit.score.metric import Metric, find_metric
from connectomake.submit.score.pooling import gains, overall, pool_classes, score_of_class
from connectomake.submit.score.store import LabelStore

NOT_ANNOTATED, REFUSED = "not_annotated", "refused"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """The score of a submission.

    Parameters
    ----------
    metric
        The version of the metric.
    rows
        The rows of the manifest that were scored.
    counts
        Crop -> class -> its counts.
    skipped
        What was not scored as it stands: ``crop``, ``class``, ``status``, ``reason``; see `score_submission`.
    """

    metric: Metric
    rows: Sequence[ManifestRow]
    counts: Mapping[str, Mapping[str, Counts]]
    skipped: Sequence[Mapping[str, str]] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """Return everything in the form of the challenge's `result.json`, with more beside it.

        Returns
        -------
        dict
            ``label_scores``, ``overall_instance_score``, ``overall_semantic_score``, ``overall_score``,
            ``total_evals``, ``num_evals_done``, ``git_version`` (the metric's version, also in ``metric``) as the
            challenge has them; ``crops``: crop -> class -> its counts, as in the challenge's `result_extended.json`;
            ``skipped``; ``ties``: crops and classes where objects could be paired otherwise at the same cost, with the
            sum of distance scores here and with that other choice; ``gains``: class -> what the overall score would
            rise by if the class were perfect.
        """
        classes = pool_classes(self.counts, self.metric)
        scores = {name: score_of_class(numbers) for name, numbers in classes.items()}
        n = len(self.rows)
        return {
            "label_scores": classes,
            **overall(scores, self.metric),
            "total_evals": n,
            "num_evals_done": n,
            "git_version": self.metric.version,
            "metric": self.metric.version,
            "crops": {
                crop: {row.label: _describe(self.counts[crop][row.label], row) for row in rows}
                for crop, rows in group_by_crop(self.rows).items()
            },
            "skipped": list(self.skipped),
            "ties": list(self._ties()),
            "gains": gains(scores, self.metric),
        }

    def to_table(self) -> dict[str, list[Any]]:
        """Return a row for each class, the worst first: score and parts, how many crops, and how many of them not."""
        classes = pool_classes(self.counts, self.metric)
        names = sorted(classes, key=lambda name: score_of_class(classes[name]))
        statuses = {name: [c[name].status for c in self.counts.values() if name in c] for name in names}
        parts = ("f1", "normalized_hausdorff_distance", "iou", "tp", "fp", "fn")
        return {
            "class": names,
            "kind": ["instance" if name in self.metric.instance_classes else "semantic" for name in names],
            "score": [score_of_class(classes[name]) for name in names],
            **{part: [classes[name].get(part) for name in names] for part in parts},
            "crops": [len(statuses[name]) for name in names],
            "skipped": [statuses[name].count(SKIPPED) for name in names],
            "missing": [statuses[name].count(MISSING) for name in names],
        }

    def _ties(self) -> Iterator[dict[str, Any]]:
        for crop, classes in self.counts.items():
            for name, counts in classes.items():
                if counts.tie is not None:
                    here = counts.hausdorff_norm_sum or 0.0
                    there = counts.tie["hausdorff_norm_sum"]
                    yield {
                        "crop": crop,
                        "class": name,
                        "pairs": counts.tie["pairs"],
                        "hausdorff_norm_sum": here,
                        "other_sum": there,
                        "difference": abs(there - here),
                    }


def score_submission(
    truth: Path,
    submission: Path,
    manifest: Path,
    *,
    metric: str = "6b9ad68",
    threads: int = 1,
    slab_voxels: int = SLAB_VOXELS,
) -> Score:
    """Score a submission with the numbers of the challenge's own scorer.

    Memory is set by `slab_voxels` (about 40 bytes for each) and by the surfaces of the objects of one crop, not by the
    size of crops.

    Parameters
    ----------
    truth
        Zarr store, or zip of one, with an array CROP/CLASS for each class that is annotated, and perhaps a mask
        CROP/CLASS_mask (0 = does not count); or the challenge's tree of datasets.
    submission
        Zip, or folder, of arrays CROP/CLASS.
    manifest
        The crops and classes to score.
    metric
        Version of the metric.
    threads
        So many small crops are scored at a time; in large ones, so many objects are measured at a time.
    slab_voxels
        Voxels that are held at a time. The result does not depend on it.

    Returns
    -------
    Score
        In its `skipped`: rows of the manifest without truth (``not_annotated``: they do not count); classes of crops
        with far too many objects (``skipped_too_many_instances``: they do not count, as the challenge has it); arrays
        that were not submitted (``missing``: they count as nothing found); and arrays that are not on the manifest's
        voxels or cannot be opened (``refused``: counted as missing).

    Raises
    ------
    ConfigError
        There is no such metric.
    MissingDataError
        A path does not exist.
    DataError
        The manifest or truth cannot be read, nothing of the manifest is annotated, or no crop of it is submitted.
    """
    chosen = find_metric(metric)
    rows = read_manifest(manifest)
    skipped: list[dict[str, str]] = []
    with Truth(truth, rows) as opened, LabelStore(submission, {row.crop for row in rows}) as store:
        found = [(row, opened.open(row)) for row in rows]
        pairs = [(row, labels, open_submitted(store, row)) for row, labels in found if labels is not None]
        skipped += [_skip(row, NOT_ANNOTATED, "truth has no such labels") for row, labels in found if labels is None]
        if not pairs:
            raise DataError(f"{truth} has no labels of any class of {manifest}")
        counted = _count_all(pairs, chosen, threads, slab_voxels)
    counts: dict[str, dict[str, Counts]] = {}
    for (row, _, submitted), result in zip(pairs, counted, strict=True):
        counts.setdefault(row.crop, {})[row.label] = result
        if isinstance(submitted, str):
            skipped.append(_skip(row, REFUSED, submitted))
        elif result.status != SCORED:
            skipped.append(_skip(row, result.status, _say_why(result)))
    for entry in skipped:
        log.warning("%s of %s is not scored (%s): %s", entry["class"], entry["crop"], entry["status"], entry["reason"])
    return Score(chosen, [row for row, *_ in pairs], counts, skipped)


def _count_all(
    pairs: Sequence[tuple[ManifestRow, Labels, Labels | str | None]], metric: Metric, threads: int, slab_voxels: int
) -> list[Counts]:
    """Count every class of every crop: small crops side by side, large ones one by one."""

    def count(i: int, threads: int = 1) -> Counts:
        row, labels, submitted = pairs[i]
        is_instances = row.label in metric.instance_classes
        if not isinstance(submitted, Labels):
            return count_missing(labels, row.grid, is_instances)
        pair = LabelPair(row.grid, labels, submitted, slab_voxels)
        return count_objects(pair, metric, threads) if is_instances else count_voxels(pair)

    small = [i for i, (row, *_) in enumerate(pairs) if prod(row.grid.shape_zyx) * threads <= slab_voxels]
    large = sorted(set(range(len(pairs))) - set(small))
    with ThreadPoolExecutor(threads) as pool:
        side_by_side = zip(small, pool.map(count, small), strict=True)
        one_by_one = ((i, count(i, threads)) for i in large)
        counted = dict(progress(chain(side_by_side, one_by_one), len(pairs), "arrays"))
    return [counted[i] for i in range(len(pairs))]


def _describe(counts: Counts, row: ManifestRow) -> dict[str, Any]:
    """Return a class of a crop in the form of the challenge's `result_extended.json`."""
    numbers: dict[str, Any] = {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn}
    if counts.n_hausdorff is not None:
        numbers |= {"hausdorff_norm_sum": counts.hausdorff_norm_sum, "n_hausdorff": counts.n_hausdorff}
    return numbers | {
        "status": counts.status,
        "num_voxels": prod(row.grid.shape_zyx),
        "voxel_size": list(row.grid.voxel_size_zyx_nm),
        "is_missing": counts.status == MISSING,
        **counts.about,
    }


def _skip(row: ManifestRow, status: str, reason: str) -> dict[str, str]:
    return {"crop": row.crop, "class": row.label, "status": status, "reason": reason}


def _say_why(counts: Counts) -> str:
    if counts.status == MISSING:
        return "it was not submitted"
    return f"{counts.about['n_submitted']} objects for {counts.about['n_truth']} of truth are too many to pair"
