"""Search for the nearest voxel of many objects that lie scattered over a volume larger than memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
from scipy.spatial import cKDTree

from connectomake.geometry import Box, TripleNm

ROUNDING = 1 + 1e-9


def surface_of(mask: np.ndarray) -> np.ndarray:
    """Return the voxels of a mask, (N, 3) int64, that have a face in common with what is not in it, or on its border.

    The voxel nearest to any point outside is always one of them: from one that is inside there is a step towards the
    point.
    """
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1, 1:-1] = mask[1:-1, 1:-1, 1:-1]
    for axis in range(3):
        for step in (-1, 1):
            inner &= np.roll(mask, step, axis)
    return np.argwhere(mask & ~inner)


class CleftSurfaces:
    """The surfaces of one side's clefts, block by block; those used last are kept in memory.

    Several threads may use it at the same time.

    Parameters
    ----------
    read
        Gives the surface voxels (N, 3) in a box, N > 0, in voxels of the volume.
    boxes
        Disjoint; each just holds its clefts.
    voxel_size_zyx_nm
        In nm.
    max_points
        So many surface voxels stay in memory (about 60 bytes each), but always one block's.
    """

    def __init__(
        self, read: Callable[[Box], np.ndarray], boxes: Sequence[Box], voxel_size_zyx_nm: TripleNm, *, max_points: int
    ) -> None:
        self._read, self._boxes, self._max_points = read, list(boxes), max_points
        self._size_nm = np.asarray(voxel_size_zyx_nm, np.float64)
        self._first = np.array([box.start_zyx for box in boxes], np.int64).reshape(-1, 3)
        self._last = np.array([box.stop_zyx for box in boxes], np.int64).reshape(-1, 3) - 1
        self._kept: OrderedDict[int, tuple[np.ndarray, cKDTree]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._boxes)

    def distances_from(self, voxel: np.ndarray) -> np.ndarray:
        """Return the distance (N,) in nm from the centres of voxels (N, 3), of no cleft, to the nearest cleft voxel's.

        Infinite where there are no clefts at all.
        """
        nearest_nm = np.full(len(voxel), np.inf)
        gap_nm = self._gap_nm(voxel.min(axis=0), voxel.max(axis=0), self._first, self._last)
        for block in np.argsort(gap_nm):
            if gap_nm[block] >= nearest_nm.max():
                break
            near = np.flatnonzero(self._gap_nm(voxel, voxel, self._first[block], self._last[block]) < nearest_nm)
            if len(near):
                found_nm = self._distances_to(block, voxel[near], float(nearest_nm[near].max()))
                nearest_nm[near] = np.minimum(nearest_nm[near], found_nm)
        return nearest_nm

    def _distances_to(self, block: int, voxel: np.ndarray, at_most_nm: float) -> np.ndarray:
        """Return the distance (N,) to the nearest surface voxel of one block; infinite where that is too far."""
        surface, tree = self._tree(block)
        position_nm = (voxel - self._first[block]) * self._size_nm
        _, index = tree.query(position_nm, distance_upper_bound=at_most_nm * ROUNDING)
        found = index < len(surface)
        # from whole voxels, as _gap_nm is: the blocks' origins must not show in the last digits
        distance_nm = np.full(len(voxel), np.inf)
        step = np.abs(voxel[found] - surface[index[found]])
        distance_nm[found] = self._length_nm(step)
        return distance_nm

    def _tree(self, block: int) -> tuple[np.ndarray, cKDTree]:
        with self._lock:
            if block in self._kept:
                self._kept.move_to_end(block)
                return self._kept[block]
        surface = self._read(self._boxes[block])
        tree = cKDTree((surface - self._first[block]) * self._size_nm)
        with self._lock:
            self._kept[block] = (surface, tree)
            while len(self._kept) > 1 and sum(len(kept[0]) for kept in self._kept.values()) > self._max_points:
                self._kept.popitem(last=False)
        return surface, tree

    def _gap_nm(
        self, first: np.ndarray, last: np.ndarray, other_first: np.ndarray, other_last: np.ndarray
    ) -> np.ndarray:
        """Return the least distance of voxels in one box (first and last voxel) to voxels in another; of many at once.

        Rounded as distances of voxels are, so it is never above one of them.
        """
        return self._length_nm(np.maximum(np.maximum(other_first - last, first - other_last), 0))

    def _length_nm(self, step: np.ndarray) -> np.ndarray:
        square = (step * self._size_nm) ** 2
        return np.sqrt(square[..., 0] + square[..., 1] + square[..., 2])
