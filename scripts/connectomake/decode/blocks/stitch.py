"""Join the components of all blocks along their faces, and give every one its id in the volume."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode.blocks.faces import Faces
from connectomake.decode.blocks.layout import Plan, plan_blocks
from connectomake.decode.blocks.stitched import Stitched
from connectomake.decode.components.small_objects import join_small
from connectomake.decode.postprocess import smallest_label_type
from connectomake.errors import DataError
from connectomake.files import replacing
from connectomake.ledger import Ledger, hash_settings, read_hash
from connectomake.union_find import unite
from connectomake.volumes.store import remove_store

log = logging.getLogger(__name__)


def stitch_blocks(affinities: Path, labels: Path, cfg: DecodeConfig, done: Path, *, code: str = "") -> int:
    """Join what label_blocks found: one union-find over all blocks, sizes of whole objects, ids in scan order.

    The ids are those that decoding the whole volume at once gives: 1..n in scan order of each object's first voxel,
    whatever the blocks.

    Parameters
    ----------
    affinities, labels, cfg, code
        As label_blocks got them.
    done
        A small JSON file, written last: the table of new ids, the first entry of each block, type and number of ids.

    Returns
    -------
    int
        The number of objects.

    Raises
    ------
    DataError
        A block is missing, or its faces do not fit those of its neighbour.

    Notes
    -----
    One process. It reads faces, not voxels, and takes about 40 bytes for each component of a block.
    """
    plan = plan_blocks(affinities, labels, cfg, code=code)
    Ledger.open(plan.part_labels / "ledger").require_all(len(plan.blocks), "label_blocks")
    base, sizes, first = _gather(plan)
    parent = np.arange(base[-1] + 1, dtype=np.int64)
    for pairs in _pairs_across_faces(plan, base):
        _join(parent, pairs)
    new_id, count = _number(plan, base, parent, sizes, first)
    dtype = smallest_label_type(count)
    with replacing(plan.table) as temporary:
        np.save(temporary, new_id.astype(dtype))
    _clear_outdated(plan)
    log.info("%d components in %d blocks are %d objects", base[-1], len(plan.blocks), count)
    Stitched(plan.table.name, tuple(base.tolist()), dtype, count).write(done)
    return count


def _gather(plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the id before each block's first one (and the last of all), and size and first voxel of every component.

    The first voxel is its index in the volume in scan order.
    """
    sizes, first = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    for block, box in enumerate(plan.blocks):
        with Faces(plan.faces(block)) as faces:
            sizes.append(faces["sizes_vx"][1:])
            at_zyx = np.unravel_index(faces["first_voxel"][1:], box.shape_zyx)
        offset_zyx = [a + start for a, start in zip(at_zyx, box.start_zyx, strict=True)]
        first.append(np.ravel_multi_index(tuple(offset_zyx), plan.blocks.shape_zyx))
    base = np.zeros(len(sizes), np.int64)
    np.cumsum([len(part) for part in sizes[1:]], out=base[1:])
    return base, np.concatenate(sizes), np.concatenate(first)


def match_planes(here: NDArray, there: NDArray) -> NDArray[np.int64]:
    """Return which objects of two labellings are one: those that have more than half of the smaller in common.

    Parameters
    ----------
    here, there
        Labels of the same voxels, of any shape; 0 = background.

    Returns
    -------
    ndarray
        (M, 2) int64, ids here and there.
    """
    both = (here > 0) & (there > 0)
    pairs, shared = np.unique(np.stack([here[both], there[both]], axis=1).astype(np.int64), axis=0, return_counts=True)
    smaller = np.minimum(np.bincount(here.ravel())[pairs[:, 0]], np.bincount(there.ravel())[pairs[:, 1]])
    return pairs[2 * shared > smaller]


def _pairs_across_faces(plan: Plan, base: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Give, for each face between two blocks, the pairs (M, 2) of ids that are one object."""
    for block, following, axis in plan.blocks.neighbors():
        with Faces(plan.faces(block)) as here, Faces(plan.faces(following)) as there:
            pairs = (
                _pairs_by_edges(plan, here, there, axis) if plan.is_exact else _pairs_by_agreement(here, there, axis)
            )
        yield pairs + np.array([base[block], base[following]])


def _pairs_by_edges(plan: Plan, here: Faces, there: Faces, axis: int) -> NDArray[np.int64]:
    crossing = (there if plan.edge_offset else here).crossing(axis)
    near, far = here[f"high_{axis}"][crossing], there[f"low_{axis}"][crossing]
    if not near.all() or not far.all():
        raise DataError(
            f"an edge between the blocks of {here.path} and {there.path} ends nowhere",
            hint="their faces are damaged: remove this folder and run label_blocks again",
        )
    return np.stack([near, far], axis=1).astype(np.int64)


def _pairs_by_agreement(here: Faces, there: Faces, axis: int) -> NDArray[np.int64]:
    seen_here = np.stack([here[f"high_{axis}"], here[f"beyond_{axis}"]])
    seen_there = np.stack([there[f"before_{axis}"], there[f"low_{axis}"]])
    return match_planes(seen_here, seen_there)


def _number(
    plan: Plan, base: NDArray[np.int64], parent: NDArray[np.int64], sizes: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    """Return the new id of every component, and the number of objects."""
    _flatten(parent)
    whole = np.zeros(len(parent), np.int64)
    np.add.at(whole, parent, sizes)
    np.minimum.at(first, parent, first.copy())
    # An edge joins two voxels: a component of one is a voxel of a face that no edge reached.
    roots = np.flatnonzero(whole > plan.is_exact)
    roots = roots[np.argsort(first[roots], kind="stable")]
    scan_id = np.zeros(len(parent), np.int64)
    scan_id[roots] = np.arange(1, len(roots) + 1)
    scan_id = scan_id[parent]
    kept = np.concatenate([[False], whole[roots] >= plan.cfg.min_size_vx])
    if plan.cfg.remove_small == "none":
        new_id = np.arange(len(kept))
    elif plan.cfg.remove_small == "background":
        new_id = np.where(kept, np.cumsum(kept), 0)
    else:
        new_id = join_small(_contacts(plan, base, scan_id), kept)
    return new_id[scan_id], int(new_id.max())


def _contacts(plan: Plan, base: NDArray[np.int64], scan_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the voxel faces (M, 3) that objects share: two ids in scan order, and how many."""
    found = [np.empty((0, 3), np.int64)]
    for block in range(len(plan.blocks)):
        with Faces(plan.faces(block)) as faces:
            contacts = faces["contacts"]
        found.append(np.column_stack([scan_id[contacts[:, :2] + base[block]], contacts[:, 2]]))
    for block, following, axis in plan.blocks.neighbors():
        with Faces(plan.faces(block)) as here, Faces(plan.faces(following)) as there:
            near, far = here[f"high_{axis}"].ravel(), there[f"low_{axis}"].ravel()
        both = (near > 0) & (far > 0)
        pairs = np.stack([scan_id[near[both] + base[block]], scan_id[far[both] + base[following]]], axis=1)
        found.append(np.column_stack([pairs, np.ones(len(pairs), np.int64)]))
    return np.concatenate(found)


def _clear_outdated(plan: Plan) -> None:
    """Remove what other settings, inputs or code left behind: relabel_blocks must not take it for its own."""
    ledger = plan.labels / "ledger"
    if plan.labels.exists() and read_hash(ledger) != hash_settings(plan.settings):
        remove_store(plan.labels)
        shutil.rmtree(ledger, ignore_errors=True)
    for other in plan.parts.parent.iterdir():
        if other != plan.parts and other.is_dir():
            shutil.rmtree(other)


@njit(cache=True, nogil=True)
def _join(parent, pairs):  # type: ignore[no-untyped-def]
    """Unite pairs (M, 2) in `parent`, in place."""
    for i in range(len(pairs)):
        unite(parent, pairs[i, 0], pairs[i, 1])


@njit(cache=True, nogil=True)
def _flatten(parent):  # type: ignore[no-untyped-def]
    """Make every entry point at its root, in place; a parent never comes after its child."""
    for i in range(parent.size):
        parent[i] = parent[parent[i]]
