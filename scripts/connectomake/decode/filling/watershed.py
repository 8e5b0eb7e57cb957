"""Give background voxels to the objects around them: a seeded watershed on the affinity graph.

The maximum spanning forest that grows from the objects (Prim's algorithm; Cousty et al. 2009, "Watershed cuts"): the
strongest edge between a filled and an empty voxel is next. So each voxel joins an object to which the weakest edge of
its path is as strong as on any path to any object.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectomake.decode.filling.edges import (
    check_filling,
    flat_levels,
    look_around,
    lowest_level,
    position,
    waiting_bit,
)

_MOST_ITEMS_PER_VOXEL = 4


def fill_by_watershed(
    labels: NDArray[np.unsignedinteger],
    affinities: NDArray,
    *,
    edge_offset: int = 0,
    floor: float = 0.0,
    distance_vx: int = 0,
) -> NDArray[np.unsignedinteger]:
    """Assign each voxel of label 0 to the object at the end of its strongest affinity path, in place.

    Affinities are taken in 256 levels, round(255 p). Edges wait in one queue per level, first in, first out; the next
    one is always the oldest of the highest level that is not empty. At first the edges of every voxel of label 0 to
    an object join the queues, voxels in scan order and edges in the order -z, +z, -y, +y, -x, +x; whenever a voxel is
    filled, its edges to empty voxels follow in that order. This settles all ties.

    Parameters
    ----------
    labels
        (Z, Y, X) uint32 or uint64, 0 = to fill; modified. C-contiguous.
    affinities
        (C, Z, Y, X), C >= 3, as in `affinity_cc3d`. Anything but uint8 is copied as uint8.
    edge_offset
        0: channel c at voxel p is the edge p -- p + e_c; 1: the edge p - e_c -- p.
    floor
        0 to 1; an edge of a lower level carries nothing. 0 fills all that is connected to an object.
    distance_vx
        No voxel is filled by a path of more steps than this; 0 = no limit, at most 65535.

    Returns
    -------
    labels
        The array that was handed in.

    Raises
    ------
    DataError
        If shape, dtype or a setting are not as above, or an id is 2^30 (2^62 in uint64) or more: a higher bit marks
        waiting voxels.

    Notes
    -----
    One thread, O(voxels). Beyond its arguments it needs 8 bytes (16 from 2^31 voxels) for each edge that is queued:
    one or two for a voxel to fill, four at most.
    """
    check_filling(labels, affinities, edge_offset, floor, distance_vx)
    levels, lowest = flat_levels(affinities), lowest_level(floor)
    # An edge between two empty voxels is queued once, by the one filled first; memory is taken as it is written.
    items = _MOST_ITEMS_PER_VOXEL * (labels.size - int(np.count_nonzero(labels)))
    index = np.int32 if max(items, labels.size) < 2**31 else np.int64
    voxels, nexts = np.empty(items, index), np.empty(items, index)
    _flood(labels, levels, edge_offset, lowest, distance_vx, waiting_bit(labels), voxels, nexts)
    return labels


@njit(cache=True, nogil=True, error_model="numpy")
def _flood(labels, levels, edge_offset, lowest, max_steps, waiting, voxels, nexts):  # type: ignore[no-untyped-def]
    """Fill `labels` (Z, Y, X) in place.

    A queue is a linked list of items from heads[level] to tails[level], -1 = empty. While a voxel waits, its label is
    waiting + steps << 11 + level << 3 + direction of its strongest edge so far; an item of another level is out of
    date.
    """
    shape = labels.shape
    flat = labels.reshape(-1)
    heads, tails = np.full(256, -1, np.int64), np.full(256, -1, np.int64)
    to, reach = np.empty(6, np.int64), np.empty(6, np.int64)
    items = _queue_borders(labels, levels, edge_offset, lowest, waiting, heads, tails, to, reach, voxels, nexts)
    level = 255
    while level >= lowest:
        item = heads[level]
        if item < 0:
            level -= 1
            continue
        voxel = np.int64(voxels[item])
        heads[level] = nexts[item]
        state = np.int64(flat[voxel])
        if state < waiting or ((state >> 3) & 255) != level:
            continue
        look_around(voxel, position(voxel, shape), shape, levels, edge_offset, to, reach)
        flat[voxel] = flat[to[state & 7]]
        steps = ((state - waiting) >> 11) + 1 if max_steps > 0 else 1
        if max_steps > 0 and steps > max_steps:
            continue
        for direction in range(6):
            neighbor, edge = to[direction], reach[direction]
            state = np.int64(flat[neighbor])
            if 0 < state < waiting or edge < lowest or (state > 0 and edge <= ((state >> 3) & 255)):
                continue
            flat[neighbor] = waiting | (steps << 11) | (edge << 3) | (direction ^ 1)
            items = _append(neighbor, edge, heads, tails, items, voxels, nexts)
            level = max(level, edge)


@njit(cache=True, nogil=True, error_model="numpy")
def _queue_borders(labels, levels, edge_offset, lowest, waiting, heads, tails, to, reach, voxels, nexts):  # type: ignore[no-untyped-def]
    """Queue every empty voxel that touches an object, by its strongest edge to one; gives the number of items."""
    flat = labels.reshape(-1)
    items = 0
    voxel = -1
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                voxel += 1
                if flat[voxel] != 0:
                    continue
                look_around(voxel, (z, y, x), labels.shape, levels, edge_offset, to, reach)
                best, toward = lowest - 1, 0
                for direction in range(6):
                    if 0 < np.int64(flat[to[direction]]) < waiting and reach[direction] > best:
                        best, toward = reach[direction], direction
                if best >= lowest:
                    flat[voxel] = waiting | (1 << 11) | (best << 3) | toward
                    items = _append(voxel, best, heads, tails, items, voxels, nexts)
    return items


@njit(cache=True, nogil=True, error_model="numpy")
def _append(voxel, level, heads, tails, items, voxels, nexts):  # type: ignore[no-untyped-def]
    """Put a voxel at the end of a level's queue; gives the new number of items."""
    voxels[items] = voxel
    nexts[items] = -1
    if heads[level] < 0:
        heads[level] = items
    else:
        nexts[tails[level]] = items
    tails[level] = items
    return items + 1
