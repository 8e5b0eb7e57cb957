"""Where the windows of a volume lie, and how much each of their voxels counts.

The grid is fixed on the volume, not on the block that happens to be computed: a voxel is the blend of the same
windows in every block size, in every job, after every interruption.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, to_triple


@dataclass(frozen=True)
class WindowGrid:
    """Equal windows that cover a volume, numbered in scan order.

    Along an axis the windows start at 0, stride, 2 stride, ..., and the last one ends where the volume ends. Along an
    axis on which the volume is smaller than the window there is one window, centred, that sticks out of the volume on
    both sides.

    Parameters
    ----------
    shape_zyx
        The volume's shape in voxels.
    window_zyx
        A window's shape in voxels.
    overlap
        The share of a window, 0 to below 1, that it has in common with the next one.
    """

    shape_zyx: Triple
    window_zyx: Triple
    overlap: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape_zyx", to_triple(self.shape_zyx))
        object.__setattr__(self, "window_zyx", to_triple(self.window_zyx))
        if min(*self.shape_zyx, *self.window_zyx) < 1 or not 0 <= self.overlap < 1:
            raise DataError(
                "no grid of windows",
                expected="a volume and a window of at least one voxel per axis, and an overlap from 0 to below 1",
                got=f"{self.shape_zyx}, {self.window_zyx}, {self.overlap}",
            )

    @cached_property
    def starts_zyx(self) -> tuple[list[int], list[int], list[int]]:
        """Where the windows start along each axis, in voxels, ascending; negative where the volume is too small."""
        z, y, x = (_starts(s, w, self.overlap) for s, w in zip(self.shape_zyx, self.window_zyx, strict=True))
        return z, y, x

    def __len__(self) -> int:
        return prod(len(starts) for starts in self.starts_zyx)

    def __getitem__(self, index: int) -> Box:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of a grid of {len(self)}")
        z, y, x = self.starts_zyx
        start = (z[index // (len(y) * len(x))], y[index // len(x) % len(y)], x[index % len(x)])
        return Box(start, to_triple([a + w for a, w in zip(start, self.window_zyx, strict=True)]))

    def touching(self, box: Box) -> list[int]:
        """Give the numbers, ascending, of the windows that share a voxel with a box."""
        _, ny, nx = (len(starts) for starts in self.starts_zyx)
        z, y, x = self._ranges(box)
        return [(i * ny + j) * nx + k for i in z for j in y for k in x]

    def count_touching(self, box: Box) -> int:
        """Count the windows that share a voxel with a box, without listing them."""
        return prod(len(r) for r in self._ranges(box))

    def hull(self, box: Box) -> Box:
        """Give the box around all windows that share a voxel with a box: what must be read to compute it.

        It sticks out of the volume where the volume is smaller than the window (see `reflect_pad`).
        """
        ranges = zip(self.starts_zyx, self._ranges(box), self.window_zyx, strict=True)
        edges = [(starts[r[0]], starts[r[-1]] + window) for starts, r, window in ranges]
        return Box(to_triple([a for a, _ in edges]), to_triple([b for _, b in edges]))

    def _ranges(self, box: Box) -> list[range]:
        """Give, per axis, the positions of the windows that reach into a box."""
        axes = zip(self.starts_zyx, self.window_zyx, box.start_zyx, box.stop_zyx, strict=True)
        return [range(bisect_right(starts, a - w), bisect_left(starts, b)) for starts, w, a, b in axes]


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Give the starts of the windows along one axis."""
    if length <= window:
        return [-((window - length) // 2)]
    stride = max(1, round(window * (1 - overlap)))
    return [*range(0, length - window, stride), length - window]


def blending_weights(window_zyx: Sequence[int], blending: str) -> np.ndarray:
    """Say how much each voxel of a window counts where windows overlap.

    Parameters
    ----------
    window_zyx
        A window's shape in voxels.
    blending
        ``gaussian``: centred, sigma = side / 8 (nnU-Net, MONAI); ``distance``: voxels to the nearest face + 1, that
        is 1 at a face and half the side in the centre (BANIS); ``constant``: 1.

    Returns
    -------
    np.ndarray
        (Z, Y, X) float32, above 0 everywhere: about 4e-11 at the corners of the Gaussian, far from float32's limits,
        and divided out again where no other window looks.

    Raises
    ------
    DataError
        No blending of that name.
    """
    window = to_triple(window_zyx)
    if blending == "constant":
        return np.ones(window, np.float32)
    if blending == "gaussian":
        z, y, x = (np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in window)
        return (z[:, None, None] * y[:, None] * x).astype(np.float32)
    if blending == "distance":
        z, y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) + 1 for n in window)
        return np.minimum(np.minimum(z[:, None, None], y[:, None]), x).astype(np.float32)
    raise DataError("no such blending", expected="gaussian, distance or constant", got=blending)


def reflect_pad(array: np.ndarray, inside: Box, wanted: Box) -> np.ndarray:
    """Extend an array by its mirror image, as often as it takes, to a box around it.

    Parameters
    ----------
    array
        (C, Z, Y, X), the voxels of `inside`.
    inside, wanted
        The box that the array covers, and the larger one to cover.

    Returns
    -------
    np.ndarray
        (C, Z, Y, X) over `wanted`; the array itself where nothing is missing. Faces are not repeated (numpy's
        "reflect"), except along an axis of one voxel, which has nothing else to give.
    """
    before = [a - b for a, b in zip(inside.start_zyx, wanted.start_zyx, strict=True)]
    after = [b - a for a, b in zip(inside.stop_zyx, wanted.stop_zyx, strict=True)]
    if not any(before + after):
        return array
    return np.pad(array, [(0, 0), *zip(before, after, strict=True)], mode="reflect")
