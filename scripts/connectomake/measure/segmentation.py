"""Measure one segmentation against whatever truth its volume has: skeletons, labels, or both."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.config.settings.measure import MeasureConfig
from connectomake.errors import DataError
from connectomake.measure.clefts import cleft_distances
from connectomake.measure.contingency import Contingency, contingency
from connectomake.measure.coverage import Coverage, find_coverage
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.error_table import voxels_of
from connectomake.measure.funlib_backend import compare_backends, funlib_metrics
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.measure.worst_errors import find_errors
from connectomake.measure.worst_voxel_errors import find_voxel_errors
from connectomake.tables import finite_or_none
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.nodes import segment_at_nodes
from connectomake.volumes.segmentation import Segmentation
from connectomake.volumes.skeletons import Skeletons, load_skeletons
from connectomake.volumes.volume import Readable, Volume, open_volume

log = logging.getLogger(__name__)

Table = dict[str, np.ndarray]


@dataclass(frozen=True)
class Measured:
    """What measuring one segmentation gives.

    Parameters
    ----------
    numbers
        Flat: the skeleton metrics (names as in `skeleton_metrics`, nm) where there are skeletons, the voxel metrics
        (`dense_metrics`, `cleft_distances`) where there are truth labels; None where a number is not defined.
        `per_volume` holds the context: volume, shape, voxel size and voxel count of the segmentation, `share` (of the
        volume that was predicted, 0 to 1, and so measured), the store's attributes, and how the numbers of two
        backends differ where both were asked for.
    per_skeleton
        One row per skeleton; empty columns without skeletons.
    errors
        The worst splits, mergers and missing parts, one row each: along skeletons (`find_errors`), or where there are
        no skeletons or no errors along them, of voxels (`find_voxel_errors`).
    """

    numbers: dict[str, Any]
    per_skeleton: Table
    errors: Table


def measure_segmentation(
    labels: Path, volume_json: Path, skeletons: Path | None, cfg: MeasureConfig, *, threads: int = 1
) -> Measured:
    """Compute every metric that the volume has a truth for.

    The segmentation may cover a part of the volume, or have voxels of another size. Then it is compared with the truth
    on the truth's voxels, where it has any (each takes the label that its centre lies in); what was not predicted
    counts as unknown truth, and skeletons end there.

    Memory is two blocks for each thread, the contingency table and the skeletons.

    Parameters
    ----------
    labels
        The store of labels to measure (its folder, or the zarr.json in it).
    volume_json
        The ingested volume, with or without truth labels.
    skeletons
        npz, or None.
    cfg
        What is measured, what counts, and how much is read at a time.
    threads
        Blocks worked on at the same time.

    Raises
    ------
    DataError
        When the labels do not lie in the volume, or the volume has neither skeletons nor truth labels.
    MissingPackageError
        When the settings ask for funlib.evaluate and it is not installed.
    """
    store = labels.parent if labels.name == "zarr.json" else labels
    segmentation, volume = open_volume(store), IngestedVolume.read(volume_json)
    described = Segmentation.read(store)
    covered = find_coverage(segmentation, described.region, volume)
    context = _context(segmentation, volume, described)
    context["share"] = share = covered.measure_share(cfg.block_vx, threads)
    if share < 1:
        log.warning("%s covers %.3g %% of %s: the rest is not measured", store, 100 * share, volume.name)
    along, backends = _along_skeletons(segmentation, covered, skeletons, cfg, threads)
    if backends:
        context["backends"] = backends
    numbers, errors = dict(along.numbers), along.errors
    if volume.labels is not None:
        truth, labelled = covered.bring_truth(volume.open_labels()), covered.bring_labels(segmentation)
        counts = contingency(truth, labelled, block_vx=cfg.block_vx, threads=threads)
        numbers |= dense_metrics(counts, cfg)
        if "clefts" in cfg.voxel_metrics:
            numbers |= cleft_distances(truth, labelled, cfg, threads=threads)
        if not len(errors["kind"]):
            errors = _voxel_errors(counts, truth, labelled, cfg, threads)
            errors |= voxels_of(errors, segmentation.voxel_size_zyx_nm, segmentation.offset_zyx_nm)
    if not numbers:
        raise DataError(
            f"{volume_json} has neither skeletons nor truth labels to measure against",
            hint="name its skeletons or labels in config/data, or do not measure it (role: predict)",
        )
    return Measured(finite_or_none(numbers) | {"per_volume": context}, along.per_skeleton, errors)


def _along_skeletons(
    segmentation: Volume, covered: Coverage, file: Path | None, cfg: MeasureConfig, threads: int
) -> tuple[Measured, dict[str, Any]]:
    """Measure along the skeletons of a file, and compare backends where both are wanted.

    Without skeletons, numbers are empty and tables have no rows.
    """
    skeletons = load_skeletons(file) if file else _no_skeletons()
    voxel = {"voxel_size_zyx_nm": segmentation.voxel_size_zyx_nm, "offset_zyx_nm": segmentation.offset_zyx_nm}
    clipped = covered.clip(skeletons)
    segment, _ = segment_at_nodes(segmentation, clipped.node_pos_nm, block_vx=cfg.block_vx, threads=threads)
    arrays = clipped.edges, clipped.node_skeleton_id, clipped.node_pos_nm, segment
    numbers = skeleton_metrics(*arrays, ignored_merger_nodes=cfg.ignored_merger_nodes)
    per_skeleton = numbers.pop("per_skeleton")
    errors = find_errors(clipped, segment, worst=cfg.worst_errors, **voxel)
    if not len(skeletons.node_skeleton_id):
        return Measured({}, per_skeleton, errors), {}
    backends = {}
    if cfg.backend != "own":
        theirs = funlib_metrics(*arrays, ignored_merger_nodes=cfg.ignored_merger_nodes)
        if cfg.backend == "funlib":
            numbers = theirs
        else:
            backends = compare_backends(numbers, theirs)
    outside = len(skeletons.node_skeleton_id) - len(clipped.node_skeleton_id)
    if outside:
        log.warning(
            "%d skeleton nodes lie outside of what was predicted in %s and do not count", outside, segmentation.source
        )
    counts = {"n_nodes": len(segment), "n_skeletons": len(per_skeleton["skeleton_id"]), "n_nodes_outside": outside}
    return Measured(numbers | counts, per_skeleton, errors), backends


def _voxel_errors(
    counts: Contingency, truth: Readable, segmentation: Readable, cfg: MeasureConfig, threads: int
) -> Table:
    return find_voxel_errors(
        counts.without_truth(*cfg.ignore_labels),
        truth,
        segmentation,
        worst=cfg.worst_errors,
        block_vx=cfg.block_vx,
        threads=threads,
    )


def _no_skeletons() -> Skeletons:
    return Skeletons(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros((0, 3)))


def _context(segmentation: Volume, volume: IngestedVolume, described: Segmentation) -> dict[str, Any]:
    return {
        "volume": volume.name,
        "role": volume.role,
        "shape_zyx": segmentation.shape_zyx,
        "voxel_size_zyx_nm": segmentation.voxel_size_zyx_nm,
        "n_voxels": int(np.prod(segmentation.shape_zyx, dtype=np.int64)),
        "labels": dict(described.plain),
    }
