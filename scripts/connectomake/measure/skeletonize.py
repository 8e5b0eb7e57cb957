"""Compute skeletons from labels with kimimaro, the only place that imports it (it is GPL-3).

Invariant: every node is the centre of a voxel of its own label.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from connectomake.config.measure import SkeletonConfig
from connectomake.errors import DataError, MissingPackageError
from connectomake.measure.label_volumes import require_labels
from connectomake.measure.nodes import clip_skeletons, keep_nodes, position_of
from connectomake.volumes.files import read_json
from connectomake.volumes.ingest import open_labels
from connectomake.volumes.skeletons import Skeletons, load_skeletons
from connectomake.volumes.volume import Volume

log = logging.getLogger(__name__)


def skeletons_of_volume(volume_json: Path, source: Path | None, cfg: SkeletonConfig, *, threads: int = 1) -> Skeletons:
    """Give an ingested volume's skeletons: those of a file, within the volume, or else computed from its truth labels.

    Parameters
    ----------
    volume_json
        The ingested volume.
    source
        A file of skeletons (npz, SWC, NISB pickle) in nm in the frame of the volume's offset, or None.
    cfg
        How skeletons are computed where there is no file.
    threads
        Processes that compute them.

    Raises
    ------
    DataError
        When no node of the file lies within the volume, or there is neither a file nor labels.
    """
    volume = read_json(volume_json)
    if source is None:
        if volume["labels"] is None:
            raise DataError(
                f"{volume_json} has no labels to compute skeletons from", hint="name a skeleton file or labels"
            )
        return skeletonize_labels(open_labels(volume_json), cfg, threads=threads)
    found = load_skeletons(source, swc_unit_nm=volume["settings"]["swc_unit_nm"])
    clipped = clip_skeletons(found, volume["shape_zyx"], volume["voxel_size_zyx_nm"], volume["offset_zyx_nm"])
    kept, total = len(clipped.node_skeleton_id), len(found.node_skeleton_id)
    if kept == 0:
        raise DataError(
            f"none of the {total} nodes of {source} lies within the volume {volume['name']}",
            expected=f"positions in nm, z, y, x, from {volume['offset_zyx_nm']} on",
            got=f"{found.node_pos_nm.min(axis=0)} to {found.node_pos_nm.max(axis=0)}" if total else "no node",
            hint="check the unit, axis order and origin of the skeletons and the offset of the volume",
        )
    log.info("%s: %d of %d nodes lie within the volume", source, kept, total)
    return clipped


def skeletonize_labels(labels: Volume, cfg: SkeletonConfig, *, threads: int = 1) -> Skeletons:
    """Compute one skeleton for each label, by TEASAR (Sato 2000) as kimimaro has it.

    The whole volume is held in memory, at a peak of about 28 bytes per voxel of uint32 labels (measured, kimimaro's
    own arrays included); one core traces about 0.3 million voxels a second of densely labelled tissue.

    Parameters
    ----------
    labels
        (Z, Y, X) integers; 0 and negative labels get no skeleton.
    cfg
        The TEASAR settings, in nm.
    threads
        Processes that share the labels among them.

    Returns
    -------
    Skeletons
        The skeleton id is the label; positions are in nm in the frame of the volume's offset.

    Raises
    ------
    MissingPackageError
        When kimimaro is not installed.
    DataError
        When the volume is not of integers.
    """
    require_labels(labels)
    kimimaro = _import_kimimaro()
    array = _without_unknown(labels.read())
    found = kimimaro.skeletonize(
        array,
        teasar_params=_teasar_settings(cfg),
        anisotropy=labels.voxel_size_zyx_nm,  # the array is z, y, x: so are kimimaro's vertices
        dust_threshold=cfg.dust_vx,
        parallel=max(1, threads),
        progress=False,
    )
    return _inside_own_label(_join(found, labels), array, labels)


def _import_kimimaro() -> ModuleType:
    try:
        import kimimaro
    except ImportError as error:
        raise MissingPackageError(
            "skeletons are computed by kimimaro, which is not installed",
            hint="pip install kimimaro, or name a skeleton file for the volume",
        ) from error
    return kimimaro


def _without_unknown(array: np.ndarray) -> np.ndarray:
    """Turn negative labels (unknown) into background and the rest into unsigned integers, which kimimaro wants."""
    if array.dtype.kind != "i":
        return array
    unsigned = np.dtype(f"u{array.dtype.itemsize}")
    return np.maximum(array, 0).astype(unsigned, copy=False)


def _teasar_settings(cfg: SkeletonConfig) -> dict[str, Any]:
    return {
        "scale": cfg.scale,
        "const": cfg.const_nm,
        "soma_detection_threshold": cfg.soma_detection_nm,
        "soma_acceptance_threshold": cfg.soma_acceptance_nm,
    }


def _join(found: dict[int, Any], labels: Volume) -> Skeletons:
    """Put the skeletons of all labels into one set of arrays, sorted by label."""
    edges, ids, voxels, first = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 3))], 0
    for label in sorted(found):
        skeleton = found[label]
        if label > np.iinfo(np.int64).max:
            raise DataError(
                f"{labels.source} holds a label too large for a skeleton id", expected="below 2**63", got=label
            )
        edges.append(skeleton.edges.astype(np.int64) + first)
        ids.append(np.full(len(skeleton.vertices), label, np.int64))
        # float32 nm loses the last digits of large volumes: back to the voxel, which is a whole number
        voxels.append(np.rint(skeleton.vertices / np.asarray(labels.voxel_size_zyx_nm)))
        first += len(skeleton.vertices)
    position = position_of(np.concatenate(voxels), labels.voxel_size_zyx_nm, labels.offset_zyx_nm)
    return Skeletons(edges=np.concatenate(edges), node_skeleton_id=np.concatenate(ids), node_pos_nm=position)


def _inside_own_label(skeletons: Skeletons, array: np.ndarray, labels: Volume) -> Skeletons:
    """Drop nodes outside their own label, with a warning: they would count as errors of a perfect result."""
    offset, size = labels.offset_zyx_nm, labels.voxel_size_zyx_nm
    voxel = np.rint((skeletons.node_pos_nm - offset) / size).astype(np.int64)
    inside = array[tuple(voxel.T)] == skeletons.node_skeleton_id
    if not inside.all():
        log.warning("%d of %d skeleton nodes lie outside their own label and are dropped", (~inside).sum(), len(inside))
        skeletons = keep_nodes(skeletons, inside)
    log.info("%d skeletons of %d nodes", len(np.unique(skeletons.node_skeleton_id)), len(skeletons.node_skeleton_id))
    return skeletons
