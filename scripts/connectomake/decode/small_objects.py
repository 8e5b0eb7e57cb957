"""What happens to objects that are too small to be one."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

RemoveSmall = Literal["background", "neighbor", "none"]


def merge_into_neighbors(labels: NDArray[np.unsignedinteger], kept: NDArray[np.bool_]) -> NDArray[np.unsignedinteger]:
    """Say which object every small object joins: the kept one it shares most voxel faces with.

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
    stride = len(kept)
    small_rank = np.where(kept, 0, np.cumsum(~kept))
    small_rank[0] = 0
    pairs = np.empty(_scan_contacts(labels, small_rank, stride, np.empty(0, np.int64)), np.int64)
    _scan_contacts(labels, small_rank, stride, pairs)
    pairs, contact_faces = np.unique(pairs, return_counts=True)
    rank, neighbor = pairs // stride, pairs % stride
    best_last = np.lexsort((-neighbor, contact_faces, rank))
    target_of_rank = np.zeros(small_rank.max() + 1, np.int64)
    target_of_rank[rank[best_last]] = neighbor[best_last]
    target = np.where(kept, np.arange(stride), target_of_rank[small_rank])
    return _renumber(target, labels.dtype)


def _renumber(target: NDArray[np.int64], dtype: np.dtype) -> NDArray[np.unsignedinteger]:
    """Give groups of ids the numbers 1..m by the smallest id in each: that is where the group begins."""
    first_id = np.full(len(target), len(target), np.int64)
    np.minimum.at(first_id, target, np.arange(len(target)))
    is_group = first_id < len(target)
    is_group[0] = False
    order = np.argsort(first_id[is_group], kind="stable")
    new_id = np.zeros(len(target), dtype)
    new_id[np.flatnonzero(is_group)[order]] = np.arange(1, len(order) + 1)
    return new_id[target]


@njit(cache=True, nogil=True)
def _scan_contacts(labels, small_rank, stride, pairs):  # type: ignore[no-untyped-def]
    """Write small_rank * stride + id of every face between a small and a kept object, until `pairs` is full.

    Gives the number of faces, so that a first call with no room tells how much is needed.
    """
    count = 0
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                a = labels[z, y, x]
                if a == 0:
                    continue
                for axis in range(3):
                    z2, y2, x2 = z + (axis == 0), y + (axis == 1), x + (axis == 2)
                    if z2 == depth or y2 == height or x2 == width:
                        continue
                    b = labels[z2, y2, x2]
                    if b == a or b == 0:
                        continue
                    rank_a, rank_b = small_rank[a], small_rank[b]
                    if (rank_a == 0) == (rank_b == 0):
                        continue
                    if count < pairs.size:
                        pairs[count] = (rank_a + rank_b) * stride + np.int64(b if rank_a else a)
                    count += 1
    return count
