"""What distances between objects are measured on: their surfaces, and what lies in one of two alone.

A voxel is of the surface where a face neighbour inside the crop is of another object or of none. What lies in one of
two alone is held as rows along x. Numbers fit in 4 bytes where the crop has fewer than 2^32 voxels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np

from connectomake.geometry import Triple
from connectomake.submit.score.overlaps import Overlaps


@dataclass(frozen=True)
class Side:
    """Of one slab, object by object: voxels of surfaces, and rows of voxels that are not of the other side.

    Parameters
    ----------
    first_surface, first_row
        (N + 1,) int64: where those of each object begin.
    surface
        Flat indices in the crop.
    row, length
        Flat index of the first voxel of each row along x, and how many it has.
    """

    first_surface: np.ndarray
    first_row: np.ndarray
    surface: np.ndarray
    row: np.ndarray
    length: np.ndarray


@dataclass(frozen=True)
class Points:
    """Surfaces and rows of truth (side 0) and of what was submitted (side 1), slab by slab.

    Objects are counted from 0, in the order of the ids that were asked for.
    """

    shape_zyx: Triple
    size_zyx_nm: np.ndarray
    slabs: Sequence[tuple[Side, Side]]

    def surfaces(self, side: int, i: int) -> list[np.ndarray]:
        """Return the surface of an object in each slab that has some of it: flat indices, ascending."""
        sides = (slab[side] for slab in self.slabs)
        parts = [s.surface[s.first_surface[i] : s.first_surface[i + 1]] for s in sides]
        return [part for part in parts if len(part)]

    def rows(self, side: int, i: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return the rows of an object that are not of the other one, slab by slab: first voxels, and lengths."""
        for slab in self.slabs:
            part = slice(*slab[side].first_row[i : i + 2])
            if part.start < part.stop:
                yield slab[side].row[part].astype(np.int64), slab[side].length[part].astype(np.int64)

    def place_nm(self, index: np.ndarray) -> np.ndarray:
        """Return the places of voxels, (M, 3) float64."""
        return np.stack(np.unravel_index(index, self.shape_zyx), axis=1) * self.size_zyx_nm


def gather_points(found: Overlaps, owner: np.ndarray, truth_ids: np.ndarray) -> Points:
    """Collect surfaces and rows in a pass over all slabs.

    Parameters
    ----------
    found
        The first pass.
    owner
        (n + 1,) int64: the truth id that each component stands for, 0 for none.
    truth_ids
        (T,) ids of the truth objects to collect, with the components that stand for them.
    """
    number = np.zeros(len(found.truth.size_vx), np.uint32)
    number[truth_ids] = np.arange(1, len(truth_ids) + 1)
    grid = found.pair.grid
    slabs = [
        (_take_side(truth, submitted, low, len(truth_ids)), _take_side(submitted, truth, low, len(truth_ids)))
        for low, truth, submitted in _windows(found, number, owner)
    ]
    return Points(grid.shape_zyx, np.array(grid.voxel_size_zyx_nm), slabs)


def _windows(found: Overlaps, number: np.ndarray, owner: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Return slabs of both sides as numbers of objects, with the planes before and after, each plane inside once.

    At the ends of the crop the outermost plane comes twice, so that nothing there is a surface by that.
    """
    low, last = 0, None
    for ids, pieces, component in found.slabs():
        planes = [number[ids], number[owner[component]][pieces]]
        last = [p[:1] for p in planes] if last is None else last
        window = [np.concatenate(pair) for pair in zip(last, planes, strict=True)]
        yield max(low - 1, 0), window[0], window[1]
        last = [w[-2:].copy() for w in window]
        low += len(ids)
    if last is not None:
        yield low - 1, *(np.concatenate([w, w[-1:]]) for w in last)  # type: ignore[misc]


def _take_side(labels: np.ndarray, others: np.ndarray, low: int, n: int) -> Side:
    """Collect the surfaces of `labels`, and the rows where `others` differs, of all planes but the outer two."""
    first = np.zeros((2, n + 2), np.int64)  # entry i + 1: those of object i
    _count(labels, others, first)
    first = first.cumsum(axis=1)
    last_voxel = (low + len(labels)) * labels.shape[1] * labels.shape[2]
    index = np.uint32 if last_voxel < 2**32 else np.int64
    surface, row, length = (np.empty(first[k, -1], kind) for k, kind in ((0, index), (1, index), (1, np.int32)))
    _fill(labels, others, low, first[:, :-1].copy(), surface, row, length)
    return Side(first[0, 1:], first[1, 1:], surface, row, length)


@numba.njit(cache=True, nogil=True)
def _is_surface(labels: np.ndarray, z: int, y: int, x: int) -> bool:  # pragma: no cover
    """Return whether a face neighbour inside the crop is of another object; planes z - 1 and z + 1 are there."""
    label = labels[z, y, x]
    return (
        labels[z - 1, y, x] != label
        or labels[z + 1, y, x] != label
        or (y > 0 and labels[z, y - 1, x] != label)
        or (y + 1 < labels.shape[1] and labels[z, y + 1, x] != label)
        or (x > 0 and labels[z, y, x - 1] != label)
        or (x + 1 < labels.shape[2] and labels[z, y, x + 1] != label)
    )


@numba.njit(cache=True, nogil=True)
def _begins(labels: np.ndarray, others: np.ndarray, z: int, y: int, x: int) -> bool:  # pragma: no cover
    """Return whether a voxel, which is not of the other side, is the first of its row."""
    label = labels[z, y, x]
    return x == 0 or labels[z, y, x - 1] != label or others[z, y, x - 1] == label


@numba.njit(cache=True, nogil=True)
def _count(labels: np.ndarray, others: np.ndarray, n: np.ndarray) -> None:  # pragma: no cover
    """Count voxels of surfaces (row 0 of `n`) and rows (row 1) of object i in column i + 1; modifies `n`."""
    depth, height, width = labels.shape
    for z in range(1, depth - 1):
        for y in range(height):
            for x in range(width):
                label = labels[z, y, x]
                if label:
                    n[0, label + 1] += _is_surface(labels, z, y, x)
                    n[1, label + 1] += others[z, y, x] != label and _begins(labels, others, z, y, x)


@numba.njit(cache=True, nogil=True)
def _fill(
    labels: np.ndarray,
    others: np.ndarray,
    low: int,
    at: np.ndarray,
    surface: np.ndarray,
    row: np.ndarray,
    length: np.ndarray,
) -> None:  # pragma: no cover
    """Write what `_count` counted, from column i of `at` on for object i; modifies the last four.

    `low` is the plane of the crop that is plane 1 here.
    """
    depth, height, width = labels.shape
    for z in range(1, depth - 1):
        for y in range(height):
            before = ((z - 1 + low) * height + y) * width
            for x in range(width):
                label = labels[z, y, x]
                if label == 0:
                    continue
                if _is_surface(labels, z, y, x):
                    surface[at[0, label]] = before + x
                    at[0, label] += 1
                if others[z, y, x] != label:
                    if _begins(labels, others, z, y, x):
                        row[at[1, label]] = before + x
                        length[at[1, label]] = 0
                        at[1, label] += 1
                    length[at[1, label] - 1] += 1
