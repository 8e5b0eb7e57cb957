"""Let all objects grow into the background, along strong edges first: a watershed in rounds.

What a voxel becomes depends on nothing farther away than the number of rounds: a block with a halo of that width grows
as the whole volume does, which cannot be said of a watershed that has a single queue.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectomake.decode.filling.edges import (
    LEVELS,
    check_filling,
    flat_levels,
    look_around,
    lowest_level,
    position,
    waiting_bit,
)
from connectomake.errors import DataError


def grow_objects(
    labels: NDArray[np.unsignedinteger],
    affinities: NDArray,
    *,
    rounds: int,
    edge_offset: int = 0,
    floor: float = 0.0,
) -> NDArray[np.unsignedinteger]:
    """Assign voxels of label 0 to the objects beside them, round after round, in place.

    In each round every voxel of label 0 looks at its neighbours as they were before the round, and takes the label of
    the one that its strongest edge leads to; ties go to the first of -z, +z, -y, +y, -x, +x. An edge of level
    e = round(255 p) carries from the round i on in which (255 - e) rounds <= (255 - lowest) i: the strongest at once,
    the weakest that `floor` allows in the last round alone.

    Parameters
    ----------
    labels
        (Z, Y, X) uint32 or uint64, 0 = to fill; modified. C-contiguous.
    affinities
        (C, Z, Y, X), C >= 3, as in `affinity_cc3d`. Anything but uint8 is copied as uint8.
    rounds
        1 to 65535: the farthest that an object grows, in voxels. The more, the nearer to the watershed.
    edge_offset
        0: channel c at voxel p is the edge p -- p + e_c; 1: the edge p - e_c -- p.
    floor
        0 to 1; an edge of a lower level carries nothing.

    Returns
    -------
    labels
        The array that was handed in.

    Raises
    ------
    DataError
        If shape, dtype or a setting are not as above, or an id is 2^30 (2^62 in uint64) or more: a higher bit marks
        voxels that wait for their round.

    Notes
    -----
    One thread, O(voxels). Beyond its arguments it needs 16 bytes for each edge that a front waits at, one or two for a
    voxel to fill.
    """
    check_filling(labels, affinities, edge_offset, floor, rounds)
    if rounds < 1:
        raise DataError("objects cannot grow without a round", expected="rounds of 1 or more", got=rounds)
    opening = _opening_rounds(rounds, lowest_level(floor))
    _grow(labels, flat_levels(affinities), edge_offset, opening, rounds, waiting_bit(labels))
    return labels


def _opening_rounds(rounds: int, lowest: int) -> NDArray[np.int64]:
    """Return the first round in which an edge of each level carries; one after the last where it never does."""
    behind = LEVELS - 1 - np.arange(LEVELS)
    opening = np.maximum(1, -(-behind * rounds // max(1, LEVELS - 1 - lowest)))
    return np.where(np.arange(LEVELS) >= lowest, opening, rounds + 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _grow(labels, levels, edge_offset, opening, rounds, waiting):  # type: ignore[no-untyped-def]
    """Fill `labels` (Z, Y, X) in place.

    While a voxel waits, its label is waiting + the round it waits for. The voxels of a round are a linked list from
    heads[round], -1 = end; an item of another round than its voxel's is out of date.
    """
    shape = labels.shape
    flat = labels.reshape(-1)
    to, reach = np.empty(6, np.int64), np.empty(6, np.int64)
    heads = np.full(rounds + 1, -1, np.int64)
    voxels, nexts, items = _queue_borders(labels, levels, edge_offset, opening, rounds, waiting, heads, to, reach)
    front, taken = np.empty(1024, np.int64), np.empty(1024, labels.dtype)
    for turn in range(1, rounds + 1):
        size = 0
        item = heads[turn]
        while item >= 0:
            voxel = voxels[item]
            item = nexts[item]
            if np.int64(flat[voxel]) != waiting + turn:
                continue
            if size == front.size:
                front, taken = _doubled(front), _doubled(taken)
            look_around(voxel, position(voxel, shape), shape, levels, edge_offset, to, reach)
            best = np.int64(-1)
            for direction in range(6):
                label = flat[to[direction]]
                if 0 < np.int64(label) < waiting and reach[direction] > best:
                    best = reach[direction]
                    taken[size] = label
            front[size] = voxel
            size += 1
        for i in range(size):
            flat[front[i]] = taken[i]
        for i in range(size):
            if items + 6 > voxels.size:
                voxels, nexts = _doubled(voxels), _doubled(nexts)
            look_around(front[i], position(front[i], shape), shape, levels, edge_offset, to, reach)
            for direction in range(6):
                neighbor = to[direction]
                state = np.int64(flat[neighbor])
                following = max(turn + 1, opening[reach[direction]])
                if following <= rounds and (state == 0 or state > waiting + following):
                    flat[neighbor] = waiting + following
                    items = _append(neighbor, following, heads, voxels, nexts, items)


@njit(cache=True, nogil=True, error_model="numpy")
def _queue_borders(labels, levels, edge_offset, opening, rounds, waiting, heads, to, reach):  # type: ignore[no-untyped-def]
    """Put every empty voxel beside an object into the list of the first round that opens an edge to one."""
    flat = labels.reshape(-1)
    voxels, nexts = np.empty(1024, np.int64), np.empty(1024, np.int64)
    items = 0
    voxel = -1
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                voxel += 1
                if flat[voxel] != 0:
                    continue
                look_around(voxel, (z, y, x), labels.shape, levels, edge_offset, to, reach)
                turn = rounds + 1
                for direction in range(6):
                    if 0 < np.int64(flat[to[direction]]) < waiting:
                        turn = min(turn, opening[reach[direction]])
                if turn <= rounds:
                    if items == voxels.size:
                        voxels, nexts = _doubled(voxels), _doubled(nexts)
                    flat[voxel] = waiting + turn
                    items = _append(voxel, turn, heads, voxels, nexts, items)
    return voxels, nexts, items


@njit(cache=True, nogil=True, error_model="numpy")
def _append(voxel, turn, heads, voxels, nexts, items):  # type: ignore[no-untyped-def]
    """Put a voxel into the list of a round; gives the new number of items."""
    voxels[items] = voxel
    nexts[items] = heads[turn]
    heads[turn] = items
    return items + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _doubled(values):  # type: ignore[no-untyped-def]
    larger = np.empty(2 * values.size, values.dtype)
    larger[: values.size] = values
    return larger
