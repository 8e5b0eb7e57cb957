"""Components of a mask cut apart at their necks, in one flood from the inside outwards.

The flood is that of Vincent & Soille (1991, "Watersheds in digital spaces"), level by level from the highest. Two
basins that meet become one unless both rose by more than a given amount since: what is kept apart are the peaks whose
topological persistence is larger, the h-maxima. Doing both in one pass takes 10 bytes a voxel beyond the mask.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectomake.union_find import find_root

# Faces, edges, corners: of neighbors as high as one another, the nearest is followed, lest cuts lean to one side.
_STEPS = np.array(sorted(set(product((-1, 0, 1), repeat=3)) - {(0, 0, 0)}, key=lambda step: (np.abs(step).sum(), step)))


def flood_from_peaks(levels: NDArray[np.uint16], rise: float) -> tuple[NDArray[np.signedinteger], NDArray[np.int64]]:
    """Assign each voxel the basin of a peak; basins that meet are one unless both rise by more than `rise` above that.

    Voxels touch through faces, edges and corners. Of the neighbors above it, a voxel follows the highest, of
    several the nearest; voxels of one level are shared among the basins that reach them, the nearest first.

    Parameters
    ----------
    levels
        (Z, Y, X), 0 = background; C-contiguous.
    rise
        In levels.

    Returns
    -------
    basins
        (Z, Y, X) int32 (int64 from 2^31 voxels), 0 = background.
    objects
        (n + 1,) the basin that each basin is part of; itself for one of each object. 0 of 0.

    Notes
    -----
    One thread. Takes 8 bytes a voxel of the mask beyond the levels (16 from 2^31 voxels).
    """
    index = np.int32 if levels.size < 2**31 else np.int64
    order = _sort_by_level(levels.reshape(-1), np.empty(np.count_nonzero(levels), index))
    # Peaks do not touch, so no two lie in the same 2 x 2 x 2 voxels; memory is taken as it is written.
    most = 1 + int(np.prod([-(-n // 2) for n in levels.shape]))
    parents, peaks = np.empty(most, np.int64), np.empty(most, np.int64)
    parents[0] = 0
    basins = np.zeros(levels.shape, index)
    count = _flood(levels, order, rise, basins.reshape(-1), parents, peaks)
    return basins, _find_all(parents[: count + 1])


@njit(cache=True, nogil=True)
def number_objects(labels, objects, smallest_vx):  # type: ignore[no-untyped-def]
    """Turn labels into ids 1..n of objects in scan order of their first voxels, in place; gives n.

    `labels` is flat, `objects[label]` is the object's own label, and objects of fewer than `smallest_vx` voxels become
    0, as label 0 is.
    """
    sizes = np.zeros(len(objects), np.int64)
    for voxel in range(len(labels)):
        sizes[objects[labels[voxel]]] += 1
    ids = np.zeros(len(objects), np.int64)
    count = 0
    for voxel in range(len(labels)):
        own = objects[labels[voxel]]
        if own > 0 and ids[own] == 0 and sizes[own] >= smallest_vx:
            count += 1
            ids[own] = count
        labels[voxel] = ids[own]
    return count


@njit(cache=True, nogil=True)
def _sort_by_level(levels, order):  # type: ignore[no-untyped-def]
    """Put the numbers of voxels above level 0 in falling order of level, in scan order within one; gives `order`."""
    begins = np.zeros(2**16 + 1, np.int64)
    for voxel in range(len(levels)):
        if levels[voxel] > 0:
            begins[levels[voxel] - 1] += 1
    total = 0
    for level in range(2**16, -1, -1):
        begins[level], total = total, total + begins[level]
    for voxel in range(len(levels)):
        if levels[voxel] > 0:
            order[begins[levels[voxel] - 1]] = voxel
            begins[levels[voxel] - 1] += 1
    return order


@njit(cache=True, nogil=True)
def _flood(levels, order, rise, basins, parents, peaks):  # type: ignore[no-untyped-def]
    """Fill `basins` (flat), `parents` and `peaks`; gives the number of basins.

    The voxels of a level are a stretch of `order`. Those that were reached are moved to its front, where they wait in a
    queue; the others hold -1 - (their place in `order`) for a basin.
    """
    flat = levels.reshape(-1)
    near = np.empty(26, np.int64)
    for place in range(len(order)):
        basins[order[place]] = -1 - place
    count, first = 0, 0
    while first < len(order):
        level = np.int64(flat[order[first]])
        stop = tail = head = first
        while stop < len(order) and flat[order[stop]] == level:
            basin = _basin_above(order[stop], levels.shape, flat, basins, near)
            if basin > 0:
                tail = _queue(order, basins, stop, tail, basin)
            stop += 1
        while head < stop:
            if head == tail:  # nothing leads to the rest of this level: here is another peak
                count += 1
                parents[count], peaks[count] = count, level
                tail = _queue(order, basins, tail, tail, count)
            voxel, own = order[head], basins[order[head]]
            head += 1
            for k in range(_find_neighbors(voxel, levels.shape, near)):
                there = basins[near[k]]
                if there > 0 and there != own:
                    _join(own, there, level, rise, parents, peaks)
                elif there < 0 and flat[near[k]] == level:
                    tail = _queue(order, basins, -1 - there, tail, own)
        first = stop
    return count


@njit(cache=True, nogil=True)
def _queue(order, basins, place, tail, basin):  # type: ignore[no-untyped-def]
    """Move the voxel at a place of `order` to the end of the queue, and give it a basin; gives the new end."""
    voxel, other = order[place], order[tail]
    order[place], order[tail] = other, voxel
    basins[other] = -1 - place
    basins[voxel] = basin
    return tail + 1


@njit(cache=True, nogil=True)
def _basin_above(voxel, shape, levels, basins, near):  # type: ignore[no-untyped-def]
    """Return the basin of the highest neighbor above a voxel, the first of several; 0 where there is none."""
    best, basin = levels[voxel], 0
    for k in range(_find_neighbors(voxel, shape, near)):
        if levels[near[k]] > best:
            best, basin = levels[near[k]], basins[near[k]]
    return basin


@njit(cache=True, nogil=True)
def _find_neighbors(voxel, shape, near):  # type: ignore[no-untyped-def]
    """Put the numbers of the voxels around one into `near`, those across faces first; gives how many there are."""
    depth, height, width = shape
    z, y, x = voxel // (height * width), voxel // width % height, voxel % width
    if 0 < z < depth - 1 and 0 < y < height - 1 and 0 < x < width - 1:
        for k in range(len(_STEPS)):
            near[k] = voxel + (_STEPS[k, 0] * height + _STEPS[k, 1]) * width + _STEPS[k, 2]
        return len(_STEPS)
    count = 0
    for k in range(len(_STEPS)):
        to_z, to_y, to_x = z + _STEPS[k, 0], y + _STEPS[k, 1], x + _STEPS[k, 2]
        if 0 <= to_z < depth and 0 <= to_y < height and 0 <= to_x < width:
            near[count] = (to_z * height + to_y) * width + to_x
            count += 1
    return count


@njit(cache=True, nogil=True)
def _join(a, b, level, rise, parents, peaks):  # type: ignore[no-untyped-def]
    """Make two basins that meet at a level one, unless both rise by more than `rise` above it."""
    a, b = find_root(parents, a), find_root(parents, b)
    if a == b:
        return
    if peaks[b] > peaks[a] or (peaks[b] == peaks[a] and b < a):
        a, b = b, a
    if peaks[b] - level <= rise:
        parents[b] = a


@njit(cache=True, nogil=True)
def _find_all(parents):  # type: ignore[no-untyped-def]
    for basin in range(len(parents)):
        parents[basin] = find_root(parents, basin)
    return parents
