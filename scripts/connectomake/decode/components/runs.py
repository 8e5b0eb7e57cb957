"""Connected components of an edge graph over voxels, by runs: the compiled part of the affinity decoder.

Every row of voxels along x is a row of 64-bit words. Three bit planes hold the edges p -> p + 1 along x, y and z; a
fourth the voxels where a run starts. A run is a maximal stretch of voxels linked along x; a voxel with no edge is in
no run. Runs are numbered in scan order, and union-find works on runs, of which there are several times fewer than
voxels.

Planes are (rows, words) uint64 with rows = Z * Y; bit i of word w is voxel x = 64 w + i. The root of a component is
its first run in scan order, so the labels do not depend on how the rows were shared out. Labelling by runs after He,
Chao and Suzuki (2008), "A run-based two-scan labeling algorithm". All kernels release the GIL.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from connectomake.decode.components.lanes import between, popcount, trailing_zeros
from connectomake.union_find import unite

ONE = np.uint64(1)
LAST_BIT = np.uint64(63)


@njit(cache=True, nogil=True)
def threshold_rows(values, low, high, shift_zyx, axis, begin, end, plane):  # type: ignore[no-untyped-def]
    """Set the bits of the edges whose value v satisfies low < v <= high.

    Parameters
    ----------
    values
        (Z, Y, X) integers, one channel; floats are handed over as their bit patterns.
    low, high
        Bounds of the dtype of `values`.
    shift_zyx
        Where the edge p -> p + e stands: at p + shift.
    axis
        The axis of e; the last position along it has no edge, whatever `values` says.
    begin, end
        The rows to do.
    plane
        (rows, words) uint64, written.
    """
    shape = values.shape
    dz, dy, dx = shift_zyx
    length = shape[2] - (axis == 2)
    for row in range(begin, end):
        z, y = row // shape[1], row % shape[1]
        if (axis == 0 and z == shape[0] - 1) or (axis == 1 and y == shape[1] - 1):
            plane[row] = np.uint64(0)
            continue
        line = values[z + dz, y + dy, dx:]
        for w in range(plane.shape[1]):
            x = 64 * w
            word = np.uint64(0)
            if length - x >= 64:
                word = between(line, x, low, high)
            else:
                for i in range(length - x):
                    word |= np.uint64((line[x + i] > low) & (line[x + i] <= high)) << np.uint64(i)
            plane[row, w] = word


@njit(cache=True, nogil=True)
def start_runs(link_x, link_y, link_z, touched, height, begin, end, starts, counts):  # type: ignore[no-untyped-def]
    """Mark the voxels where a run starts, and count the runs of each row.

    Parameters
    ----------
    link_x, link_y, link_z
        (rows, words) uint64 planes of edges.
    touched
        (rows, words) uint64 plane of voxels that are in a run even without an edge in here; (0, words) for none.
    height
        Y, the rows of one z plane.
    begin, end
        The rows to do.
    starts
        (rows, words) uint64, written.
    counts
        (rows,) int64, written.
    """
    for row in range(begin, end):
        first_y, first_z = row % height == 0, row < height
        carry = np.uint64(0)
        runs = 0
        for w in range(starts.shape[1]):
            x = link_x[row, w]
            linked = (x << ONE) | carry
            carry = x >> LAST_BIT
            used = x | link_y[row, w] | link_z[row, w]
            if not first_y:
                used |= link_y[row - 1, w]
            if not first_z:
                used |= link_z[row - height, w]
            if touched.shape[0]:
                used |= touched[row, w]
            starts[row, w] = used & ~linked
            runs += popcount(starts[row, w])
        counts[row] = runs


@njit(cache=True, nogil=True)
def _join_rows(link, link_x, starts, first_run, a, b, parent):  # type: ignore[no-untyped-def]
    """Unite the runs of row a with those of row b along the edges `link[a]`, once for each pair that touches."""
    carry = np.uint64(0)
    run_a, run_b = first_run[a] - 1, first_run[b] - 1
    for w in range(link.shape[1]):
        edges = link[a, w]
        # an edge whose left neighbour joins the same two runs says nothing new
        repeated = edges & link_x[a, w] & link_x[b, w]
        edges &= ~((repeated << ONE) | carry)
        carry = repeated >> LAST_BIT
        while edges:
            below = edges ^ (edges - ONE)  # the lowest edge and everything under it
            unite(parent, run_a + popcount(starts[a, w] & below), run_b + popcount(starts[b, w] & below))
            edges &= edges - ONE
        run_a += popcount(starts[a, w])
        run_b += popcount(starts[b, w])


@njit(cache=True, nogil=True)
def join_runs(links, starts, first_run, height, begin, end, low, high, parent):  # type: ignore[no-untyped-def]
    """Unite the runs of rows begin..end with those of their next rows in y and z, where that row is in low..high.

    Two calls touch no common entry of `parent` as long as their rows and bounds lie in slabs of their own.

    Parameters
    ----------
    links
        The planes of edges along x, y, z; each (rows, words) uint64.
    starts
        (rows, words) uint64 plane of run starts.
    first_run
        (rows + 1,) int64, the number of the first run of each row.
    height
        Y, the rows of one z plane.
    begin, end
        The rows to do.
    low, high
        Bounds of the second row.
    parent
        (runs,) signed integers, updated.
    """
    rows = starts.shape[0]
    for row in range(begin, end):
        if low <= row + 1 < high and (row + 1) % height != 0:
            _join_rows(links[1], links[0], starts, first_run, row, row + 1, parent)
        if low <= row + height < high and row + height < rows:
            _join_rows(links[2], links[0], starts, first_run, row, row + height, parent)


@njit(cache=True, nogil=True)
def _run_length(link_x, row, x):  # type: ignore[no-untyped-def]
    """Count the voxels of the run of this row that starts at x."""
    w = x >> 6
    gaps = ~link_x[row, w] >> np.uint64(x & 63)
    if gaps:
        return trailing_zeros(gaps) + 1
    length = 64 - (x & 63)
    w += 1
    while link_x[row, w] == ~np.uint64(0):
        length += 64
        w += 1
    return length + trailing_zeros(~link_x[row, w]) + 1


@njit(cache=True, nogil=True)
def measure_components(link_x, starts, ids, sizes):  # type: ignore[no-untyped-def]
    """Add the voxels of every component to `sizes` ((n + 1,) int64, updated); `ids` holds the id of each run."""
    run = 0
    for row in range(starts.shape[0]):
        for w in range(starts.shape[1]):
            word = starts[row, w]
            while word:
                sizes[ids[run]] += _run_length(link_x, row, 64 * w + trailing_zeros(word))
                word &= word - ONE
                run += 1


@njit(cache=True, nogil=True)
def locate_components(starts, ids, width, first):  # type: ignore[no-untyped-def]
    """Write the first voxel, row * width + x, of every component to `first` ((n + 1,) int64); ids are in scan order."""
    run = 0
    known = 0
    for row in range(starts.shape[0]):
        for w in range(starts.shape[1]):
            word = starts[row, w]
            while word:
                if ids[run] > known:
                    known += 1
                    first[known] = row * width + 64 * w + trailing_zeros(word)
                word &= word - ONE
                run += 1


@njit(cache=True, nogil=True)
def paint_runs(link_x, starts, first_run, ids, new_id, begin, end, labels):  # type: ignore[no-untyped-def]
    """Write the label of every run of rows begin..end; voxels in no run are left as they are.

    Parameters
    ----------
    link_x, starts
        (rows, words) uint64 planes.
    first_run
        (rows + 1,) int64.
    ids
        (runs,) the component of each run.
    new_id
        (n + 1,) the label to write for each component.
    begin, end
        The rows to do.
    labels
        (rows, X) unsigned integers, written.
    """
    for row in range(begin, end):
        run = first_run[row]
        for w in range(starts.shape[1]):
            word = starts[row, w]
            while word:
                x = 64 * w + trailing_zeros(word)
                label = new_id[ids[run]]
                for i in range(x, x + _run_length(link_x, row, x)):
                    labels[row, i] = label
                word &= word - ONE
                run += 1
