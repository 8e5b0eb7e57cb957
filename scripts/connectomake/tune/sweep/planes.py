"""Planes of edge levels: what the sweep over thresholds looks at, 64 voxels at a time.

The level of an edge p -> p + 1 is the number of thresholds that it is above, 0 is no edge. The levels of a plane are
(5, cells): edges along x, y, z, then ways along x and y. A row takes 64 cells for each word of 64 voxels and 64 more
that stay 0, and so do a row before the first and one after the last: what lies outside has no edges. All kernels
release the GIL.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectomake.decode.components.lanes import higher, load, lower, rank, store

X, Y, Z, WAY_X, WAY_Y = range(5)


def make_planes(count: int, height: int, width: int, levels: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return planes without edges for this many levels, with the `starts` and `before` that `start_runs` writes."""
    words = -(-width // 64)
    return (
        np.zeros((count, 5, (height + 2) * 64 * (words + 1)), np.min_scalar_type(levels)),
        np.zeros((count, height, words), np.uint64),
        np.zeros((count, height, words), np.int64),
    )


@njit(cache=True, nogil=True)
def rank_plane(values, shape_zyx, z, last_z, lows, high, edge_offset, plane):  # type: ignore[no-untyped-def]
    """Write the levels of the edges of one z plane.

    Parameters
    ----------
    values
        Three flat arrays of integers, (Z, Y, X) edges along x, y, z; floats are handed over as their bit patterns.
    shape_zyx
        As in `grow_slab`.
    z
        The plane; with edge_offset 1 its edges along z stand in plane z + 1.
    last_z
        Whether it is the volume's last, which has no edges along z.
    lows
        (T,) of the dtype of `values`, ascending: a value v is an edge at level b + 1 if lows[b] < v <= high.
    high
        See `lows`.
    edge_offset
        0 or 1.
    plane
        (5, cells), written.
    """
    _, height, width = shape_zyx
    stride = plane.shape[1] // (height + 2)
    for axis in range(3):
        if axis == Z and last_z:
            plane[Z] = 0
            continue
        line, out, length = values[axis], plane[axis], width - (axis == X)
        begin = z * height * width + edge_offset * (1, width, height * width)[axis]
        for y in range(height - (axis == Y)):
            _rank_row(line, begin + y * width, length, lows, high, out, (y + 1) * stride)


@njit(cache=True, nogil=True)
def _rank_row(line, begin, length, lows, high, out, at):  # type: ignore[no-untyped-def]
    for x in range(0, length - 63, 64):
        store(out, at + x, rank(line, begin + x, lows, high, out))
    if length >= 64 and length % 64:  # the last 64, some of them for the second time
        store(out, at + length - 64, rank(line, begin + length - 64, lows, high, out))
    if length < 64:
        for x in range(length):
            level = 0
            for b in range(lows.size):
                level += lows[b] < line[begin + x] <= high
            out[at + x] = level


@njit(cache=True, nogil=True)
def find_ways(plane, height):  # type: ignore[no-untyped-def]
    """Write the levels at which neighbours along x and along y are joined, by their edge or around a square beside it.

    The squares are those within the plane, so that all edges of a way are stronger than an edge along z at its level.
    """
    stride = plane.shape[1] // (height + 2)
    x, y, way_x, way_y = plane[X], plane[Y], plane[WAY_X], plane[WAY_Y]
    for row in range(stride, (height + 1) * stride, stride):
        for at in range(row, row + stride - 64, 64):
            up, down = at - stride, at + stride
            x_here, y_here = load(x, at), load(y, at)
            over = lower(load(x, up), lower(load(y, up), load(y, up + 1)))
            under = lower(load(x, down), lower(y_here, load(y, at + 1)))
            store(way_x, at, higher(x_here, higher(over, under)))
            left = lower(load(y, at - 1), lower(load(x, at - 1), load(x, down - 1)))
            right = lower(load(y, at + 1), lower(x_here, load(x, down)))
            store(way_y, at, higher(y_here, higher(left, right)))
