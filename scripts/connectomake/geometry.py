"""Boxes of voxels, the block grid that covers a volume, and the way between voxels and nanometres.

Invariant: every triple is ordered z, y, x; a box includes its start and excludes its stop. An offset is the position
of the CENTRE of a volume's first voxel (OME-NGFF and CellMap say so), hence voxel i of an axis covers
[offset + (i - 1/2) size, offset + (i + 1/2) size). NISB and kimimaro put a node at index * size: the same convention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

import numpy as np

from connectomake.errors import DataError

Triple = tuple[int, int, int]
TripleNm = tuple[float, float, float]

FARTHEST_VX = 2**62  # beyond any volume


@dataclass(frozen=True, order=True)
class Box:
    """A box of voxels from `start_zyx` (included) to `stop_zyx` (excluded)."""

    start_zyx: Triple
    stop_zyx: Triple

    def __post_init__(self) -> None:
        object.__setattr__(self, "start_zyx", to_triple(self.start_zyx))
        object.__setattr__(self, "stop_zyx", to_triple(self.stop_zyx))

    @classmethod
    def of_shape(cls, shape_zyx: Sequence[int]) -> Box:
        """Return the box that covers a whole volume of this shape."""
        return cls((0, 0, 0), to_triple(shape_zyx))

    @property
    def shape_zyx(self) -> Triple:
        """The extent along each axis, in voxels; 0 where stop lies before start."""
        z, y, x = (max(0, b - a) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    @property
    def size(self) -> int:
        """The number of voxels inside."""
        return prod(self.shape_zyx)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into a (Z, Y, X) array."""
        z, y, x = (slice(a, b) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    def shift(self, by_zyx: Sequence[int]) -> Box:
        """Move the box by whole voxels."""
        return Box(
            to_triple([a + d for a, d in zip(self.start_zyx, by_zyx, strict=True)]),
            to_triple([b + d for b, d in zip(self.stop_zyx, by_zyx, strict=True)]),
        )

    def grow(self, by_zyx: Sequence[int]) -> Box:
        """Move every face outwards by so many voxels (inwards where negative): the halo of a block."""
        return Box(
            to_triple([a - d for a, d in zip(self.start_zyx, by_zyx, strict=True)]),
            to_triple([b + d for b, d in zip(self.stop_zyx, by_zyx, strict=True)]),
        )

    def intersect(self, other: Box) -> Box:
        """Return the voxels that lie in both boxes; the result may be empty (size 0)."""
        start = [max(a, b) for a, b in zip(self.start_zyx, other.start_zyx, strict=True)]
        stop = [max(s, min(a, b)) for s, a, b in zip(start, self.stop_zyx, other.stop_zyx, strict=True)]
        return Box(to_triple(start), to_triple(stop))

    def within(self, other: Box) -> Box:
        """Return this box in voxels of another one, whose start becomes 0, 0, 0."""
        return self.shift([-a for a in other.start_zyx])

    def contains(self, other: Box) -> bool:
        """Return whether every voxel of the other box lies in this one."""
        return all(a <= c for a, c in zip(self.start_zyx, other.start_zyx, strict=True)) and all(
            d <= b for b, d in zip(self.stop_zyx, other.stop_zyx, strict=True)
        )


def enclose(boxes: Sequence[Box]) -> Box:
    """Return the smallest box around some boxes."""
    start = np.min([box.start_zyx for box in boxes], axis=0)
    return Box(to_triple(start), to_triple(np.max([box.stop_zyx for box in boxes], axis=0)))


@dataclass(frozen=True, order=True)
class Turn:
    """Exchange axes, then mirror some: one of the 48 ways to lay a box of voxels on the axes.

    Parameters
    ----------
    order
        Axis a of the result is axis ``order[a]`` of the source.
    mirrored
        Whether axis a of the result is reversed.
    """

    order: Triple = (0, 1, 2)
    mirrored: tuple[bool, bool, bool] = (False, False, False)


@dataclass(frozen=True)
class BlockGrid:
    """A grid of equal blocks over a volume, numbered in scan order; the last ones on each axis may be smaller.

    Block i of a grid is the same box for every process, so n jobs need to agree on nothing but n.
    """

    shape_zyx: Triple
    block_zyx: Triple

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape_zyx", to_triple(self.shape_zyx))
        object.__setattr__(self, "block_zyx", to_triple(self.block_zyx))
        if min(self.block_zyx) < 1:
            raise DataError("a block needs at least one voxel on each axis", got=self.block_zyx)

    @property
    def counts_zyx(self) -> Triple:
        """The number of blocks along each axis."""
        z, y, x = (ceil(s / b) for s, b in zip(self.shape_zyx, self.block_zyx, strict=True))
        return z, y, x

    def __len__(self) -> int:
        return prod(self.counts_zyx)

    def __getitem__(self, index: int) -> Box:
        if not 0 <= index < len(self):
            raise IndexError(f"block {index} of a grid of {len(self)}")
        _, ny, nx = self.counts_zyx
        position = (index // (ny * nx), index // nx % ny, index % nx)
        start = [p * b for p, b in zip(position, self.block_zyx, strict=True)]
        stop = [min(a + b, s) for a, b, s in zip(start, self.block_zyx, self.shape_zyx, strict=True)]
        return Box(to_triple(start), to_triple(stop))

    def __iter__(self) -> Iterator[Box]:
        return (self[i] for i in range(len(self)))

    def touching(self, box: Box) -> Iterator[int]:
        """Return the numbers of the blocks that share voxels with a box inside the volume, ascending."""
        spans = [
            range(a // side, (b - 1) // side + 1)
            for a, b, side in zip(box.start_zyx, box.stop_zyx, self.block_zyx, strict=True)
        ]
        return (self._number(position) for position in product(*spans))

    def neighbors(self) -> Iterator[tuple[int, int, int]]:
        """Return every two blocks that share a face, the lower number first, with the axis between them."""
        for position in product(*map(range, self.counts_zyx)):
            for axis in range(3):
                following = [p + (a == axis) for a, p in enumerate(position)]
                if following[axis] < self.counts_zyx[axis]:
                    yield self._number(position), self._number(following), axis

    def _number(self, position: Sequence[int]) -> int:
        """Return the number of the block at a position, counted in blocks."""
        z, y, x = position
        return (z * self.counts_zyx[1] + y) * self.counts_zyx[2] + x

    def of_job(self, job: int, jobs: int) -> range:
        """Return the block numbers of job `job` of `jobs`: job, job + jobs, job + 2 jobs, ..."""
        if not 0 <= job < jobs:
            raise DataError("no such job", expected=f"0 to {jobs - 1}", got=job)
        return range(job, len(self), jobs)


def to_triple(values: Sequence[int]) -> Triple:
    """Turn any sequence of three whole numbers into a plain (z, y, x) tuple."""
    z, y, x = (int(v) for v in values)
    return z, y, x


def to_triple_nm(values: Sequence[float]) -> TripleNm:
    """Turn any sequence of three numbers into a plain (z, y, x) tuple of floats, in nm."""
    z, y, x = (float(v) for v in values)
    return z, y, x


def voxel_at(position_nm: np.ndarray, voxel_size_zyx_nm: Sequence[float], offset_zyx_nm: Sequence[float]) -> np.ndarray:
    """Return the voxel (N, 3) int64 that holds each position (N, 3) z, y, x in nm; it may lie outside any volume."""
    voxel = np.floor((np.asarray(position_nm) - offset_zyx_nm) / voxel_size_zyx_nm + 0.5)
    return np.clip(voxel, -FARTHEST_VX, FARTHEST_VX).astype(np.int64)  # lest a position in metres overflow


def position_of(voxel: np.ndarray, voxel_size_zyx_nm: Sequence[float], offset_zyx_nm: Sequence[float]) -> np.ndarray:
    """Return the centre (N, 3) float64 in nm of each voxel (N, 3): the inverse of `voxel_at`."""
    return np.asarray(voxel, np.float64) * voxel_size_zyx_nm + offset_zyx_nm
