"""The tree that holds the objects of all thresholds: joining runs, climbing, sizes, names.

An entry is `level << shift | parent`: run and parent are joined at that level and at all below it. Levels are those of
thresholds, 1..T ascending; a root has level 0 and itself as its parent. Two runs are in one component at level b if
climbing along links of level b or more ends at the same run, which then stands for the component. A parent never comes
after its child, so there are no circles.

Links come in any order: a link that is in the way of a stronger one is taken off and put back where it still joins
something, so that what remains is a maximum spanning forest (as max-trees are merged by Wilkinson et al. 2008,
"Concurrent computation of attribute filters on shared memory parallel machines").
"""

from __future__ import annotations

import numpy as np
from numba import njit

from connectomake.decode.components.lanes import popcount
from connectomake.decode.components.runs import ONE


@njit(cache=True, nogil=True)
def climb(tree, run, level, shift):  # type: ignore[no-untyped-def]
    """Return the run that stands for the component of a run at a level; shortens the way for those who come after."""
    mask = (1 << shift) - 1
    entry = np.int64(tree[run])
    while entry >> shift >= level:
        parent = entry & mask
        above = np.int64(tree[parent])
        if above >> shift >= entry >> shift:  # the parent hangs as firmly: hang on what it hangs on
            tree[run] = (entry & ~mask) | (above & mask)
        run, entry = parent, above
    return run


@njit(cache=True, nogil=True)
def link(tree, a, b, level, shift):  # type: ignore[no-untyped-def]
    """Join two runs at a level and all below it.

    Climbs from the later one, as Rem's union-find does (Dijkstra 1976), and halves its way. One step from both goes
    ahead of that, as often it is the only one.
    """
    mask = (1 << shift) - 1
    over_a, over_b = np.int64(tree[a]), np.int64(tree[b])
    a = over_a & mask if over_a >> shift >= level else a
    b = over_b & mask if over_b >> shift >= level else b
    while a != b:
        a, b = min(a, b), max(a, b)
        entry = np.int64(tree[b])
        held, parent = entry >> shift, entry & mask
        if held < level:
            tree[b] = (level << shift) | a
            if held == 0:
                return
            level = held
        else:
            above = np.int64(tree[parent])
            parent = above & mask if above >> shift >= held else parent
            tree[b] = (held << shift) | parent
        b = parent


@njit(cache=True, nogil=True)
def shorten(tree, begin, end, shift):  # type: ignore[no-untyped-def]
    """Hang runs begin..end on the next run of theirs that hangs less firmly, if all up to there are in begin..end."""
    mask = (1 << shift) - 1
    for run in range(begin, end):
        entry = np.int64(tree[run])
        parent = entry & mask
        while parent >= begin and parent != run:
            above = np.int64(tree[parent])
            if above >> shift < entry >> shift:
                break
            parent = above & mask
        tree[run] = (entry & ~mask) | parent


@njit(cache=True, nogil=True)
def add_sizes(tree, begin, end, shift, marks, ranks, spans, sizes, added):  # type: ignore[no-untyped-def]
    """Add the voxels of the components that runs begin..end stand for to what they hang on.

    Parameters
    ----------
    tree, shift
        The tree, and the shift of its entries.
    begin, end
        To be called for all runs, the last first.
    marks
        (words,) uint64, the bits of the runs to be looked at.
    ranks
        (words,) int64, how many runs are marked before each word.
    sizes
        Voxels of each run; updated to those of all that hangs on it, at any level.
    spans
        (marked, 2) int64, for each marked run where level 0 would stand in `added`, and the last place for higher ones.
    added
        int64, updated: the voxels that marked runs get at each level.
    """
    for run in range(end - 1, begin - 1, -1):
        level = np.int64(tree[run]) >> shift
        if level == 0:
            continue
        parent = climb(tree, run, level, shift)
        sizes[parent] += sizes[run]
        bit, word = ONE << np.uint64(parent & 63), marks[parent >> 6]
        if word & bit:
            slot = ranks[parent >> 6] + popcount(word & (bit - ONE))
            added[min(spans[slot, 0] + level, spans[slot, 1])] += sizes[run]


@njit(cache=True, nogil=True)
def name_nodes(tree, shift, level, standing, names):  # type: ignore[no-untyped-def]
    """Find the components of one level at all nodes.

    Parameters
    ----------
    tree, shift
        The tree, and the shift of its entries.
    level
        To be called for all levels, the highest first.
    standing
        (N,) int64, updated: the run that stands for each component, at the node that is its name.
    names
        (N,) int64, updated: the first node in the component of each node; at the first call every node its own.
    """
    slots = np.full(_table_size(names.size), -1, np.int64)
    for n in range(names.size):
        if names[n] != n:
            names[n] = names[names[n]]
            continue
        standing[n] = climb(tree, standing[n], level, shift)
        slot = (standing[n] * 0x9E3779B1) & (slots.size - 1)
        while slots[slot] >= 0 and standing[slots[slot]] != standing[n]:
            slot = (slot + 1) & (slots.size - 1)
        if slots[slot] < 0:
            slots[slot] = n
        names[n] = slots[slot]


@njit(cache=True, nogil=True)
def _table_size(entries):  # type: ignore[no-untyped-def]
    size = 16
    while size < 2 * entries:
        size *= 2
    return size
