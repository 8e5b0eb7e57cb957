"""Objects at many thresholds in one pass: the compiled part of the sweep.

Thresholds are levels 1..T, ascending. A run is a stretch of voxels linked along x at level T, or a single voxel with
any edge; one tree over runs holds the components of every level (`tune.sweep.tree`).

Linking two runs costs more than all else, so few edges are linked: those that no other way around is found for. A
stronger edge has the higher level; at the same level edges along x are stronger than those along y, and those than
edges along z; along the same axis the one at the voxel that comes first in scan order is. An edge whose ends are joined
by a path of stronger edges is in no maximum spanning forest (the cycle property), so all of them may be left out at
once. Such paths are looked for among the neighbours, by comparing the levels of 64 voxels at a time.

Levels are laid out as in `tune.sweep.planes`. All kernels release the GIL.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from connectomake.decode.components.lanes import above, below, higher, load, lower, popcount, store, trailing_zeros
from connectomake.decode.components.runs import LAST_BIT, ONE
from connectomake.tune.sweep.planes import WAY_X, WAY_Y, X, Y, Z, find_ways, rank_plane
from connectomake.tune.sweep.tree import link

NONE, ALL = np.uint64(0), ~np.uint64(0)


@njit(cache=True, nogil=True)
def grow_slab(  # type: ignore[no-untyped-def]
    values, shape_zyx, last_z, lows, high, edge_offset, nodes_zyx, node_run, node_level, run, planes, tree, shift, sizes
):
    """Put all runs of a slab of planes into the tree, joined among themselves.

    Parameters
    ----------
    values, lows, high, edge_offset
        See `rank_plane`.
    shape_zyx
        Of the slab; with edge_offset 1 `values` may hold one more plane.
    last_z
        The plane of the slab that is the volume's last; one that the slab does not have, if it ends before.
    nodes_zyx
        (N, 3) int64 voxels in the slab, sorted by z.
    node_run, node_level
        (N,) int64, written; see `find_nodes`.
    run
        The number of the slab's first run.
    planes
        Four planes of `make_planes`, written: the first of them will be the slab's first plane.
    tree, shift
        Entries of the slab's runs are written; the shift of entries.
    sizes
        Voxels of each run, written unless it is empty.

    Returns
    -------
    int, int
        Which of the four planes is the slab's last, and the number after the slab's last run.
    """
    levels, starts, before = planes
    depth, height, width = shape_zyx
    node, past, now = 0, 3, 0
    rank_plane(values, shape_zyx, 0, last_z == 0, lows, high, edge_offset, levels[0])
    for z in range(depth):
        following = 1 + z % 3
        if z + 1 < depth:
            rank_plane(values, shape_zyx, z + 1, z + 1 == last_z, lows, high, edge_offset, levels[following])
        else:
            levels[following] = 0
        plane, previous = levels[now], levels[past]
        find_ways(plane, height)
        run = start_runs(plane, previous, z == 0, width, len(lows), run, starts[now], before[now], tree, sizes)
        hang_on_left(plane, previous, levels[following], len(lows), starts[now], before[now], tree, shift)
        link_rows(plane, previous, levels[following], starts[now], before[now], tree, shift)
        if z:
            link_planes(previous, plane, (starts[past], before[past]), (starts[now], before[now]), tree, shift)
        begin = node
        while node < len(nodes_zyx) and nodes_zyx[node, 0] == z:
            node += 1
        part = slice(begin, node)
        find_nodes(plane, previous, nodes_zyx[part], starts[now], before[now], node_run[part], node_level[part])
        past, now = now, following
    return past, run


@njit(cache=True, nogil=True)
def start_runs(plane, previous, first, width, top, run, starts, before, tree, sizes):  # type: ignore[no-untyped-def]
    """Mark where the runs of a plane start, and make each a root of the tree.

    Parameters
    ----------
    plane, previous
        (5, cells) levels of this plane and of the one before it, which has no edges if it is not known.
    first
        Whether the one before is not known; then all voxels belong to runs, otherwise those that have any edge.
    width
        X, the voxels of a row.
    top
        T, the highest level.
    run
        The number of the plane's first run.
    starts
        (Y, words) uint64, written: the voxels where a run starts.
    before
        (Y, words) int64, written: the number of the last run that starts before each word.
    tree
        Entries of the new runs are written.
    sizes
        Voxels of the new runs, written unless it is empty.

    Returns
    -------
    int
        The number of the next plane's first run.
    """
    x, y, z, z_before = plane[X], plane[Y], plane[Z], previous[Z]
    zero, almost = x.dtype.type(0), x.dtype.type(top - 1)
    height, words = starts.shape
    stride = x.size // (height + 2)
    for row in range(height):
        carry, carry_top, ended = NONE, NONE, run
        for w in range(words):
            at = (row + 1) * stride + 64 * w
            weak, strong = above(load(x, at), zero), above(load(x, at), almost)
            edges = higher(higher(load(y, at), load(y, at - stride)), higher(load(z, at), load(z_before, at)))
            used = above(edges, zero) | weak | (weak << ONE) | carry
            if first:
                used = ALL >> np.uint64(max(0, 64 * (w + 1) - width))
            starts[row, w] = used & ~((strong << ONE) | carry_top)
            before[row, w] = run - 1
            carry, carry_top = weak >> LAST_BIT, strong >> LAST_BIT
            after = run + popcount(starts[row, w])
            for i in range(run, after):
                tree[i] = i
            if sizes.size:
                ended = _measure_runs(starts[row, w], used & ~strong, 64 * w, run, ended, sizes)
            run = after
    return run


@njit(cache=True, nogil=True)
def _measure_runs(begins, ends, x, started, ended, sizes):  # type: ignore[no-untyped-def]
    """Note the first voxels of runs from number `started` on, then the sizes of those that end; give the next to."""
    while begins:
        sizes[started] = x + trailing_zeros(begins)
        begins &= begins - ONE
        started += 1
    while ends:
        sizes[ended] = x + trailing_zeros(ends) + 1 - sizes[ended]
        ends &= ends - ONE
        ended += 1
    return ended


@njit(cache=True, nogil=True)
def hang_on_left(plane, previous, following, top, starts, before, tree, shift):  # type: ignore[no-untyped-def]
    """Hang runs on those to their left, right after `start_runs`.

    Parameters
    ----------
    plane, previous, top, starts, before, tree
        As in `start_runs`.
    following
        Levels of the plane after this one; without edges if it is not known.
    shift
        That of entries.
    """
    x, y, z, x_before, z_before, x_after = plane[X], plane[Y], plane[Z], previous[X], previous[Z], following[X]
    zero, almost = x.dtype.type(0), x.dtype.type(top - 1)
    height, words = starts.shape
    stride = x.size // (height + 2)
    for row in range(height):
        for w in range(words):
            at = (row + 1) * stride + 64 * w
            up, here = at - stride, load(x, at)
            weak = ~below(load(x, up), here) & below(here, lower(load(y, up), load(y, up + 1)))
            weak |= below(here, lower(load(x, at + stride), lower(load(y, at), load(y, at + 1))))
            weak |= ~below(load(x_before, at), here) & below(here, lower(load(z_before, at), load(z_before, at + 1)))
            weak |= below(here, lower(load(x_after, at), lower(load(z, at), load(z, at + 1))))
            edges = above(here, zero) & ~above(here, almost) & ~weak
            while edges:
                run = before[row, w] + popcount(starts[row, w] & (edges ^ (edges - ONE)))
                tree[run + 1] = (np.int64(x[at + trailing_zeros(edges)]) << shift) | run
                edges &= edges - ONE


@njit(cache=True, nogil=True)
def link_rows(plane, previous, following, starts, before, tree, shift):  # type: ignore[no-untyped-def]
    """Join the runs of a plane along y, after `hang_on_left`; parameters as there."""
    x, y, z, y_before, z_before, y_after = plane[X], plane[Y], plane[Z], previous[Y], previous[Z], following[Y]
    zero = y.dtype.type(0)
    height, words = starts.shape
    stride = y.size // (height + 2)
    for row in range(height - 1):
        for w in range(words):
            at = (row + 1) * stride + 64 * w
            down, here = at + stride, load(y, at)
            weak = ~below(lower(load(y, at - 1), lower(load(x, at - 1), load(x, down - 1))), here)
            weak |= below(here, load(y, at + 1)) & ~below(lower(load(x, at), load(x, down)), here)
            weak |= ~below(load(y_before, at), here) & below(here, lower(load(z_before, at), load(z_before, down)))
            weak |= below(here, lower(load(y_after, at), lower(load(z, at), load(z, down))))
            edges = above(here, zero) & ~weak
            while edges:
                until = edges ^ (edges - ONE)  # the lowest edge and everything under it
                a = before[row, w] + popcount(starts[row, w] & until)
                b = before[row + 1, w] + popcount(starts[row + 1, w] & until)
                link(tree, a, b, np.int64(y[at + trailing_zeros(edges)]), shift)
                edges &= edges - ONE


@njit(cache=True, nogil=True)
def link_planes(plane, following, runs, runs_following, tree, shift):  # type: ignore[no-untyped-def]
    """Join the runs of two planes along z.

    Parameters
    ----------
    plane, following
        (5, cells) levels of plane z and z + 1.
    runs, runs_following
        `starts` and `before` of each, as `start_runs` writes them.
    tree, shift
        The tree, and the shift of its entries.
    """
    starts_a, before_a = runs
    starts_b, before_b = runs_following
    z = plane[Z]
    height, words = starts_a.shape
    stride = z.size // (height + 2)
    known = np.zeros((4, stride + 64), z.dtype)
    kept = np.empty(words, np.uint64)
    for row in range(height):
        _keep_edges(plane, following, (row + 1) * stride, stride, known, kept)
        for w in range(words):
            edges, at = kept[w], (row + 1) * stride + 64 * w
            while edges:
                until = edges ^ (edges - ONE)
                a = before_a[row, w] + popcount(starts_a[row, w] & until)
                b = before_b[row, w] + popcount(starts_b[row, w] & until)
                link(tree, a, b, np.int64(z[at + trailing_zeros(edges)]), shift)
                edges &= edges - ONE


@njit(cache=True, nogil=True)
def _keep_edges(plane, following, row, stride, known, kept):  # type: ignore[no-untyped-def]
    """Find the edges along z of one row that no path of stronger edges goes around.

    Parameters
    ----------
    plane, following
        As in `link_planes`.
    row, stride
        The row's first cell, and the cells of a row.
    known
        (4, 64 + stride) levels at which the two planes are known to be joined at each voxel of a row, the first 64 are
        nothing: through this row or those before it (updated from row to row), through those before it, and through
        the voxel to the left; the other is the level that both planes are joined at to the voxel to the right.
    kept
        (words,) uint64, written.
    """
    ways, over, left, right = known
    z = plane[Z]
    for w in range(kept.size):
        at, i = row + 64 * w, 64 + 64 * w
        step = lower(load(plane[WAY_Y], at - stride), load(following[WAY_Y], at - stride))
        store(over, i, lower(step, load(ways, i)))
        store(ways, i, higher(load(over, i), load(z, at)))
        store(right, i, lower(load(plane[WAY_X], at), load(following[WAY_X], at)))
    for w in range(kept.size):
        i = 64 + 64 * w
        store(left, i, lower(load(right, i - 1), load(ways, i - 1)))
    for w in range(kept.size):
        at, i = row + 64 * w, 64 + 64 * w
        farther = lower(load(right, i - 1), load(left, i - 1))
        first = higher(higher(load(over, i), lower(load(right, i), load(over, i + 1))), higher(load(left, i), farther))
        later = lower(load(right, i), load(z, at + 1))  # these have to be of a higher level
        down = lower(lower(load(plane[WAY_Y], at), load(following[WAY_Y], at)), load(z, at + stride))
        kept[w] = below(first, load(z, at)) & ~below(load(z, at), higher(later, down))
        store(ways, i, higher(load(ways, i), higher(first, later)))


@njit(cache=True, nogil=True)
def find_nodes(plane, previous, nodes_zyx, starts, before, node_run, node_level):  # type: ignore[no-untyped-def]
    """Write the run under each node of a plane, and the level of its strongest edge (0: none, so that it is nothing).

    Parameters
    ----------
    plane, previous, starts, before
        As in `start_runs`.
    nodes_zyx
        (N, 3) int64, nodes of this plane.
    node_run, node_level
        (N,) int64, written. The run means nothing where the level is 0.
    """
    stride = plane.shape[1] // (starts.shape[0] + 2)
    for n in range(len(nodes_zyx)):
        y, x = nodes_zyx[n, 1], nodes_zyx[n, 2]
        node_run[n] = before[y, x >> 6] + popcount(starts[y, x >> 6] << (LAST_BIT - np.uint64(x & 63)))
        at = (y + 1) * stride + x
        level = max(plane[X, at], plane[Y, at], plane[Z, at], plane[X, at - 1], plane[Y, at - stride])
        node_level[n] = max(level, previous[Z, at])


@njit(cache=True, nogil=True)
def raise_node_levels(upper, height, nodes_zyx, node_level):  # type: ignore[no-untyped-def]
    """Let the edges along z from the plane before count for nodes of a slab's first plane; `find_nodes` lacked them."""
    stride = upper.shape[1] // (height + 2)
    for n in range(len(nodes_zyx)):
        node_level[n] = max(node_level[n], upper[Z, (nodes_zyx[n, 1] + 1) * stride + nodes_zyx[n, 2]])
