"""What the voxels of an array hold, chunk by chunk: enough to tell labels from probabilities.

Nothing is kept but counts, so memory is that of one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from connectomake.submit.check.stored import StoredArray

PART_VOXELS = 2**22  # looked at as one
EVERY = 8  # of the planes across z, neighbours are looked at in one
FEW = 8  # values above 0 that are no sign of probabilities
LEAST_PAIRS = 32


@dataclass
class Values:
    """What was seen of an array.

    Parameters
    ----------
    voxels, foreground
        All that were stored, and those that are not 0.
    low, high
        The smallest and the largest value; NaN left out.
    fractional, not_finite
        Whether a value is not whole, or NaN or infinite.
    counts
        How often each value occurs, by its 8 bits; all 0 for wider types.
    pairs, changes
        Neighbours along x that are both above 0, and those of them that differ.
    starts, rises
        Such pairs with 0 before them, where a thing begins; and those of them of which the second is the larger.
    """

    voxels: int = 0
    foreground: int = 0
    low: float = 0.0
    high: float = 0.0
    fractional: bool = False
    not_finite: bool = False
    counts: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    pairs: int = 0
    changes: int = 0
    starts: int = 0
    rises: int = 0

    @property
    def distinct(self) -> int:
        """How many values other than 0 occur; of types wider than 8 bits, at most this many."""
        return int(np.count_nonzero(self.counts[1:])) or int(self.high)

    @property
    def are_graded(self) -> bool:
        """Whether values look like probabilities: they change from voxel to voxel, or rise where a thing begins.

        Labels do neither: next to a voxel of an object, along x, lies another of it, unless it is one voxel wide.
        """
        changing = self.pairs >= LEAST_PAIRS and self.changes > self.pairs / 2
        rising = self.starts >= LEAST_PAIRS and self.rises > self.starts / 2
        return self.distinct > FEW and (changing or rising)

    def add(self, block: np.ndarray) -> None:
        """Look at some more voxels: (z, y, x) of any type of number."""
        self.voxels += block.size
        if block.dtype.kind == "f":
            block = self._add_floats(block)
        low, high = block.min(), block.max()
        if low == high == 0:
            return
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        foreground = int(np.count_nonzero(block))
        self.foreground += foreground
        if block.dtype.itemsize == 1:
            self._count(block, foreground, int(high))
        if high > FEW:
            self._compare(block[::EVERY])

    def add_fill(self, fill: float, voxels: int) -> None:
        """Count voxels of chunks that are not there."""
        self.voxels += voxels
        if fill and voxels:
            self.foreground += voxels
            self.low, self.high = min(self.low, fill), max(self.high, fill)

    def _add_floats(self, block: np.ndarray) -> np.ndarray:
        finite = np.isfinite(block)
        if not finite.all():
            self.not_finite = True
            block = np.where(finite, block, 0)
        self.fractional = self.fractional or bool((block != np.trunc(block)).any())
        return block

    def _count(self, block: np.ndarray, foreground: int, high: int) -> None:
        if high <= 1 and block.dtype.kind != "i":
            self.counts[:2] += (block.size - foreground, foreground)
        else:
            self.counts += np.bincount(block.view(np.uint8).ravel(), minlength=256)

    def _compare(self, block: np.ndarray) -> None:
        before, first, second = block[..., :-2], block[..., 1:-1], block[..., 2:]
        pair = (first > 0) & (second > 0)
        self.pairs += int(np.count_nonzero(pair))
        self.changes += int(np.count_nonzero(pair & (first != second)))
        start = pair & (before == 0)
        self.starts += int(np.count_nonzero(start))
        self.rises += int(np.count_nonzero(start & (second > first)))


def look_at(array: StoredArray) -> Values:
    """Look at all voxels of an array; costs the time of decoding its chunks, and the memory of one.

    Raises
    ------
    UnreadableError
        A chunk cannot be decoded. Names it.
    """
    values = Values()
    for place in array.chunks:
        for part in _parts(array.read(place)):
            values.add(part)
    absent = int(np.prod(array.shape_zyx, dtype=np.int64)) - values.voxels
    values.add_fill(array.fill or 0.0, absent)
    return values


def _parts(block: np.ndarray) -> Iterator[np.ndarray]:
    """Cut a block along z so that what is computed of a part stays small."""
    step = max(1, PART_VOXELS // max(1, block.shape[1] * block.shape[2]))
    for start in range(0, block.shape[0], step):
        yield np.ascontiguousarray(block[start : start + step])
