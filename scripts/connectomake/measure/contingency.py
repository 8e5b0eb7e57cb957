"""The table of which truth label meets which segment, of volumes of any size.

Every voxel metric is a function of this one sparse table, so a volume is read once, block by block, however many
numbers are wanted. Invariant: rows are sorted by truth id, then segment id; no pair comes twice; counts are exact
integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.log import progress
from connectomake.measure.pair_counts import count_pairs
from connectomake.volumes.label_volumes import BLOCK_VX, reading_grid, require_labels

if TYPE_CHECKING:
    from connectomake.volumes.volume import Readable

PENDING_ROWS = 1 << 22  # rows of finished blocks that wait to be merged: 100 MB at most


@dataclass(frozen=True)
class Side:
    """The labels of one side of a table.

    Parameters
    ----------
    ids
        (n,) integers: every label once, ascending.
    index
        (P,) int64: where in `ids` the label of each row of the table is.
    size
        (n,) int64: voxels (or nodes) of each label.
    """

    ids: np.ndarray
    index: np.ndarray
    size: np.ndarray

    @property
    def n_objects(self) -> int:
        """The number of labels other than 0."""
        return int(np.count_nonzero(self.ids))


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

    @cached_property
    def truth(self) -> Side:
        """The truth labels."""
        return _side(self.truth_id, self.count)

    @cached_property
    def segment(self) -> Side:
        """The segments."""
        return _side(self.segment_id, self.count)

    @cached_property
    def foreground(self) -> Contingency:
        """The table without truth 0."""
        return self.without_truth(0)

    def without_truth(self, *ids: int) -> Contingency:
        """Leave out every pair whose truth label is one of these."""
        drop = np.zeros(len(self.truth_id), bool)
        for dropped in fitting(ids, self.truth_id.dtype):
            drop |= self.truth_id == dropped
        if not drop.any():
            return self
        return Contingency(self.truth_id[~drop], self.segment_id[~drop], self.count[~drop])


def contingency(truth: Readable, segmentation: Readable, *, block_vx: int = BLOCK_VX, threads: int = 1) -> Contingency:
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
    require_comparable(truth, segmentation)
    grid = reading_grid([truth, segmentation], block_vx)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        tables = pool.map(partial(_count_block, truth, segmentation), grid)
        return _merge(progress(tables, total=len(grid), what="blocks"), truth.dtype, segmentation.dtype)


def contingency_of_arrays(truth: np.ndarray, segmentation: np.ndarray, *, threads: int = 1) -> Contingency:
    """Count the pairs of two label arrays in memory.

    Parameters
    ----------
    truth, segmentation
        (Z, Y, X) integers of one shape, in the machine's byte order.
    threads
        Parts counted at the same time.

    Raises
    ------
    DataError
        When the shapes differ.
    """
    if truth.shape != segmentation.shape:
        raise DataError(
            "truth and segmentation have different shapes (z, y, x)", expected=truth.shape, got=segmentation.shape
        )
    parts = [np.array_split(np.ascontiguousarray(labels).ravel(), max(1, threads)) for labels in (truth, segmentation)]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        return _add([Contingency(*found) for found in pool.map(count_pairs, *parts)])


def require_comparable(truth: Readable, segmentation: Readable) -> None:
    """Raise DataError unless these are (Z, Y, X) volumes of integers of one shape."""
    if truth.shape_zyx != segmentation.shape_zyx:
        raise DataError(
            f"cannot compare {segmentation.source} with the truth {truth.source}: other shape (z, y, x)",
            expected=truth.shape_zyx,
            got=segmentation.shape_zyx,
        )
    for volume in (truth, segmentation):
        require_labels(volume)


def fitting(ids: Iterable[int], dtype: np.dtype) -> np.ndarray:
    """Return those of some ids that labels of a type can have at all: -1 is no label of an unsigned type."""
    span = range(2) if dtype.kind == "b" else range(np.iinfo(dtype).min, np.iinfo(dtype).max + 1)
    return np.array([i for i in ids if i in span], dtype)


def ratio(part: float, whole: float) -> float:
    """Divide; NaN where there is nothing to divide by."""
    return part / whole if whole else float("nan")


def _count_block(truth: Readable, segmentation: Readable, box: Box) -> Contingency:
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
    """Add up tables, whose rows may be in any order."""
    if len(tables) == 1 and _is_sorted(tables[0]):
        return tables[0]
    truths, row = _index(np.concatenate([t.truth_id for t in tables]))
    segments, column = _index(np.concatenate([t.segment_id for t in tables]))
    width = max(1, len(segments))
    pair, index = _index(row * width + column)
    total = np.bincount(index, np.concatenate([t.count for t in tables]), len(pair))  # exact: below 2^53
    return Contingency(truths[pair // width], segments[pair % width], total.astype(np.int64))


def _is_sorted(table: Contingency) -> bool:
    truth, segment = table.truth_id, table.segment_id
    same = truth[1:] == truth[:-1]
    return bool(np.all((truth[1:] > truth[:-1]) | (same & (segment[1:] > segment[:-1]))))


def _side(ids: np.ndarray, count: np.ndarray) -> Side:
    unique, index = _index(ids)
    return Side(unique, index, np.bincount(index, count, len(unique)).astype(np.int64))


def _index(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Do what np.unique does with return_inverse; without sorting where ids span few values."""
    if not len(ids) or _span(ids) > 4 * len(ids):
        return np.unique(ids, return_inverse=True)
    offset = _above_lowest(ids)
    occurs = np.zeros(_span(ids), bool)
    occurs[offset] = True
    index = np.cumsum(occurs)[offset] - 1
    return np.flatnonzero(occurs).astype(ids.dtype) + ids.min(), index


def _span(ids: np.ndarray) -> int:
    return int(ids.max()) - int(ids.min()) + 1


def _above_lowest(ids: np.ndarray) -> np.ndarray:
    """Return int64 distances from the lowest id, where they fit; the subtraction wraps for int8 and is mended after."""
    unsigned = np.dtype(f"u{ids.dtype.itemsize}")
    return (ids - ids.min()).view(unsigned).astype(np.int64)
