"""Count the pairs of two rows of labels: the inner loop of every table of truth and segmentation.

Where the labels span few values, each pair has its own counter in a grid. Otherwise a hash table holds the pairs that
occur, and is asked once for each run of equal pairs along x.
"""

from __future__ import annotations

import numba
import numpy as np

MAX_CELLS = 1 << 22  # counters of a grid: 32 MB
FIRST_SLOTS = 1 << 12  # of the hash table: it starts small enough for the nearest cache


def count_pairs(truth: np.ndarray, segment: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the pairs of two rows of labels.

    About 3 ns a voxel for neurons, 6 ns where every voxel differs from the next; memory is at most 32 MB for the grid,
    and up to 130 bytes a pair for the table.

    Parameters
    ----------
    truth, segment
        (N,) integers or bool, contiguous, in the machine's byte order.

    Returns
    -------
    tuple of np.ndarray
        (P,) truth ids, (P,) segment ids, (P,) int64 counts, in no particular order; ids of bool are uint8.
    """
    truth, segment = _as_integers(truth), _as_integers(segment)
    if not len(truth):
        return truth[:0].copy(), segment[:0].copy(), np.zeros(0, np.int64)
    lowest = truth.min(), segment.min()
    spans = [int(ids.max()) - int(low) + 1 for ids, low in zip((truth, segment), lowest, strict=True)]
    if spans[0] * spans[1] <= min(MAX_CELLS, len(truth)):
        return _count_in_grid(truth, segment, *lowest, *spans)
    return _count_in_hash_table(truth, segment)


def _as_integers(ids: np.ndarray) -> np.ndarray:
    return ids.view(np.uint8) if ids.dtype.kind == "b" else ids


def _count_in_grid(
    truth: np.ndarray,
    segment: np.ndarray,
    lowest_truth: np.integer,
    lowest_segment: np.integer,
    n_truth: int,
    n_segments: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Assign each pair of ids in the two spans a counter."""
    counters = np.zeros(n_truth * n_segments, np.int64)
    _fill_grid(truth, segment, lowest_truth, lowest_segment, n_segments, counters)
    cell = np.flatnonzero(counters)
    # an index may exceed int8 where the id does not: both casts wrap, and so their sum is the id again
    truth_id = (cell // n_segments).astype(truth.dtype) + lowest_truth
    segment_id = (cell % n_segments).astype(segment.dtype) + lowest_segment
    return truth_id, segment_id, counters[cell]


def _count_in_hash_table(truth: np.ndarray, segment: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep the pairs that occur in a table that grows fourfold when half full."""
    pair_truth, pair_segment, count = truth[:0], segment[:0], np.zeros(0, np.int64)
    size, used, at = FIRST_SLOTS, 0, 0
    numbers = np.int32 if len(truth) < 1 << 31 else np.int64  # of pairs; the smaller stay in the cache
    while True:
        slots = np.full(size, -1, numbers)
        pair_truth, pair_segment = np.resize(pair_truth, size // 2), np.resize(pair_segment, size // 2)
        count = np.concatenate([count, np.zeros(size // 2 - len(count), np.int64)])
        at, used = _fill_table(truth, segment, at, slots, pair_truth, pair_segment, count, used)
        if at == len(truth):
            return pair_truth[:used].copy(), pair_segment[:used].copy(), count[:used].copy()
        size *= 4


@numba.njit(cache=True, nogil=True)
def _fill_grid(
    truth: np.ndarray,
    segment: np.ndarray,
    lowest_truth: np.integer,
    lowest_segment: np.integer,
    width: int,
    counters: np.ndarray,
) -> None:  # pragma: no cover
    """Add every voxel to the counter of its pair; modifies `counters`."""
    for at in range(truth.size):
        counters[np.int64(truth[at] - lowest_truth) * width + np.int64(segment[at] - lowest_segment)] += 1


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
    """Return the slot that holds a pair, or the free one that it belongs in.

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
