"""What grey values a volume has: mean, standard deviation and range, from a bounded part that is always the same."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.volumes.volume import Readable

SIDE_VX = 64  # a chunk of our own stores
MOST_BLOCKS = 64
RANGE_PERCENT = (0.1, 99.9)  # of the grey values; a few dead or saturated pixels are no range
RANGE_STEP_VX = 4  # every fourth voxel on each axis tells the range


class GreyValues(NamedTuple):
    """What `sample_grey_values` finds: mean, standard deviation, and nearly the least and the largest value."""

    mean: float
    std: float
    low: float
    high: float


def measure_grey_values(volume: Readable | np.ndarray, most_blocks: int = MOST_BLOCKS) -> tuple[float, float]:
    """Measure mean and standard deviation of the grey values, of all channels together.

    The network that a volume is normalised for may see it in training and in prediction: both call this, and get the
    same numbers. Reads at most `most_blocks` blocks of 64^3 voxels, spread evenly; all of a volume that has no more.

    Parameters
    ----------
    volume
        A volume on disk, or an array (Z, Y, X) or (C, Z, Y, X).
    most_blocks
        Bound of the part that is read.

    Returns
    -------
    tuple of float
        Mean and standard deviation, computed in float64.

    Raises
    ------
    DataError
        The grey values are all equal, or some are not finite.
    """
    mean, std, _, _ = sample_grey_values(volume, most_blocks)
    check_contrast(mean, std, "an array" if isinstance(volume, np.ndarray) else getattr(volume, "source", "a volume"))
    return mean, std


def sample_grey_values(volume: Readable | np.ndarray, most_blocks: int = MOST_BLOCKS) -> GreyValues:
    """Measure as `measure_grey_values` does, whatever comes out, for a part of a volume may well be black; and a range.

    The range goes from the 0.1 to the 99.9 percentile of the finite values, of every fourth voxel on each axis; it is
    NaN where there are none.
    """
    count, mean, squares = 0, 0.0, 0.0
    coarse = []
    shape_zyx = to_triple(volume.shape[-3:]) if isinstance(volume, np.ndarray) else volume.shape_zyx
    for box in spread_blocks(shape_zyx, most_blocks):
        block = volume[(..., *box.slices)] if isinstance(volume, np.ndarray) else volume.read(box)
        coarse.append(block[..., ::RANGE_STEP_VX, ::RANGE_STEP_VX, ::RANGE_STEP_VX].ravel())
        values = block.astype(np.float64)
        here, more = float(values.mean()), count + values.size
        # Chan et al. 1979: sums of squares about the mean add up without cancellation.
        squares += float(np.square(values - here).sum()) + (here - mean) ** 2 * count * values.size / more
        mean += (here - mean) * values.size / more
        count = more
    sample = np.concatenate(coarse).astype(np.float64)
    finite = sample[np.isfinite(sample)]
    low, high = np.percentile(finite, RANGE_PERCENT) if finite.size else (np.nan, np.nan)
    return GreyValues(mean, float(np.sqrt(squares / count)), float(low), float(high))


def check_contrast(mean: float, std: float, name: str) -> None:
    """Reject grey values that cannot be brought to mean 0 and standard deviation 1.

    Raises
    ------
    DataError
        They are all equal, or some are not finite.
    """
    if not np.isfinite(std) or std <= 1e-6 * max(1e-3, abs(mean)):
        raise DataError(
            f"the grey values of {name} cannot be normalised",
            expected="finite values that differ",
            got=f"mean {mean:g}, sd {std:g}",
            hint="check the raw data",
        )


def spread_blocks(shape_zyx: Triple, most_blocks: int) -> list[Box]:
    """Choose blocks of a grid over a volume, spread evenly; all of them where there are no more than asked for."""
    grid = BlockGrid(shape_zyx, (SIDE_VX, SIDE_VX, SIDE_VX))
    counts = list(grid.counts_zyx)
    while prod(counts) > most_blocks:
        longest = int(np.argmax(counts))
        counts[longest] -= 1
    cells = [
        np.linspace(0, number - 1, count).round().astype(int) if count > 1 else np.array([number // 2])
        for number, count in zip(grid.counts_zyx, counts, strict=True)
    ]
    _, ny, nx = grid.counts_zyx
    return [grid[int((z * ny + y) * nx + x)] for z in cells[0] for y in cells[1] for x in cells[2]]
