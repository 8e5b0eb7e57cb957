"""Sets of numbers that are united pair by pair: the compiled part of everything that finds connected components.

Every number points at its parent, a root at itself. Path halving after Tarjan and van Leeuwen (1984), "Worst-case
analysis of set union algorithms". All kernels release the GIL.
"""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def find_root(parent, i):  # type: ignore[no-untyped-def]
    """Return the root of the set that i is in; shortens the way there, in place."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def unite(parent, a, b):  # type: ignore[no-untyped-def]
    """Put a and b into one set, in place; its root is the smaller of theirs."""
    root_a, root_b = find_root(parent, a), find_root(parent, b)
    if root_a < root_b:
        parent[root_b] = root_a
    else:
        parent[root_a] = root_b


@njit(cache=True, nogil=True)
def number_sets(parent, first):  # type: ignore[no-untyped-def]
    """Turn parents into ids from `first` on in the order of the roots, in place, and give the last id.

    A parent never comes after its child, as `unite` leaves it.
    """
    last = first - 1
    for i in range(parent.size):
        if parent[i] == i:
            last += 1
            parent[i] = last
        else:
            parent[i] = parent[parent[i]]
    return last
