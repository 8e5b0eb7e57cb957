"""Count which truth label meets which segment, in volumes of any size.

Every voxel metric is a function of this one sparse table, so a volume is read once, block by block, however many
numbers are wanted. Invariant: rows are sorted by truth id, then segment id; no pair comes twice; counts are exact
integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numba
import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.log import progress
from connectomake.measure.label_volumes import BLOCK_VX, reading_grid, require_labels

if TYPE_CHECKING:
    from connectomake.volumes.volume import Volume

PENDING_ROWS = 1 << 22  # rows of finished blocks that wait to be merged: 100 MB at most


@dataclass(frozen=True)
class Contingency:
    """How often each truth label meets each segment.

    Parameters
    ----------
    truth_id, segment_id
        (P,) integers: the pairs that occur.
    count
        (P,) int64: voxels (or nodes) of each pair, at least 1.
    """

    truth_id: np.ndarray
    segment_id: np.ndarray
    count: np.ndarray

    @property
    def total(self) -> int:
        """The number of voxels (or nodes) counted."""
        return int(self.count.sum())

    def without_truth(self, *ids: int) -> Contingency:
        """Leave out every pair whose truth label is one of these."""
        keep = ~np.isin(self.truth_id, np.array([i for i in ids if _fits(i, self.truth_id.dtype)], self.truth_id.dtype))
        return Contingency(self.truth_id[keep], self.segment_id[keep], self.count[keep])


def contingency(truth: Volume, segmentation: Volume, *, block_vx: int = BLOCK_VX, threads: int = 1) -> Contingency:
    """Count the pairs of two label volumes block by block.

    Time is linear in the voxels (about 4 ns each for neurons at 10 nm) plus reading; memory is two blocks for each
    thread plus the table itself, whatever the size of the volume.

    Parameters
    ----------
    truth, segmentation
        (Z, Y, X) integer volumes of one shape.
    block_vx
        Voxels read at a time by each thread; the result does not depend on it.
    threads
        Blocks counted at the same time.

    Raises
    ------
    DataError
        When the shapes differ, or a volume has channels or is not of integers.
    """
    if truth.shape_zyx != segmentation.shape_zyx:
        raise DataError(
            f"cannot compare {segmentation.source} with the truth {truth.source}: other shape (z, y, x)",
            expected=truth.shape_zyx,
            got=segmentation.shape_zyx,
        )
    for volume in (truth, segmentation):
        require_labels(volume)
    grid = reading_grid([truth, segmentation], block_vx)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        tables = pool.map(partial(_count_block, truth, segmentation), grid)
        return _merge(progress(tables, total=len(grid), what="blocks"), truth.dtype, segmentation.dtype)


def _count_block(truth: Volume, segmentation: Volume, box: Box) -> Contingency:
    return Contingency(*count_pairs(truth.read(box).ravel(), segmentation.read(box).ravel()))


def _merge(tables: Iterable[Contingency], truth_dtype: np.dtype, segment_dtype: np.dtype) -> Contingency:
    """Add up the tables of all blocks, now and then, so that what waits stays small."""
    empty = np.zeros(0, np.int64)
    pending = [Contingency(empty.astype(truth_dtype), empty.astype(segment_dtype), empty)]
    waiting = 0
    for table in tables:
        pending.append(table)
        waiting += len(table.count)
        if waiting > PENDING_ROWS:
            pending, waiting = [_add(pending)], 0
    return _add(pending)


def _add(tables: Sequence[Contingency]) -> Contingency:
    truth = np.concatenate([t.truth_id for t in tables])
    segment = np.concatenate([t.segment_id for t in tables])
    order = np.lexsort((segment, truth))
    truth, segment = truth[order], segment[order]
    first = np.ones(len(order), bool)
    first[1:] = (truth[1:] != truth[:-1]) | (segment[1:] != segment[:-1])
    start = np.flatnonzero(first)
    count = np.concatenate([t.count for t in tables])[order]
    total = np.add.reduceat(count, start) if len(start) else count
    return Contingency(truth[start], segment[start], total)


def _fits(value: int, dtype: np.dtype) -> bool:
    return dtype.kind != "b" and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def count_pairs(truth: np.ndarray, segment: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the pairs of two rows of labels, in order of first appearance.

    A hash table that starts small, so that it stays in the cache where labels are few, and grows eightfold when half
    full.

    Parameters
    ----------
    truth, segment
        (N,) integers, contiguous, in the machine's byte order.

    Returns
    -------
    tuple of np.ndarray
        (P,) truth ids, (P,) segment ids, (P,) int64 counts.
    """
    pair_truth, pair_segment, count = truth[:0], segment[:0], np.zeros(0, np.int64)
    size, used, at = 1 << 12, 0, 0
    while True:
        slots = np.full(size, -1, np.int64)
        pair_truth, pair_segment = np.resize(pair_truth, size // 2), np.resize(pair_segment, size // 2)
        count = np.concatenate([count, np.zeros(size // 2 - len(count), np.int64)])
        at, used = _fill_table(truth, segment, at, slots, pair_truth, pair_segment, count, used)
        if at == len(truth):
            return pair_truth[:used].copy(), pair_segment[:used].copy(), count[:used].copy()
        size *= 8


@numba.njit(cache=True, nogil=True)
def _fill_table(
    truth: np.ndarray,
    segment: np.ndarray,
    at: int,
    slots: np.ndarray,
    pair_truth: np.ndarray,
    pair_segment: np.ndarray,
    count: np.ndarray,
    used: int,
) -> tuple[int, int]:  # pragma: no cover
    """Count pairs from voxel `at` on until the table is half full; modifies the table's four arrays.

    The first `used` pairs are put back into the (empty) slots first. One look-up serves a run of equal pairs along x.

    Returns
    -------
    tuple of int
        The voxel to go on from, and how many pairs the table holds.
    """
    for i in range(used):
        slots[_find_slot(slots, pair_truth, pair_segment, pair_truth[i], pair_segment[i])] = i
    while at < truth.size:
        t, s = truth[at], segment[at]
        slot = _find_slot(slots, pair_truth, pair_segment, t, s)
        if slots[slot] < 0:
            if used == count.size:
                break
            slots[slot] = used
            pair_truth[used], pair_segment[used] = t, s
            used += 1
        start = at
        at += 1
        while at < truth.size and truth[at] == t and segment[at] == s:
            at += 1
        count[slots[slot]] += at - start
    return at, used


@numba.njit(cache=True, nogil=True)
def _find_slot(
    slots: np.ndarray, pair_truth: np.ndarray, pair_segment: np.ndarray, truth: int, segment: int
) -> int:  # pragma: no cover
    """Give the slot that holds a pair, or the free one that it belongs in.

    Pairs are spread over the slots by the finaliser of splitmix64.
    """
    h = np.uint64(truth) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(segment)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mask = np.uint64(slots.size - 1)
    at = (h ^ (h >> np.uint64(31))) & mask
    while slots[at] >= 0 and (pair_truth[slots[at]] != truth or pair_segment[slots[at]] != segment):
        at = (at + np.uint64(1)) & mask
    return np.int64(at)  # type: ignore[return-value]  # an int, once compiled
