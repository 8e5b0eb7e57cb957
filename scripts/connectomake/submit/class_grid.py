"""What a network says of classes, cut at a threshold on the voxels of a crop."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple
from connectomake.volumes.resample import Resampled, corner_nm, extent_nm, voxels_under
from connectomake.volumes.volume import Lattice, Readable

MOST_HELD_BYTES = 2**28  # of the prediction, at a time
ROUNDING = 1e-5  # what weights in float32 may add to a mean


@dataclass(frozen=True)
class Held:
    """One channel of a prediction, of which a part is in memory; read like a volume of float32.

    Parameters
    ----------
    values
        (Z, Y, X): the part.
    box
        Where it lies, in voxels of the prediction.
    prediction
        The whole.
    """

    values: NDArray
    box: Box
    prediction: Readable
    has_channels: bool = False
    channels: int = 1
    file_chunks_zyx: Triple | None = None

    @property
    def source(self) -> str:
        """That of the prediction."""
        return self.prediction.source

    @property
    def dtype(self) -> np.dtype:
        """What values are computed in."""
        return np.dtype(np.float32)

    @property
    def shape_zyx(self) -> Triple:
        """Of the whole prediction."""
        return self.prediction.shape_zyx

    @property
    def voxel_size_zyx_nm(self) -> TripleNm:
        """Of the prediction."""
        return self.prediction.voxel_size_zyx_nm

    @property
    def offset_zyx_nm(self) -> TripleNm:
        """Centre of the prediction's first voxel."""
        return self.prediction.offset_zyx_nm

    def read(self, box: Box | None = None, channels: slice | None = None) -> NDArray[np.float32]:
        """Return a part of what is held."""
        box = self.box if box is None else box
        return self.values[box.within(self.box).slices].astype(np.float32)


def top_value(prediction: Readable) -> float:
    """Return what stands for a probability of 1: 255 in integers, 1 in floats."""
    return 255.0 if prediction.dtype == np.uint8 else 1.0


def check_covers(prediction: Readable, grid: Lattice) -> None:
    """Reject a prediction that ends more than half a voxel of its own inside a crop.

    Raises
    ------
    DataError
        With both places.
    """
    starts, ends = corner_nm(prediction), _far_corner(prediction)
    wanted_starts, wanted_ends = corner_nm(grid), _far_corner(grid)
    for axis, size in enumerate(prediction.voxel_size_zyx_nm):
        if starts[axis] - size / 2 > wanted_starts[axis] or ends[axis] + size / 2 < wanted_ends[axis]:
            raise DataError(
                f"{prediction.source} does not cover the crop along {'zyx'[axis]}",
                expected=f"{wanted_starts[axis]:g} to {wanted_ends[axis]:g} nm",
                got=f"{starts[axis]:g} to {ends[axis]:g} nm",
                hint="predict the whole volume that ingest_crop made of this crop",
            )


def choose_part(prediction: Readable, grid: Lattice, box: Box, channels: int) -> Triple:
    """Divide a box of a grid into parts, until what lies below one can be held; gives their shape in voxels."""
    part = list(box.shape_zyx)
    while max(part) > 1:
        first = Box((0, 0, 0), to_triple(part)).shift(box.start_zyx)
        below = hull_of(prediction, grid, first).shape_zyx
        if prod(below) * channels * prediction.dtype.itemsize <= MOST_HELD_BYTES:
            break
        longest = int(np.argmax(np.where(np.array(part) > 1, below, 0)))
        part[longest] = ceil(part[longest] / 2)
    return to_triple(part)


def hull_of(prediction: Readable, grid: Lattice, box: Box) -> Box:
    """Return a box of a prediction that holds all that the voxels of a box of a grid are made of."""
    lows, highs = [], []
    for axis, below in enumerate(voxels_under(prediction, grid, box)):
        most = prediction.shape_zyx[axis] - 1
        reach = ceil(grid.voxel_size_zyx_nm[axis] / prediction.voxel_size_zyx_nm[axis] / 2) + 1
        lows.append(min(max(below[0] - reach, 0), most))
        highs.append(min(max(below[-1] + reach, 0), most) + 1)
    return Box(to_triple(lows), to_triple(highs))


def cut_box(held: Held, grid: Lattice, box: Box, threshold: float) -> NDArray[np.bool_]:
    """Return which voxels of a box of a grid are of a class.

    Along each axis a voxel that is larger than those of the prediction takes their mean, weighted by what it covers of
    each; one that is not larger is interpolated between the centres on both sides. Beyond the outermost centre the
    outermost voxel counts, so that borders are not eroded. Any box gives the same as that part of the whole.

    Parameters
    ----------
    held
        What `hull_of` the box holds, at least.
    grid
        The voxels of the crop.
    box
        In voxels of `grid`.
    threshold
        0 to 1; a voxel is of the class where its probability is above it by more than the rounding of float32.

    Returns
    -------
    ndarray
        (Z, Y, X) bool.
    """
    limit = threshold * top_value(held.prediction)
    # No mean is above the largest value; most classes are nowhere near most blocks.
    if not float(np.fmax.reduce(held.values, axis=None)) > limit:
        return np.zeros(box.shape_zyx, bool)
    on_grid = Resampled(held, to_triple(grid.shape_zyx), grid.voxel_size_zyx_nm, grid.offset_zyx_nm)
    return on_grid.read(box) > np.float32(limit * (1 + ROUNDING))


def _far_corner(volume: Lattice) -> list[float]:
    return [c + e for c, e in zip(corner_nm(volume), extent_nm(volume), strict=True)]
