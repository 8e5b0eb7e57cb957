"""Objects at many thresholds in one pass: the compiled part of the sweep.

Thresholds are levels 1..T, ascending. As in `decode.runs`, rows along x are bit planes, here one for each level and
axis: bit x of level b says that the edge p -> p + 1 is above threshold b. A run is a stretch of voxels linked along x
at level T; one tree over runs holds the components of every level (`decode.sweep_tree`).

Two rows are joined by one link for each new joint stretch of each level, not by each edge. A joint stretch is voxels
linked along x in both rows; it is new at a level if some edge joins the rows in it, and none does at a higher level,
nor any square of edges beside it. Which stretches hold an edge is found for 64 voxels at once by the carry of an
addition (Myers 1999, "A fast bit-vector algorithm for approximate string matching").

All kernels release the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from connectomake.decode.runs import LAST_BIT, ONE, _popcount, _run_length, _trailing_zeros
from connectomake.decode.sweep_tree import link

X, Y, Z = 0, 1, 2
NONE, ALL = np.uint64(0), ~np.uint64(0)


@intrinsic
def _above_64(typingctx: Any, line: Any, x: Any, low: Any) -> Any:
    """Give line[x + i] > low as bit i of a word, i = 0..63: one vector comparison where the machine has it."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(context.get_value_type(line.dtype), 64)
        start = builder.gep(make_array(line)(context, builder, args[0]).data, [args[1]])
        values = builder.load(builder.bitcast(start, lanes.as_pointer()), align=line.dtype.bitwidth // 8)
        first = builder.insert_element(ir.Constant(lanes, ir.Undefined), args[2], ir.Constant(ir.IntType(32), 0))
        spread = builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64))
        compare = builder.icmp_signed if line.dtype.signed else builder.icmp_unsigned
        return builder.bitcast(compare(">", values, spread), ir.IntType(64))

    return types.uint64(line, types.int64, line.dtype), emit


@njit(cache=True, nogil=True)
def grow_slab(  # type: ignore[no-untyped-def]
    values, count, last_z, lows, high, edge_offset, nodes_zyx, node_run, node_level, run, planes, tree, shift, sizes
):
    """Put all runs of a slab of planes into the tree, joined among themselves.

    Parameters
    ----------
    values, lows, high, edge_offset
        See `threshold_plane`.
    count
        The planes of the slab; with edge_offset 1 `values` may hold one more.
    last_z
        The plane of the slab that is the volume's last; one that the slab does not have, if it ends before.
    nodes_zyx
        (N, 3) int64 voxels in the slab, sorted by z.
    node_run, node_level
        (N,) int64, written; see `find_nodes`.
    run
        The number of the slab's first run.
    planes
        Bits, starts and before of three planes, (3, Y, 3, T, words), (3, Y, words) and (3, Y, words), written: the
        first of them will be the slab's first plane.
    tree, shift
        Entries of the slab's runs are written; the shift of entries.
    sizes
        Voxels of each run, written unless it is empty.

    Returns
    -------
    int, int
        Which of the three planes is the slab's last, and the number after the slab's last run.
    """
    bits, starts, before = planes
    node, now = 0, 0
    for z in range(count):
        past, now = now, (0 if z == 0 else 1 + z % 2)
        plane, previous, first = bits[now], bits[past], z == 0
        threshold_plane(values, z, z == last_z, lows, high, edge_offset, plane)
        next_run = start_runs(plane, previous, first, values[X].shape[2], run, starts[now], before[now], tree)
        if sizes.size:
            measure_runs(plane, starts[now], run, sizes)
        run = next_run
        link_rows(plane, previous, first, starts[now], before[now], tree, shift)
        if not first:
            link_planes(previous, plane, (starts[past], before[past]), (starts[now], before[now]), tree, shift)
        begin = node
        while node < len(nodes_zyx) and nodes_zyx[node, 0] == z:
            node += 1
        part = slice(begin, node)
        find_nodes(plane, previous, first, nodes_zyx[part], starts[now], before[now], node_run[part], node_level[part])
    return now, run


@njit(cache=True, nogil=True)
def threshold_plane(values, z, last_z, lows, high, edge_offset, plane):  # type: ignore[no-untyped-def]
    """Set the bits of all levels of one z plane.

    Parameters
    ----------
    values
        Three (Z, Y, X) integer arrays, edges along x, y, z; floats are handed over as their bit patterns.
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
        (Y, 3, T, words) uint64, written; the second axis is x, y, z.
    """
    height, width = values[X].shape[1:]
    for y in range(height):
        for axis in range(3):
            if (axis == Y and y == height - 1) or (axis == Z and last_z):
                plane[y, axis] = NONE
                continue
            line = values[axis][z + edge_offset * (axis == Z), y + edge_offset * (axis == Y)]
            _threshold_row(line[edge_offset * (axis == X) :], width - (axis == X), lows, high, plane[y, axis])


@njit(cache=True, nogil=True)
def _threshold_row(line, length, lows, high, row):  # type: ignore[no-untyped-def]
    """Set row (T, words) from the first `length` values of a line."""
    for w in range(row.shape[1]):
        x, cut = 64 * w, NONE
        if x >= length:
            row[:, w] = NONE
            continue
        if length < 64:
            for b in range(row.shape[0]):
                row[b, w] = _threshold_tail(line, length, lows[b], high)
            continue
        if length - x < 64:  # read the last 64 values, and shift out those of the word before
            cut, x = np.uint64(64 - (length - x)), length - 64
        wrong = _above_64(line, x, high)
        for b in range(row.shape[0]):
            row[b, w] = (_above_64(line, x, lows[b]) & ~wrong) >> cut


@njit(cache=True, nogil=True)
def _threshold_tail(line, length, low, high):  # type: ignore[no-untyped-def]
    word = NONE
    for i in range(length):
        word |= np.uint64((line[i] > low) & (line[i] <= high)) << np.uint64(i)
    return word


@njit(cache=True, nogil=True)
def start_runs(plane, previous, first, width, run, starts, before, tree):  # type: ignore[no-untyped-def]
    """Mark where the runs of a plane start, and make each a root of the tree.

    Parameters
    ----------
    plane, previous
        (Y, 3, T, words) uint64, bits of this plane and of the one before it.
    first
        Whether the one before is not known; then all voxels belong to runs, otherwise those that have any edge.
    width
        X, the voxels of a row.
    run
        The number of the plane's first run.
    starts
        (Y, words) uint64, written: the voxels where a run starts.
    before
        (Y, words) int64, written: the number of the last run that starts before each word.
    tree
        Entries of the new runs are written.

    Returns
    -------
    int
        The number of the next plane's first run.
    """
    top = plane.shape[2] - 1
    for y in range(plane.shape[0]):
        carry_top, carry = NONE, NONE
        for w in range(plane.shape[3]):
            weak, strong = plane[y, X, 0, w], plane[y, X, top, w]
            used = weak | (weak << ONE) | carry | plane[y, Y, 0, w] | plane[y, Z, 0, w]
            if y:
                used |= plane[y - 1, Y, 0, w]
            used |= ALL >> np.uint64(max(0, 64 * (w + 1) - width)) if first else previous[y, Z, 0, w]
            starts[y, w] = used & ~((strong << ONE) | carry_top)
            before[y, w] = run - 1
            carry, carry_top = weak >> LAST_BIT, strong >> LAST_BIT
            for _ in range(_popcount(starts[y, w])):
                tree[run] = run
                run += 1
    return run


@njit(cache=True, nogil=True)
def measure_runs(plane, starts, run, sizes):  # type: ignore[no-untyped-def]
    """Write the voxels of each run of a plane into `sizes`, from number `run` on."""
    top = plane.shape[2] - 1
    for y in range(plane.shape[0]):
        link_x = plane[y : y + 1, X, top]
        for w in range(plane.shape[3]):
            word = starts[y, w]
            while word:
                sizes[run] = _run_length(link_x, 0, 64 * w + _trailing_zeros(word))
                word &= word - ONE
                run += 1


@njit(cache=True, nogil=True)
def find_nodes(plane, previous, first, nodes_zyx, starts, before, node_run, node_level):  # type: ignore[no-untyped-def]
    """Write the run under each node of a plane, and the level of its strongest edge (0: none, so that it is nothing).

    Parameters
    ----------
    plane, previous, first, starts, before
        As in `start_runs`.
    nodes_zyx
        (N, 3) int64, nodes of this plane.
    node_run, node_level
        (N,) int64, written. The run means nothing where the level is 0.
    """
    for n in range(len(nodes_zyx)):
        y, x = nodes_zyx[n, 1], nodes_zyx[n, 2]
        w, bit = x >> 6, np.uint64(x & 63)
        node_run[n] = before[y, w] + _popcount(starts[y, w] << (LAST_BIT - bit))
        level = 0
        while level < plane.shape[2]:
            edges = (plane[y, X, level, w] | plane[y, Y, level, w] | plane[y, Z, level, w]) >> bit
            if x:
                edges |= plane[y, X, level, (x - 1) >> 6] >> np.uint64((x - 1) & 63)
            if y:
                edges |= plane[y - 1, Y, level, w] >> bit
            if not first:
                edges |= previous[y, Z, level, w] >> bit
            if not edges & ONE:
                break
            level += 1
        node_level[n] = level


@njit(cache=True, nogil=True)
def link_rows(plane, previous, first, starts, before, tree, shift):  # type: ignore[no-untyped-def]
    """Join the runs of a plane along x and y, at all levels, right after `start_runs`; parameters as there.

    `shift` is that of the tree's entries.
    """
    height, _, levels, words = plane.shape
    known = np.empty(words, np.uint64)
    for y in range(height):
        for b in range(levels - 1):
            _hang_on_left(plane, previous, first, y, b, starts[y], before[y], tree, shift)
    for y in range(height - 1):
        for b in range(levels - 1, -1, -1):
            fresh = NONE
            for w in range(words):
                known[w] = NONE
                if b < levels - 1:
                    known[w] = plane[y, Y, b + 1, w]
                    if not first:
                        around = previous[y, Z, b + 1, w] & previous[y + 1, Z, b + 1, w]
                        known[w] |= around & previous[y, Y, b + 1, w]
                fresh |= plane[y, Y, b, w] & ~known[w]
            if fresh:
                a, c = (plane[y, X, b], starts[y], before[y]), (plane[y + 1, X, b], starts[y + 1], before[y + 1])
                _link_stretches(plane[y, Y, b], known, a, c, b + 1, tree, shift)


@njit(cache=True, nogil=True)
def link_planes(upper, lower, runs_upper, runs_lower, tree, shift):  # type: ignore[no-untyped-def]
    """Join the runs of two planes along z, at all levels.

    Parameters
    ----------
    upper, lower
        (Y, 3, T, words) uint64, bits of plane z and z + 1.
    runs_upper, runs_lower
        `starts` and `before` of each, as `start_runs` writes them.
    tree, shift
        The tree, and the shift of its entries.
    """
    height, _, levels, words = upper.shape
    known = np.empty(words, np.uint64)
    for y in range(height):
        for b in range(levels - 1, -1, -1):
            fresh = NONE
            for w in range(words):
                known[w] = NONE
                if b < levels - 1:
                    known[w] = upper[y, Z, b + 1, w]
                    if y < height - 1:
                        around = upper[y, Y, b + 1, w] & lower[y, Y, b + 1, w]
                        known[w] |= around & upper[y + 1, Z, b + 1, w]
                if y:
                    known[w] |= upper[y - 1, Y, b, w] & lower[y - 1, Y, b, w] & upper[y - 1, Z, b, w]
                fresh |= upper[y, Z, b, w] & ~known[w]
            if fresh:
                a = (upper[y, X, b], runs_upper[0][y], runs_upper[1][y])
                c = (lower[y, X, b], runs_lower[0][y], runs_lower[1][y])
                _link_stretches(upper[y, Z, b], known, a, c, b + 1, tree, shift)


@njit(cache=True, nogil=True)
def _hang_on_left(plane, previous, first, y, b, starts, before, tree, shift):  # type: ignore[no-untyped-def]
    """Hang runs on those to their left by edges of level b + 1 that no square of stronger edges goes around."""
    height, words = plane.shape[0], plane.shape[3]
    for w in range(words):
        edges = plane[y, X, b, w] & ~plane[y, X, b + 1, w]
        if not edges:
            continue
        if y < height - 1:
            edges &= ~(_both(plane[y, Y, b + 1], w) & plane[y + 1, X, b + 1, w])
        if y:
            edges &= ~(_both(plane[y - 1, Y, b + 1], w) & plane[y - 1, X, b + 1, w])
        if not first:
            edges &= ~(_both(previous[y, Z, b + 1], w) & previous[y, X, b + 1, w])
        while edges:
            run = before[w] + _popcount(starts[w] & (edges ^ (edges - ONE)))
            tree[run + 1] = ((b + 1) << shift) | run
            edges &= edges - ONE


@njit(cache=True, nogil=True)
def _both(row, w):  # type: ignore[no-untyped-def]
    """Give the bits of a word that are set together with the next."""
    following = row[w + 1] << LAST_BIT if w + 1 < row.size else NONE
    return row[w] & ((row[w] >> ONE) | following)


@njit(cache=True, nogil=True)
def _link_stretches(edges, known, a, c, level, tree, shift):  # type: ignore[no-untyped-def]
    """Join two rows wherever a joint stretch holds an edge and nothing known already; each by its last voxel."""
    x_a, starts_a, before_a = a
    x_c, starts_c, before_c = c
    carry, carry_known = NONE, NONE
    for w in range(edges.size):
        joint = x_a[w] & x_c[w]
        reached = _spread(edges[w] | carry, joint)
        reached_known = _spread(known[w] | carry_known, joint)
        carry, carry_known = (reached & joint) >> LAST_BIT, (reached_known & joint) >> LAST_BIT
        new = reached & ~reached_known & ~joint
        while new:
            below = new ^ (new - ONE)
            run_a = before_a[w] + _popcount(starts_a[w] & below)
            run_c = before_c[w] + _popcount(starts_c[w] & below)
            link(tree, run_a, run_c, level, shift)
            new &= new - ONE


@njit(cache=True, nogil=True)
def _spread(marks, joint):  # type: ignore[no-untyped-def]
    """Spread marks to the right along bits that are joined to the next."""
    return (((marks & joint) + joint) ^ joint) | marks


@njit(cache=True, nogil=True)
def raise_node_levels(upper, nodes_zyx, node_level):  # type: ignore[no-untyped-def]
    """Let the edges along z from the plane before count for nodes of a slab's first plane; `find_nodes` lacked them."""
    for n in range(len(nodes_zyx)):
        y, x = nodes_zyx[n, 1], nodes_zyx[n, 2]
        while node_level[n] < upper.shape[2] and (upper[y, Z, node_level[n], x >> 6] >> np.uint64(x & 63)) & ONE:
            node_level[n] += 1
