"""Hausdorff distances between objects of a crop, from their surfaces and from what lies in one of two alone.

The Hausdorff distance of A and B is the larger of max over a in A of d(a, B), and the same the other way round.

* d(a, B) is 0 in B. Outside, the nearest voxel b of B has a face neighbour that is not in B: of the axes along which a
  and b differ take one, and step from b towards a; that voxel is nearer to a than b is, so it is not in B. Hence the
  surface of B (voxels with a face neighbour inside the crop that is not of B) is enough to measure to.
* The farthest voxel a of A may lie deep inside A, where B has a hole. All of A without B must be looked at; but
  d(., B) changes by no more than the way moved, so of a row of voxels along x only its middle is measured, and it is
  halved further only while it may hold a voxel that is farther than the farthest yet (branch and bound).

What is held in memory are surfaces and rows, never a volume; trees are made of part of a surface at a time where it is
large. Distances are those of voxel centres in float64.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from connectomake.submit.score.overlaps import Overlaps
from connectomake.submit.score.surfaces import Points, gather_points

TREE_POINTS = 2**23  # of one search tree: about 0.6 GB while it is made
_MANY_QUERIES = 2**16  # that are worth being shared among threads


def hausdorff_nm(
    found: Overlaps, owner: np.ndarray, truth_ids: np.ndarray, farthest_nm: float, threads: int = 1
) -> np.ndarray:
    """Measure from truth objects to the components that stand for them.

    Parameters
    ----------
    found
        The first pass.
    owner
        (n + 1,) int64: the truth id that each component stands for, 0 for none; several may stand for one.
    truth_ids
        (T,) ids to measure, ascending.
    farthest_nm
        No distance is larger; that of an object without components.
    threads
        Objects that are measured at the same time.

    Returns
    -------
    np.ndarray
        (T,) float64, nm.
    """
    size = np.array(found.pair.grid.voxel_size_zyx_nm)
    least = _least_distances(found, owner, truth_ids, size)
    nm = np.minimum(least, farthest_nm)
    near = np.flatnonzero(least < farthest_nm)
    if not len(near):
        return nm
    points = gather_points(found, owner, truth_ids[near])

    def measure(i: int) -> float:
        return _measure(points, i, float(least[near[i]]), farthest_nm, threads)

    with ThreadPoolExecutor(threads) as pool:
        nm[near] = list(pool.map(measure, range(len(near))))
    return nm


def _least_distances(found: Overlaps, owner: np.ndarray, truth_ids: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return how far the boxes of a truth object and of its components reach beyond each other; infinity without any.

    The outermost voxel of the one is at least so far from all of the other.
    """
    place = np.zeros(len(found.truth.size_vx), np.int64)
    place[truth_ids] = np.arange(1, len(truth_ids) + 1)
    row = place[owner]
    first = np.full((len(truth_ids) + 1, 3), np.inf)
    last = np.full((len(truth_ids) + 1, 3), -np.inf)
    np.minimum.at(first, row, found.submitted.box_zyx[:, :3])
    np.maximum.at(last, row, found.submitted.box_zyx[:, 3:])
    box = found.truth.box_zyx[truth_ids]
    beyond = np.maximum(np.abs(box[:, :3] - first[1:]), np.abs(box[:, 3:] - last[1:]))
    return (beyond * size).max(axis=1, initial=0)


class _Surface:
    """Tells how far places are from the surface of an object, by trees that each hold a part of it along z."""

    def __init__(self, points: Points, parts: list[np.ndarray], threads: int) -> None:
        self._points, self._threads = points, threads
        self._parts: list[list[np.ndarray]] = [[]]
        for part in parts:
            if sum(map(len, self._parts[-1])) + len(part) > TREE_POINTS and self._parts[-1]:
                self._parts.append([])
            self._parts[-1].append(part)
        ends = np.array([(part[0][0], part[-1][-1]) for part in self._parts])
        self._ends_nm = points.place_nm(ends.ravel())[:, 0].reshape(-1, 2)
        self._tree: tuple[int, Any] = (-1, None)  # the last one used

    def distance_nm(self, places: np.ndarray) -> np.ndarray:
        """Return the distances of (M, 3) places, nm."""
        away = np.full(len(places), np.inf)
        z = places[:, 0]
        beyond = [np.maximum(first - z, z - last) for first, last in self._ends_nm]
        for k in np.argsort([gap.mean() for gap in beyond], kind="stable"):
            near = beyond[k] < away
            if near.any():
                workers = self._threads if len(places) > _MANY_QUERIES else 1
                away[near] = np.minimum(away[near], self._tree_of(int(k)).query(places[near], workers=workers)[0])
        return away

    def _tree_of(self, k: int) -> Any:
        from scipy.spatial import cKDTree

        if self._tree[0] != k:
            places = self._points.place_nm(np.concatenate(self._parts[k]))
            self._tree = k, cKDTree(places, balanced_tree=False, compact_nodes=False)
        return self._tree[1]


def _measure(points: Points, i: int, least_nm: float, farthest_nm: float, threads: int) -> float:
    """Return the Hausdorff distance of object i; `least_nm` is known to be a lower bound."""
    for side in (0, 1):
        surface = None
        for start, length in points.rows(side, i):
            if least_nm >= farthest_nm:
                return farthest_nm
            surface = surface or _Surface(points, points.surfaces(1 - side, i), threads)
            least_nm = _farthest(points, start, length, surface, least_nm, farthest_nm)
    return min(least_nm, farthest_nm)


def _farthest(
    points: Points, start: np.ndarray, length: np.ndarray, surface: _Surface, least_nm: float, farthest_nm: float
) -> float:
    """Return the largest distance of the voxels of some rows from a surface, at least `least_nm`.

    It stops at `farthest_nm`.
    """
    while len(start) and least_nm < farthest_nm:
        before = length // 2
        away = surface.distance_nm(points.place_nm(start + before))
        least_nm = max(least_nm, float(away.max()))
        after = length - before - 1
        may = (away + before * points.size_zyx_nm[2] > least_nm) & (length > 1)
        start, before, after = start[may], before[may], after[may]
        start = np.concatenate([start, (start + before + 1)[after > 0]])
        length = np.concatenate([before, after[after > 0]])
    return least_nm
