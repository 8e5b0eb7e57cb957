"""What happens to objects that are too small to be one."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

RemoveSmall = Literal["background", "neighbor", "none"]


def merge_into_neighbors(labels: NDArray[np.unsignedinteger], kept: NDArray[np.bool_]) -> NDArray[np.unsignedinteger]:
    """Return which object every small object joins: the kept one it shares most voxel faces with.

    Of several with the same contact the smallest id wins; a small object that touches no kept one becomes 0. Small
    objects do not join one another, so the answer does not depend on an order.

    Parameters
    ----------
    labels
        (Z, Y, X) ids 0..n in scan order.
    kept
        (n + 1,) False for the small objects; entry 0 is ignored.

    Returns
    -------
    new_id
        (n + 1,) in the dtype of `labels`: the new id of every old one, 1..m in scan order of the merged objects.
    """
    contacts = count_contacts(labels, ~kept, two_small=False)
    return join_small(contacts, kept).astype(labels.dtype)


def count_contacts(
    labels: NDArray[np.unsignedinteger], small: NDArray[np.bool_], *, two_small: bool
) -> NDArray[np.int64]:
    """Count the voxel faces that objects share, for pairs in which one is small.

    Parameters
    ----------
    labels
        (Z, Y, X) ids 0..n.
    small
        (n + 1,) bool; entry 0 is ignored.
    two_small
        Whether pairs count in which both are small.

    Returns
    -------
    ndarray
        (M, 3) int64: the smaller id, the larger id, the faces; sorted.
    """
    stride = len(small)
    pairs = np.empty(_scan_contacts(labels, small, two_small, stride, np.empty(0, np.int64)), np.int64)
    _scan_contacts(labels, small, two_small, stride, pairs)
    pairs, faces = np.unique(pairs, return_counts=True)
    return np.stack([pairs // stride, pairs % stride, faces], axis=1)


def join_small(contacts: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return which object every small object joins, from the contacts between objects.

    Parameters
    ----------
    contacts
        (M, 3): two ids and a number of faces; a pair may occur several times, in either order.
    kept
        (n + 1,) False for the small objects; entry 0 is ignored. Ids are in scan order.

    Returns
    -------
    new_id
        (n + 1,) int64, as in `merge_into_neighbors`.
    """
    stride = len(kept)
    a, b, faces = contacts.T
    mixed = (kept[a] != kept[b]) & (a > 0) & (b > 0)
    a, b, faces = a[mixed], b[mixed], faces[mixed]
    small, neighbor = np.where(kept[a], b, a), np.where(kept[a], a, b)
    pairs, where = np.unique(small * stride + neighbor, return_inverse=True)
    total = np.bincount(where, faces, len(pairs))
    small, neighbor = pairs // stride, pairs % stride
    best_last = np.lexsort((-neighbor, total, small))
    target = np.where(kept, np.arange(stride), 0)
    target[small[best_last]] = neighbor[best_last]
    return _renumber(target)


def _renumber(target: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return groups of ids the numbers 1..m by the smallest id in each: that is where the group begins."""
    first_id = np.full(len(target), len(target), np.int64)
    np.minimum.at(first_id, target, np.arange(len(target)))
    is_group = first_id < len(target)
    is_group[0] = False
    order = np.argsort(first_id[is_group], kind="stable")
    new_id = np.zeros(len(target), np.int64)
    new_id[np.flatnonzero(is_group)[order]] = np.arange(1, len(order) + 1)
    return new_id[target]


@njit(cache=True, nogil=True)
def _scan_contacts(labels, small, two_small, stride, pairs):  # type: ignore[no-untyped-def]
    """Write id * stride + larger id of every face between two objects of which one is small, until `pairs` is full.

    Gives the number of faces, so that a first call with no room tells how much is needed.
    """
    count = 0
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                a = np.int64(labels[z, y, x])
                if a == 0:
                    continue
                for axis in range(3):
                    z2, y2, x2 = z + (axis == 0), y + (axis == 1), x + (axis == 2)
                    if z2 == depth or y2 == height or x2 == width:
                        continue
                    b = np.int64(labels[z2, y2, x2])
                    if b == a or b == 0 or (small[a] == small[b] and not (two_small and small[a])):
                        continue
                    if count < pairs.size:
                        pairs[count] = min(a, b) * stride + max(a, b)
                    count += 1
    return count
