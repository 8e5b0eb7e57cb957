"""A volume read on other voxels than its own: grey values averaged or interpolated, ids taken from the nearest voxel.

Nothing is resampled before it is read, and any box gives the same bits as the same part of the whole: the weights of a
voxel follow from its own place, and its terms are added one by one in a fixed order. (Matrix products would be as
short, but how they add up depends on the shapes that they are given.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import BlockGrid, Box, Triple, TripleNm, to_triple, to_triple_nm
from connectomake.volumes.volume import Lattice, Readable

DECIMALS = 6  # places are rounded to a millionth of a voxel, so that faces that should meet do
SLIVER_VX = 1e-3  # what lies beyond the last whole voxel by less is no voxel
MOST_READ_VX = 2**25  # of the volume below, at a time


@dataclass(frozen=True)
class Resampled:
    """Voxels of another size or place over a volume; read like a `Volume`. Made by `resample` and `lay_on`.

    Grey values: along each axis, a voxel that is larger than those below is the mean of them, each weighted by the
    part of it that the voxel covers, as far as there are any (exact for whole factors); one that is not larger is
    interpolated linearly between the centres on both sides. Computed in float32, rounded for integer types. Beyond the
    border, the outermost voxel is repeated.

    Ids: the voxel below that holds the centre; of two that meet there, the further one (as `voxel_at` has it). 0 where
    there is none.

    Parameters
    ----------
    volume
        What lies below.
    shape_zyx, voxel_size_zyx_nm, offset_zyx_nm
        The voxels to read on.
    is_ids
        Whether values are ids, or flags, and not grey values.
    """

    volume: Readable
    shape_zyx: Triple
    voxel_size_zyx_nm: TripleNm
    offset_zyx_nm: TripleNm
    is_ids: bool = False

    @property
    def source(self) -> str:
        """Path of the file, with the name of the array inside."""
        return self.volume.source

    @property
    def dtype(self) -> np.dtype:
        """The type of the values that `read` gives."""
        return self.volume.dtype

    @property
    def has_channels(self) -> bool:
        """Whether arrays that are read have a channel axis."""
        return self.volume.has_channels

    @property
    def channels(self) -> int:
        """The number of channels; 1 where there is no channel axis."""
        return self.volume.channels

    @property
    def file_chunks_zyx(self) -> Triple | None:
        """About the part that the file holds as one, in these voxels."""
        chunks, step = self.volume.file_chunks_zyx, self._step_zyx
        return chunks and to_triple([max(1, round(c / s)) for c, s in zip(chunks, step, strict=True)])

    def read(self, box: Box | None = None, channels: slice | None = None) -> np.ndarray:
        """Read a part; see `Volume.read`.

        Raises
        ------
        DataError
            The box reaches out of the volume.
        """
        box = Box.of_shape(self.shape_zyx) if box is None else box
        if not Box.of_shape(self.shape_zyx).contains(box):
            raise DataError(
                f"a box reaches out of {self.source}, read at {self.voxel_size_zyx_nm} nm",
                expected=f"within {self.shape_zyx} voxels (z, y, x)",
                got=f"{list(box.start_zyx)} to {list(box.stop_zyx)}",
            )
        lead = (len(range(self.channels)[channels or slice(None)]),) if self.has_channels else ()
        found = np.zeros((*lead, *box.shape_zyx), self.dtype)
        for part in BlockGrid(box.shape_zyx, self._choose_part(box)):
            axes = [self._taps(axis, part.shift(box.start_zyx)) for axis in range(3)]
            if self.is_ids:
                self._copy_ids(found[(..., *part.slices)], axes, channels)
            else:
                found[(..., *part.slices)] = self._average(axes, channels)
        return found

    @property
    def _step_zyx(self) -> tuple[float, ...]:
        """The side of a voxel, in voxels of the volume below."""
        return tuple(
            float(np.round(t / s, DECIMALS))
            for t, s in zip(self.voxel_size_zyx_nm, self.volume.voxel_size_zyx_nm, strict=True)
        )

    def _choose_part(self, box: Box) -> Triple:
        """Divide a box until what lies below a part can be read at a time."""
        part = [max(1, n) for n in box.shape_zyx]
        below = [n * s for n, s in zip(part, self._step_zyx, strict=True)]
        while np.prod(below) > MOST_READ_VX and max(part) > 1:
            axis = int(np.argmax(np.where(np.array(part) > 1, below, 0)))
            below[axis] *= ceil(part[axis] / 2) / part[axis]
            part[axis] = ceil(part[axis] / 2)
        return to_triple(part)

    def _taps(self, axis: int, box: Box) -> _Taps:
        """Work out, for the voxels of a box along an axis, which voxels below they are made of."""
        centre = _places_on(self.volume, self, box, axis)
        if self.is_ids:
            return _Taps(_holding(centre)[None], np.ones((1, len(centre)), np.float32))
        return _weigh(centre, self._step_zyx[axis], self.volume.shape_zyx[axis])

    def _average(self, axes: Sequence[_Taps], channels: slice | None) -> np.ndarray:
        hull = Box(to_triple([a.below.min() for a in axes]), to_triple([a.below.max() + 1 for a in axes]))
        values = self.volume.read(hull, channels).astype(np.float32, copy=False)
        for axis, (taps, start) in enumerate(zip(axes, hull.start_zyx, strict=True), -3):
            values = _add_up(values, taps, start, axis)
        return np.rint(values) if self.dtype.kind in "iu" else values

    def _copy_ids(self, found: np.ndarray, axes: Sequence[_Taps], channels: slice | None) -> None:
        """Put the ids of the nearest voxels into an array, where there are any."""
        inside = [(a.below[0] >= 0) & (a.below[0] < n) for a, n in zip(axes, self.volume.shape_zyx, strict=True)]
        if not all(axis.any() for axis in inside):
            return
        taken = [a.below[0][i] for a, i in zip(axes, inside, strict=True)]
        hull = Box(to_triple([t[0] for t in taken]), to_triple([t[-1] + 1 for t in taken]))
        values = self.volume.read(hull, channels)
        for axis, (index, start) in enumerate(zip(taken, hull.start_zyx, strict=True), -3):
            values = _pick(values, index - start, axis)
        # Those inside follow one another, since places ascend.
        run = [slice(int(i.argmax()), int(i.argmax()) + int(i.sum())) for i in inside]
        found[..., run[0], run[1], run[2]] = values


def resample(volume: Readable, voxel_size_zyx_nm: Sequence[float], *, over: Lattice | None = None) -> Resampled:
    """Lay grey voxels of a size over a volume, the outer corner of the first on the volume's outer corner.

    Parameters
    ----------
    volume
        What is read.
    voxel_size_zyx_nm
        The size in nm.
    over
        The volume that the voxels cover, all of it, where it is another one: `volume` may be a level of its pyramid.

    Returns
    -------
    Resampled
        The last voxel of an axis may reach beyond the volume; it is made of what there is.
    """
    covered: Lattice = volume if over is None else over
    size = to_triple_nm(voxel_size_zyx_nm)
    corner, extent = corner_nm(covered), extent_nm(covered)
    return Resampled(
        volume,
        to_triple([max(1, ceil(e / s - SLIVER_VX)) for e, s in zip(extent, size, strict=True)]),
        size,
        to_triple_nm([c + s / 2 for c, s in zip(corner, size, strict=True)]),
    )


def lay_on(volume: Readable, grid: Lattice, box: Box | None = None) -> Resampled:
    """Read the ids of a volume on the voxels of another one, or of a box of it; 0 where the volume does not reach.

    Parameters
    ----------
    volume
        (Z, Y, X) ids or flags; (C, Z, Y, X) values are taken from the nearest voxel too.
    grid
        Whose voxels.
    box
        In voxels of `grid`; by default all of it.
    """
    box = Box.of_shape(grid.shape_zyx) if box is None else box
    size = grid.voxel_size_zyx_nm
    offset = [o + a * s for o, a, s in zip(grid.offset_zyx_nm, box.start_zyx, size, strict=True)]
    return Resampled(volume, box.shape_zyx, size, to_triple_nm(offset), is_ids=True)


def covered_box(volume: Lattice, grid: Lattice) -> Box:
    """Return the voxels of a grid whose centres lie in a volume, as a box in voxels of the grid; it may be empty.

    A centre on a face of the volume lies in it at its beginning, not at its end.
    """
    corner, extent, size, first = corner_nm(volume), extent_nm(volume), grid.voxel_size_zyx_nm, grid.offset_zyx_nm
    start = [ceil(round((c - f) / s, DECIMALS)) for c, f, s in zip(corner, first, size, strict=True)]
    stop = [ceil(round((c + e - f) / s, DECIMALS)) for c, e, f, s in zip(corner, extent, first, size, strict=True)]
    return Box(to_triple(start), to_triple(stop)).intersect(Box.of_shape(grid.shape_zyx))


def voxels_under(volume: Lattice, grid: Lattice, box: Box) -> list[np.ndarray]:
    """Give, along z, y and x, the voxel of a volume that holds the centre of each voxel of a box of a grid.

    Of two that meet there, the further one; it may lie outside.
    """
    return [_holding(_places_on(volume, grid, box, axis)) for axis in range(3)]


def corner_nm(volume: Lattice) -> TripleNm:
    """Return the position of the outer corner of the first voxel: half a voxel before its centre."""
    return to_triple_nm([o - s / 2 for o, s in zip(volume.offset_zyx_nm, volume.voxel_size_zyx_nm, strict=True)])


def extent_nm(volume: Lattice) -> TripleNm:
    """Return the sides of a volume, from face to face."""
    return to_triple_nm([n * s for n, s in zip(volume.shape_zyx, volume.voxel_size_zyx_nm, strict=True)])


def _places_on(volume: Lattice, grid: Lattice, box: Box, axis: int) -> np.ndarray:
    """Return the centres of a grid's voxels along an axis, in voxels of a volume; 0 is the centre of its first one."""
    number = np.arange(box.start_zyx[axis], box.stop_zyx[axis])
    away = grid.offset_zyx_nm[axis] - volume.offset_zyx_nm[axis]
    return np.round((away + number * grid.voxel_size_zyx_nm[axis]) / volume.voxel_size_zyx_nm[axis], DECIMALS)


def _holding(place: np.ndarray) -> np.ndarray:
    return np.floor(place + 0.5).astype(np.int64)


class _Taps(NamedTuple):
    """What each voxel of an axis is made of: term k is weight[k] times the voxel below at below[k]; (K, N) each."""

    below: np.ndarray
    weight: np.ndarray


def _weigh(centre: np.ndarray, step: float, count: int) -> _Taps:
    """Weigh the voxels below by what a voxel covers of them or, where it is not larger, by how near they are.

    Parameters
    ----------
    centre
        (N,) places of the voxels' centres, in voxels below; 0 is the centre of the first one.
    step
        The side of a voxel, likewise.
    count
        How many voxels there are below.
    """
    if step > 1:
        low, high = np.round(centre - step / 2, DECIMALS), np.round(centre + step / 2, DECIMALS)
        index = np.floor(low + 0.5).astype(np.int64) + np.arange(ceil(step) + 1)[:, None]
        weight = np.minimum(high, index + 0.5) - np.maximum(low, index - 0.5)
    else:
        index = np.floor(centre).astype(np.int64) + np.arange(2)[:, None]
        weight = 1 - np.abs(centre - index)
    weight = np.where((index >= 0) & (index < count), np.maximum(weight, 0), 0)
    beyond = weight.sum(0) == 0
    index[0, beyond] = np.clip(np.rint(centre[beyond]), 0, count - 1)
    weight[0, beyond] = 1
    # What has no weight is not touched: it may lie outside, or be NaN.
    index = np.where(weight > 0, index, index[weight.argmax(0), np.arange(len(centre))])
    used = weight.any(1)
    return _Taps(index[used], (weight[used] / weight.sum(0)).astype(np.float32))


def _add_up(values: np.ndarray, taps: _Taps, start: int, axis: int) -> np.ndarray:
    """Add the weighted terms along an axis, one after the other."""
    along = (-1, *[1] * (-1 - axis))
    total = _pick(values, taps.below[0] - start, axis) * taps.weight[0].reshape(along)
    for index, weight in zip(taps.below[1:], taps.weight[1:], strict=True):
        total += _pick(values, index - start, axis) * weight.reshape(along)
    return total


def _pick(values: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
    """Take some places of an axis; without a copy where they are evenly spaced."""
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    if step < 1 or (np.diff(index) != step).any():
        return values.take(index, axis)
    where: list[slice] = [slice(None)] * values.ndim
    where[axis] = slice(int(index[0]), int(index[-1]) + 1, step)
    return values[tuple(where)]
