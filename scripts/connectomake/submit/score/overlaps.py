"""One pass over truth and submitted labels: the objects, their sizes and boxes, and what they share.

The submitted labels are divided into connected components first, as the challenge does; a second pass, for distances,
gives the same components again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np

from connectomake.errors import DataError
from connectomake.measure.pair_counts import count_pairs
from connectomake.submit.score.components import SlabComponents, label_slab
from connectomake.submit.score.labels import LabelPair

MOST_TRUTH_ID = 2**24  # tables are as long as the largest id; the challenge's own scorer gives up far below
_EMPTY_BOX = (np.iinfo(np.int32).max,) * 3 + (-1,) * 3


@dataclass(frozen=True)
class Objects:
    """Objects by id, 0 to n; entry 0 is background.

    Parameters
    ----------
    size_vx
        (n + 1,) int64; 0 for ids that do not occur.
    box_zyx
        (n + 1, 6) int32: first voxel and last voxel along z, y, x.
    """

    size_vx: np.ndarray
    box_zyx: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """The ids that occur, ascending, but for background."""
        return np.flatnonzero(self.size_vx[1:]) + 1


class Overlaps:
    """What the first pass over a pair found.

    Parameters
    ----------
    pair
        Integer truth and submitted labels of any type; read when this is made, and again by `slabs`.

    Attributes
    ----------
    truth, submitted
        The objects; those of `submitted` are connected components, numbered as cc3d numbers those of the whole crop.
    truth_id, submitted_id, shared_vx
        (K,) int64: each two objects that share voxels, by truth, then component; and how many.

    Raises
    ------
    DataError
        Truth is not of whole numbers, or its ids are too large.
    """

    def __init__(self, pair: LabelPair) -> None:
        self.pair = pair
        # One slab is kept: labels and components that are small enough are read and found once.
        self._kept: list[tuple[np.ndarray, np.ndarray]] | None = []
        truth = _Gathered()
        pieces = _Gathered()
        components, tables = SlabComponents(), []
        low = 0
        for labels, submitted in pair.slabs():
            ids = _as_ids(labels, pair.truth.where)
            numbers, count = label_slab(submitted)
            offset = components.offsets[-1]
            components.add(submitted, numbers, count)
            truth.add(ids, low, 0, int(ids.max(initial=0)))
            pieces.add(numbers, low, offset, offset + count)
            t, s, n = count_pairs(ids.ravel(), numbers.ravel())
            tables.append((t.astype(np.int64), np.where(s > 0, s + np.int64(offset), 0), n))
            low += len(labels)
            self._kept = None if components.offsets[1:-1] else [(ids, numbers)]
        self._offsets = components.offsets
        self.component, n_components = components.finish()
        table = [np.concatenate(column) for column in zip(*tables, strict=True)]
        self._count(table, n_components)
        self.truth = Objects(self._sizes(0, len(truth.boxes)), truth.boxes)
        boxes = self._join_boxes(pieces.boxes, n_components)
        self.submitted = Objects(self._sizes(1, n_components + 1), boxes)
        both = (self._table[0] > 0) & (self._table[1] > 0)
        self.truth_id, self.submitted_id, self.shared_vx = (column[both] for column in self._table)

    def slabs(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return truth ids (Z, Y, X), running numbers of pieces there (Z, Y, X), and the component of each number."""
        again = self._kept or ((_as_ids(t, self.pair.truth.where), label_slab(s)[0]) for t, s in self.pair.slabs())
        for (ids, numbers), (low, high) in zip(again, pairwise(self._offsets), strict=True):
            yield ids, numbers, np.concatenate([[0], self.component[low + 1 : high + 1]])

    def _count(self, table: list[np.ndarray], n_components: int) -> None:
        """Sum the rows of all slabs that are of the same two objects."""
        key = table[0] * (n_components + 1) + self.component[table[1]]
        keys, place = np.unique(key, return_inverse=True)
        shared = np.zeros(len(keys), np.int64)
        np.add.at(shared, place, table[2])
        self._table = keys // (n_components + 1), keys % (n_components + 1), shared

    def _sizes(self, side: int, n: int) -> np.ndarray:
        sizes = np.zeros(n, np.int64)
        np.add.at(sizes, self._table[side], self._table[2])
        return sizes

    def _join_boxes(self, boxes: np.ndarray, n_components: int) -> np.ndarray:
        joined = np.tile(np.array(_EMPTY_BOX, np.int32), (n_components + 1, 1))
        np.minimum.at(joined[:, :3], self.component, boxes[:, :3])
        np.maximum.at(joined[:, 3:], self.component, boxes[:, 3:])
        return joined


class _Gathered:
    """Boxes of objects, grown slab by slab."""

    def __init__(self) -> None:
        self.boxes = np.array([_EMPTY_BOX], np.int32)

    def add(self, ids: np.ndarray, low: int, offset: int, highest: int) -> None:
        """Grow the boxes of the objects ``ids + offset`` by a slab that begins at plane `low`."""
        more = highest + 1 - len(self.boxes)
        if more > 0:
            self.boxes = np.concatenate([self.boxes, np.tile(np.array(_EMPTY_BOX, np.int32), (more, 1))])
        _grow_boxes(ids, low, offset, self.boxes)


def _as_ids(labels: np.ndarray, where: str) -> np.ndarray:
    """Return truth as uint32."""
    if labels.dtype.kind not in "bui":
        raise DataError(f"{where}: truth of a class that is told object by object", expected="ids", got=labels.dtype)
    if labels.dtype.itemsize > 2 and (labels.max(initial=0) > MOST_TRUTH_ID or labels.min(initial=0) < 0):
        got = f"{labels.min()} to {labels.max()}"
        raise DataError(f"{where}: ids of truth", expected=f"0 to {MOST_TRUTH_ID}", got=got, hint="renumber them")
    return np.ascontiguousarray(labels, np.uint32)


@numba.njit(cache=True, nogil=True)
def _grow_boxes(ids: np.ndarray, low: int, offset: int, boxes: np.ndarray) -> None:  # pragma: no cover
    """Grow boxes by a slab, run by run along x; modifies `boxes`."""
    depth, height, width = ids.shape
    for z in range(depth):
        for y in range(height):
            x = 0
            while x < width:
                i = ids[z, y, x]
                start = x
                x += 1
                while x < width and ids[z, y, x] == i:
                    x += 1
                if i:
                    box = boxes[np.int64(i) + offset]
                    box[0], box[1], box[2] = min(box[0], z + low), min(box[1], y), min(box[2], start)
                    box[3], box[4], box[5] = max(box[3], z + low), max(box[4], y), max(box[5], x - 1)
