"""What values a prediction has: the mean of every section, how many are saturated, and how often each value occurs.

A volume that takes no more than `MOST_BYTES` is read whole. Of a larger one, columns of chunks along z are read, always
the same ones: every section is seen at full resolution, where a coarse level of the store would blur a lost one.
Counts are integers, and sums of bytes, as of float16 up to 1, are exact in float64: no number depends on the order in
which parts are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from connectomake.geometry import BlockGrid, Box
from connectomake.predict.check.finished import Finished, choose_some

MOST_BYTES = 2**30  # of values, as they are in memory
FEWEST_COLUMNS = 4
PIECE_VX = 256  # along z, read at once
FEW = 0.1  # a section of which less was wanted, as a share of the fullest one, says nothing


@dataclass(frozen=True)
class Profile:
    """Sums over the sections of a prediction, filled by `add`.

    Parameters
    ----------
    sums
        (C, Z) float64 of stored values.
    saturated
        (C, Z) int64: how many are 0 or 255; of bytes alone.
    counts
        (Z,) int64 voxels.
    patterns
        (C, 256 or 65536) int64: how often each stored value occurs, by its bits.
    """

    sums: np.ndarray
    saturated: np.ndarray
    counts: np.ndarray
    patterns: np.ndarray

    @classmethod
    def empty(cls, channels: int, sections: int, dtype: np.dtype) -> Profile:
        """Begin with nothing."""
        sums, saturated = np.zeros((channels, sections)), np.zeros((channels, sections), np.int64)
        patterns = np.zeros((channels, 256**dtype.itemsize), np.int64)
        return cls(sums, saturated, np.zeros(sections, np.int64), patterns)

    def add(self, box: Box, values: np.ndarray, wanted: np.ndarray | None) -> None:
        """Add a part.

        Parameters
        ----------
        box
            Where it lies.
        values
            (C, Z, Y, X) uint8 or float16.
        wanted
            (Z, Y, X) bool: which of them count; None = all.
        """
        section, is_bytes = box.slices[0], values.dtype == np.uint8
        bits = values if is_bytes else values.view(np.uint16)
        for channel, here in enumerate(bits):
            chosen = here.ravel() if wanted is None else here[wanted]
            self.patterns[channel] += np.bincount(chosen, minlength=self.patterns.shape[1])
        weighed = values if wanted is None else np.where(wanted, values, values.dtype.type(0))
        self.sums[:, section] += weighed.sum((2, 3), dtype=np.uint64 if is_bytes else np.float64)
        if is_bytes:
            ends = (values == 0) | (values == 255)
            self.saturated[:, section] += (ends if wanted is None else ends & wanted).sum((2, 3))
        self.counts[section] += values[0, 0].size if wanted is None else wanted.sum((1, 2))

    def per_voxel(self, totals: np.ndarray) -> np.ndarray:
        """Divide (C, Z) totals by the voxels of each section; NaN where few were wanted, or looked at."""
        enough = (self.counts > 0) & (self.counts >= FEW * self.counts.max())
        return np.where(enough, totals / np.maximum(self.counts, 1), np.nan)


def measure_profile(prediction: Finished, most_bytes: int = MOST_BYTES) -> tuple[Profile, float]:
    """Sum up a prediction, or a fixed part of a large one.

    Parameters
    ----------
    prediction
        What to look at.
    most_bytes
        How much is read at most; but no less than four columns of chunks.

    Returns
    -------
    profile : Profile
        The sums.
    share : float
        The share of what was to be predicted that they hold.
    """
    volume, wanted = prediction.volume, prediction.is_wanted
    depth = volume.shape_zyx[0]
    columns = [box for box in BlockGrid(volume.shape_zyx, (depth, *prediction.chunk_zyx[1:])) if wanted(box)]
    bytes_each = volume.channels * volume.dtype.itemsize * max((box.size for box in columns), default=1)
    chosen = choose_some(len(columns), max(FEWEST_COLUMNS, most_bytes // bytes_each))
    profile = Profile.empty(volume.channels, depth, volume.dtype)
    for number in chosen:
        for box in _cut_along_z(columns[number]):
            if wanted(box):
                profile.add(box, volume.read(box), prediction.wanted(box))
    return profile, len(chosen) / max(1, len(columns))


def _cut_along_z(column: Box) -> Iterator[Box]:
    pieces = BlockGrid(column.shape_zyx, (PIECE_VX, *column.shape_zyx[1:]))
    return (piece.shift(column.start_zyx) for piece in pieces)
