"""A small sample of the voxels of many overlaps, drawn block by block.

A sample holds the voxels whose places have the least hash (bottom-k sampling, Cohen and Kaplan 2007): it is drawn
evenly, needs the same memory for an overlap of any size, and is the same whatever the blocks and their order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numba
import numpy as np

SAMPLE = 64  # voxels that stand for an overlap, or for its contact with what it belongs to
REACH_VX = 4  # a gap of background that still is a contact, such as a membrane that was left out
UNUSED = np.uint64(np.iinfo(np.uint64).max)


@dataclass(frozen=True)
class Sample:
    """The voxels of the least hash: [0] of each part's contact with its whole, [1] of the part itself.

    Parameters
    ----------
    hashed
        (2, M, SAMPLE) uint64, ascending; UNUSED where a part has fewer voxels.
    voxel
        (2, M, SAMPLE) int64, the number of each voxel in the whole volume.
    """

    hashed: np.ndarray
    voxel: np.ndarray

    @classmethod
    def join_all(cls, parts: int, samples: Iterable[Sample | None]) -> Sample:
        """Sample all blocks together; None stands for a block that holds nothing of the `parts`."""
        found = cls(np.full((2, parts, SAMPLE), UNUSED), np.full((2, parts, SAMPLE), -1))
        for sample in samples:
            if sample is not None:
                found = found.join(sample)
        return found

    def join(self, other: Sample) -> Sample:
        """Sample this and another block together."""
        hashed = np.concatenate([self.hashed, other.hashed], axis=2)
        order = np.argsort(hashed, axis=2)[:, :, :SAMPLE]
        voxel = np.concatenate([self.voxel, other.voxel], axis=2)
        return Sample(np.take_along_axis(hashed, order, 2), np.take_along_axis(voxel, order, 2))


@numba.njit(cache=True, nogil=True)
def extent_of(
    truth: np.ndarray, segment: np.ndarray, part_truth: np.ndarray, part_segment: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover
    """Return the first and the last voxel, axis by axis, that lie in any part; the last is -1 where none does."""
    low, high = np.array(truth.shape), np.full(3, -1)
    for z in range(truth.shape[0]):
        for y in range(truth.shape[1]):
            is_part = False
            for x in range(truth.shape[2]):
                t, s = truth[z, y, x], segment[z, y, x]
                if x == 0 or t != truth[z, y, x - 1] or s != segment[z, y, x - 1]:
                    is_part = _find_part(part_truth, part_segment, t, s) >= 0
                if is_part:
                    low[0], high[0] = min(low[0], z), max(high[0], z)
                    low[1], high[1] = min(low[1], y), max(high[1], y)
                    low[2], high[2] = min(low[2], x), max(high[2], x)
    return low, high


@numba.njit(cache=True, nogil=True)
def sample_parts(
    truth: np.ndarray,
    segment: np.ndarray,
    part_truth: np.ndarray,
    part_segment: np.ndarray,
    whole_truth: np.ndarray,
    whole_segment: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    origin: np.ndarray,
    shape: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover
    """Sample the voxels of every part between start and stop: those within reach of its whole, and all.

    Parts are sorted by truth, then segment. `origin` is the place of the array's first voxel in a volume of `shape`.

    Returns
    -------
    tuple of np.ndarray
        `hashed` and `voxel` as in `Sample`.
    """
    hashed = np.full((2, part_truth.size, SAMPLE), UNUSED)
    voxel = np.full((2, part_truth.size, SAMPLE), -1)
    for z in range(start[0], stop[0]):
        for y in range(start[1], stop[1]):
            i = -1
            for x in range(start[2], stop[2]):
                t, s = truth[z, y, x], segment[z, y, x]
                if x == start[2] or t != truth[z, y, x - 1] or s != segment[z, y, x - 1]:
                    i = _find_part(part_truth, part_segment, t, s)
                if i >= 0:
                    place = ((origin[0] + z) * shape[1] + origin[1] + y) * shape[2] + origin[2] + x
                    h = _hash(place)
                    if h < hashed[0, i, -1] and _touches(truth, segment, z, y, x, whole_truth[i], whole_segment[i]):
                        _keep(hashed[0, i], voxel[0, i], h, place)
                    if h < hashed[1, i, -1]:
                        _keep(hashed[1, i], voxel[1, i], h, place)
    return hashed, voxel


@numba.njit(cache=True, nogil=True)
def _find_part(part_truth: np.ndarray, part_segment: np.ndarray, t: int, s: int) -> int:  # pragma: no cover
    """Find a pair of ids among the sorted parts by bisection; -1 where it is no part."""
    low, high = 0, part_truth.size
    while low < high:
        middle = (low + high) // 2
        if part_truth[middle] < t or (part_truth[middle] == t and part_segment[middle] < s):
            low = middle + 1
        else:
            high = middle
    return low if low < part_truth.size and part_truth[low] == t and part_segment[low] == s else -1


@numba.njit(cache=True, nogil=True)
def _touches(
    truth: np.ndarray, segment: np.ndarray, z: int, y: int, x: int, t: int, s: int
) -> bool:  # pragma: no cover
    """Return whether truth object t in segment s lies within reach of a voxel, straight along an axis."""
    nz, ny, nx = truth.shape
    for step in range(-REACH_VX, REACH_VX + 1):
        if 0 <= z + step < nz and truth[z + step, y, x] == t and segment[z + step, y, x] == s:
            return True
        if 0 <= y + step < ny and truth[z, y + step, x] == t and segment[z, y + step, x] == s:
            return True
        if 0 <= x + step < nx and truth[z, y, x + step] == t and segment[z, y, x + step] == s:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _hash(place: int) -> np.uint64:  # pragma: no cover
    """Spread the numbers of voxels over 64 bits, each to another number (the finaliser of splitmix64)."""
    h = np.uint64(place)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _keep(hashed: np.ndarray, voxel: np.ndarray, h: np.uint64, place: int) -> None:  # pragma: no cover
    """Put a voxel into an ascending sample, whose last one it drives out."""
    i = hashed.size - 1
    while i > 0 and hashed[i - 1] > h:
        hashed[i], voxel[i] = hashed[i - 1], voxel[i - 1]
        i -= 1
    hashed[i], voxel[i] = h, place
