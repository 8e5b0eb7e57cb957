"""Where the windows of a volume lie, and how much each of their voxels counts.

The grid is fixed on the volume, not on the block that happens to be computed: a voxel is the blend of the same
windows in every block size, in every job, after every interruption.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, to_triple


@dataclass(frozen=True)
class WindowGrid:
    """Equal windows that cover a volume and a margin around it, numbered in scan order.

    Along an axis the windows start at 0, stride, 2 stride, ..., less the margin, and the last one ends where the
    margin ends. Along an axis on which volume and margins are smaller than the window there is one window, centred,
    that sticks out on both sides. What lies outside of the volume is its mirror image (`read_mirrored`).

    Parameters
    ----------
    shape_zyx
        The volume's shape in voxels.
    window_zyx
        A window's shape in voxels.
    overlap
        The share of a window, 0 to below 1, that it has in common with the next one.
    margin_zyx
        Voxels that windows reach out of the volume on both sides, so that voxels at its faces are seen from the
        middle of a window too.
    """

    shape_zyx: Triple
    window_zyx: Triple
    overlap: float
    margin_zyx: Triple = (0, 0, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape_zyx", to_triple(self.shape_zyx))
        object.__setattr__(self, "window_zyx", to_triple(self.window_zyx))
        object.__setattr__(self, "margin_zyx", to_triple(self.margin_zyx))
        if min(*self.shape_zyx, *self.window_zyx) < 1 or not 0 <= self.overlap < 1 or min(self.margin_zyx) < 0:
            raise DataError(
                "no grid of windows",
                expected="a volume and a window of at least one voxel per axis, an overlap from 0 to below 1, and a "
                "margin that is not negative",
                got=f"{self.shape_zyx}, {self.window_zyx}, {self.overlap}, {self.margin_zyx}",
            )

    @cached_property
    def starts_zyx(self) -> tuple[list[int], list[int], list[int]]:
        """Where the windows start along each axis, in voxels, ascending; negative where they reach out."""
        axes = zip(self.shape_zyx, self.window_zyx, self.margin_zyx, strict=True)
        z, y, x = ([a - m for a in _starts(s + 2 * m, w, self.overlap)] for s, w, m in axes)
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
        """Return the numbers, ascending, of the windows that share a voxel with a box."""
        _, ny, nx = (len(starts) for starts in self.starts_zyx)
        z, y, x = self._ranges(box)
        return [(i * ny + j) * nx + k for i in z for j in y for k in x]

    def count_touching(self, box: Box) -> int:
        """Count the windows that share a voxel with a box, without listing them."""
        return prod(len(r) for r in self._ranges(box))

    def hull(self, box: Box) -> Box:
        """Return the box around all windows that share a voxel with a box: what must be read to compute it.

        It sticks out of the volume where there is a margin, or the volume is smaller than the window.
        """
        return self._enclose([(r[0], r[-1]) for r in self._ranges(box)])

    def hull_of(self, numbers: np.ndarray) -> Box:
        """Return the box around some windows, at least one."""
        places = np.unravel_index(numbers, [len(starts) for starts in self.starts_zyx])
        return self._enclose([(int(place.min()), int(place.max())) for place in places])

    def _enclose(self, ends: Sequence[tuple[int, int]]) -> Box:
        """Return the box from the first to the last of some positions of windows along each axis."""
        axes = list(zip(self.starts_zyx, ends, self.window_zyx, strict=True))
        start = [starts[first] for starts, (first, _), _ in axes]
        return Box(to_triple(start), to_triple([starts[last] + window for starts, (_, last), window in axes]))

    def _ranges(self, box: Box) -> list[range]:
        """Give, per axis, the positions of the windows that reach into a box."""
        axes = zip(self.starts_zyx, self.window_zyx, box.start_zyx, box.stop_zyx, strict=True)
        return [range(bisect_right(starts, a - w), bisect_left(starts, b)) for starts, w, a, b in axes]


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Return the starts of the windows along one axis."""
    if length <= window:
        return [-((window - length) // 2)]
    stride = max(1, round(window * (1 - overlap)))
    return [*range(0, length - window, stride), length - window]


def blending_weights(window_zyx: Sequence[int], blending: str) -> np.ndarray:
    """Return how much each voxel of a window counts where windows overlap.

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


def read_mirrored(read: Callable[[Box], np.ndarray], shape_zyx: Sequence[int], wanted: Box) -> np.ndarray:
    """Read a box that may reach out of a volume, which is continued by its mirror image.

    Parameters
    ----------
    read
        Gives the (C, Z, Y, X) or (Z, Y, X) voxels of a box inside the volume.
    shape_zyx
        The volume's shape.
    wanted
        The box.

    Returns
    -------
    np.ndarray
        (C, Z, Y, X) over `wanted`; see `reflect_pad`.
    """
    inside = mirror_source(shape_zyx, wanted)
    raw = read(inside)
    return reflect_pad(raw if raw.ndim == 4 else raw[None], inside, wanted)


def mirror_source(shape_zyx: Sequence[int], wanted: Box) -> Box:
    """Return the part of a volume that a box, mirrored where it reaches out of the volume, is made of.

    Examples
    --------
    >>> mirror_source((100, 100, 4), Box((-5, 98, -9), (3, 105, 9)))
    Box(start_zyx=(0, 94, 0), stop_zyx=(6, 100, 4))
    """
    axes = list(zip(wanted.start_zyx, wanted.stop_zyx, shape_zyx, strict=True))
    # Voxel -k is voxel k, and voxel n - 1 + k is n - 1 - k; a box that reaches out at both ends spans the volume.
    start = [max(0, min(a, 2 * (n - 1) - (b - 1))) for a, b, n in axes]
    stop = [min(n, max(b, 1 - a)) for a, b, n in axes]
    return Box(to_triple(start), to_triple(stop))


def reflect_pad(array: np.ndarray, inside: Box, wanted: Box) -> np.ndarray:
    """Extend an array by its mirror image, as often as it takes, to a box around it, or cut it to one inside it.

    Parameters
    ----------
    array
        (C, Z, Y, X), the voxels of `inside`.
    inside, wanted
        The box that the array covers, and the one to cover.

    Returns
    -------
    np.ndarray
        (C, Z, Y, X) over `wanted`; the array itself where nothing is missing. Faces are not repeated (numpy's
        "reflect"), except along an axis of one voxel, which has nothing else to give.
    """
    if inside == wanted:
        return array
    before = [max(0, a - b) for a, b in zip(inside.start_zyx, wanted.start_zyx, strict=True)]
    after = [max(0, b - a) for a, b in zip(inside.stop_zyx, wanted.stop_zyx, strict=True)]
    if any(before + after):
        array = np.pad(array, [(0, 0), *zip(before, after, strict=True)], mode="reflect")
        inside = Box(
            to_triple([a - n for a, n in zip(inside.start_zyx, before, strict=True)]),
            to_triple([b + n for b, n in zip(inside.stop_zyx, after, strict=True)]),
        )
    return array[:, *wanted.within(inside).slices]
