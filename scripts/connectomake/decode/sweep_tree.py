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


@njit(cache=True, nogil=True)
def climb(tree, run, level, shift):  # type: ignore[no-untyped-def]
    """Give the run that stands for the component of a run at a level; shortens the way for those who come after."""
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

    Climbs from the later one, as Rem's union-find does (Dijkstra 1976), and halves its way.
    """
    mask = (1 << shift) - 1
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
            if above >> shift >= held:
                parent = above & mask
                tree[b] = (held << shift) | parent
        b = parent


@njit(cache=True, nogil=True)
def count_levels(tree, begin, end, shift, counts):  # type: ignore[no-untyped-def]
    """Count the runs begin..end by the level that they hang on their parent at; `counts` is (T + 1,) int64, updated."""
    for run in range(begin, end):
        counts[np.int64(tree[run]) >> shift] += 1


@njit(cache=True, nogil=True)
def list_by_level(tree, begin, end, shift, free, listed):  # type: ignore[no-untyped-def]
    """Write the numbers of runs begin..end into `listed`, from `free[level]` on, which moves along."""
    for run in range(begin, end):
        level = np.int64(tree[run]) >> shift
        listed[free[level]] = run
        free[level] += 1


@njit(cache=True, nogil=True)
def add_sizes(tree, listed, level, shift, sizes):  # type: ignore[no-untyped-def]
    """Add the voxels of the runs that hang at this level to those of the runs that stand for their components."""
    for run in listed:
        sizes[climb(tree, run, level, shift)] += sizes[run]


@njit(cache=True, nogil=True)
def name_nodes(tree, shift, level, standing, names, min_size_vx, sizes, node_level, labels):  # type: ignore[no-untyped-def]
    """Write the objects of one level at all nodes.

    Parameters
    ----------
    tree, shift
        The tree, and the shift of its entries.
    level
        To be called for all levels, the highest first.
    standing
        (N,) int64, updated: a run of the component of each node that stands for itself in `names`.
    names
        (N,) int64, updated: the first node in the component of each node; at the first call every node its own.
    min_size_vx
        Smaller objects are background.
    sizes
        Voxels of components at this level, where their runs stand; not read if min_size_vx is 0.
    node_level
        (N,) level of each node's strongest edge.
    labels
        (N,) written: 1 + the first node in the object, 0 = background.
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
    for n in range(names.size):
        first = names[n]
        kept = node_level[n] >= level and (min_size_vx == 0 or sizes[standing[first]] >= min_size_vx)
        labels[n] = first + 1 if kept else 0


@njit(cache=True, nogil=True)
def _table_size(entries):  # type: ignore[no-untyped-def]
    size = 16
    while size < 2 * entries:
        size *= 2
    return size
