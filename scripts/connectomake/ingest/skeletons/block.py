"""Trace the skeletons of one block of a label volume with kimimaro, the only place that imports it (it is GPL-3).

Blocks share the planes in which they meet (`TraceGrid`). Where a label crosses such a plane, kimimaro's border fixing
leads the skeletons of both blocks to the same voxel: the one deepest inside the crossing.

Invariant: every node is the centre of a voxel of its own label; every part of a label, 26-connected within the block,
has one connected skeleton that reaches all its crossings.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import cc3d
import numpy as np

from connectomake.config.settings.data import SkeletonConfig
from connectomake.errors import DataError, MissingPackageError
from connectomake.geometry import Box
from connectomake.ingest.skeletons.block_skeletons import Pieces, Tree, gather
from connectomake.ingest.skeletons.grid import TraceGrid
from connectomake.volumes.volume import Volume

LARGEST_ID = np.iinfo(np.int64).max


def import_kimimaro() -> ModuleType:
    """Import kimimaro.

    Raises
    ------
    MissingPackageError
        It is not installed.
    """
    try:
        import kimimaro.intake
    except ImportError as error:
        raise MissingPackageError(
            "skeletons are computed by kimimaro, which is not installed",
            hint="pip install kimimaro, or name a skeleton file for the volume",
        ) from error
    return kimimaro


def trace_block(labels: Volume, grid: TraceGrid, block: int, cfg: SkeletonConfig, dust: np.ndarray) -> Pieces:
    """Trace every label in a block, by TEASAR (Sato 2000) as kimimaro has it.

    A soma is detected in each block by itself; the part of it in each block has a centre of its own, and the centres
    are joined through the crossings.

    Parameters
    ----------
    labels
        (Z, Y, X) integers; 0 and negative labels get no skeleton.
    grid, block
        The blocks, and which of them.
    cfg
        The TEASAR settings, in nm.
    dust
        (D,) labels that get no skeleton.

    Raises
    ------
    MissingPackageError
        kimimaro is not installed.
    DataError
        A label is too large for a skeleton id, or the labels are noise.
    """
    box = grid[block]
    parts, label_of = _split(labels, box, dust)
    if not label_of.any():
        return gather({}, label_of, box)
    size_zyx_nm = np.array(labels.voxel_size_zyx_nm, np.float32)
    try:
        trees, crossings = _trace(parts, size_zyx_nm, cfg)
    except IndexError as error:  # its tables are one too short for that
        raise DataError(
            f"{labels.source}: kimimaro cannot trace labels in which every voxel of a face is an object of its own",
            got=f"such a face of the block from {box.start_zyx} to {box.stop_zyx}",
            hint="raise skeletonize.dust_vx in the data config",
        ) from error
    for part, targets in crossings.items():
        shared = targets[grid.is_shared(targets + box.start_zyx)]
        reached = _reach(trees.get(part), shared, parts, size_zyx_nm)
        if reached is not None:
            trees[part] = reached
    inside = {part: tree.keep(parts[tuple(tree.voxel.T)] == part) for part, tree in trees.items()}
    return gather(inside, label_of, box)


def _trace(
    parts: np.ndarray, size_zyx_nm: np.ndarray, cfg: SkeletonConfig
) -> tuple[dict[int, Tree], dict[int, np.ndarray]]:
    """Return the tree of each part, and the (K, 3) voxels at which its crossings of the block's faces are deepest."""
    kimimaro = import_kimimaro()
    found = kimimaro.skeletonize(
        parts,
        teasar_params=_teasar_settings(cfg),
        anisotropy=size_zyx_nm,  # the array is z, y, x: so are kimimaro's vertices
        dust_threshold=0,  # a small part of a large label is no dust
        fix_borders=True,
        fill_holes=False,  # what fills a hole is a label of its own, which would lose its skeleton
        in_place=True,
        progress=False,
    )
    crossings = kimimaro.intake.compute_border_targets(parts, size_zyx_nm)
    return (
        {int(part): _to_tree(skeleton, size_zyx_nm) for part, skeleton in found.items()},
        {int(part): np.asarray(targets, np.int64) for part, targets in crossings.items()},
    )


def _split(labels: Volume, box: Box, dust: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbered 26-connected parts of the labels that count, and the label of each part (else 0)."""
    array = labels.read(box)
    parts, n = cc3d.connected_components(array, connectivity=26, return_N=True)
    label_of = np.zeros(n + 1, array.dtype)
    label_of[parts.ravel()] = array.ravel()
    counts = (label_of > 0) & ~np.isin(label_of, dust)
    del array
    parts = np.asfortranarray(parts)  # in which order kimimaro works, and would make a copy itself
    if not counts[1:].all():
        parts *= counts[parts]
        label_of[~counts] = 0
    if int(label_of.max()) > LARGEST_ID:
        raise DataError(
            f"{labels.source} holds a label too large for a skeleton id",
            expected="below 2**63",
            got=int(label_of.max()),
            hint="renumber the labels",
        )
    return parts, label_of


def _teasar_settings(cfg: SkeletonConfig) -> dict[str, Any]:
    return {
        "scale": cfg.scale,
        "const": cfg.const_nm,
        "soma_detection_threshold": cfg.soma_detection_nm,
        "soma_acceptance_threshold": cfg.soma_acceptance_nm,
    }


def _to_tree(skeleton: Any, size_zyx_nm: np.ndarray) -> Tree:
    voxel = np.rint(skeleton.vertices / size_zyx_nm).astype(np.int64)
    return Tree(voxel, np.asarray(skeleton.radii, np.float32), skeleton.edges.astype(np.int64))


def _reach(tree: Tree | None, crossings: np.ndarray, parts: np.ndarray, size_zyx_nm: np.ndarray) -> Tree | None:
    """Lead a part's tree to those crossings that it does not reach.

    Within a soma kimimaro draws no paths, so that a soma cut in two would fall apart into two skeletons.
    """
    for voxel in crossings:
        if tree is None:
            if _is_single(voxel, parts):  # the neighbour has all the rest of it, and a skeleton that comes here
                continue
            tree, nearest = Tree.empty(), None
        else:
            distance = np.linalg.norm((tree.voxel - voxel) * size_zyx_nm, axis=1)
            nearest = int(np.argmin(distance))
            if distance[nearest] == 0:
                continue
        tree = tree.extend(voxel, nearest)
    return tree


def _is_single(voxel: np.ndarray, parts: np.ndarray) -> bool:
    """Return whether a voxel is a part by itself."""
    around = tuple(slice(max(0, v - 1), v + 2) for v in voxel)
    return np.count_nonzero(parts[around] == parts[tuple(voxel)]) == 1
