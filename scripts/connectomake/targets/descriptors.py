"""Local shape descriptors: what the part of an object near a voxel looks like (Sheridan et al. 2022).

Near is a Gaussian G of sd `sigma_nm` around the voxel, cut at 3 sd. With q the voxels of the voxel's own object and
u = (q - voxel) / sigma_nm along each axis:

- ``offset`` m: the mean of u, weighted by G, as (m + 1) / 2: 0.5 is no offset, 1 one sd ahead.
- ``variance`` v: the weighted mean of u^2 less m^2: 1 is that of G itself.
- ``correlation``: (weighted mean of u_a u_b less m_a m_b) / sqrt(v_a v_b), Pearson's, as (r + 1) / 2.
- ``size``: the sum of G over the object: 1 where all that is near belongs to it.

All are cut to 0..1, and 0 in the background. A voxel of an object is known where all within 3 sd is, each axis taken by
itself. No decoder reads them: they are learnt beside affinities, which become better by it.

Sums are taken over cells of a third of a sd, counted from the patch's start, and read off between the cells linearly;
values are then some 0.005 (mean) and 0.03 (at most) from the exact ones. Hence patches agree exactly only where they
start at the same place in a cell; cells of one voxel (sd below 6 voxels) are exact. In cells of 20 voxels of 8 nm
it takes 0.1 s for a patch of 64^3 and 0.6 s for one of 128^3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numba import njit
from scipy.ndimage import correlate1d, find_objects, minimum_filter1d

from connectomake.config.settings.data import UNKNOWN
from connectomake.errors import ConfigError
from connectomake.geometry import Box, Triple, TripleNm, to_triple
from connectomake.targets.kinds.descriptors import PARTS, DescriptorsConfig
from connectomake.targets.target import MOST_CONTEXT_VX, crop_to_context, number_objects

CUT = 3.0
"""Sds after which the Gaussian is 0."""

_LEAST_VARIANCE = 1e-3  # of a plane of voxels, whose correlations are noise

_MOMENTS = (
    (0, 0, 0),
    (1, 0, 0),
    (0, 1, 0),
    (0, 0, 1),
    (2, 0, 0),
    (0, 2, 0),
    (0, 0, 2),
    (1, 1, 0),
    (1, 0, 1),
    (0, 1, 1),
)
"""Exponents of u along z, y, x; after the first, in the order of the channels."""


class DescriptorTarget:
    """The local shape descriptors of objects.

    Parameters
    ----------
    cfg
        How near is near, and which parts.
    voxel_size_zyx_nm
        Of the labels, in nm.

    Raises
    ------
    ConfigError
        3 sd are more voxels than there is context for.
    """

    def __init__(self, cfg: DescriptorsConfig, voxel_size_zyx_nm: TripleNm) -> None:
        self.channels = cfg.channels
        parts = [part for part, axes in PARTS.items() for _ in axes]
        self.chosen = [parts.index(part) + c for part in cfg.parts for c in range(parts.count(part))]
        sigma_zyx_vx = [cfg.sigma_nm / size for size in voxel_size_zyx_nm]
        self._divide(sigma_zyx_vx, [max(1, int(sigma / 3)) for sigma in sigma_zyx_vx])
        if max(self.reach_zyx) > MOST_CONTEXT_VX:
            raise ConfigError(
                "train.targets.descriptors.sigma_nm: 3 sd are too many voxels of this volume",
                expected=f"at most some {MOST_CONTEXT_VX * min(voxel_size_zyx_nm) / (CUT + 1):.3g} nm",
                got=f"{cfg.sigma_nm:g} nm",
            )

    def _divide(self, sigma_zyx_vx: Sequence[float], cell_zyx: Sequence[int]) -> None:
        """Set the cells, and by them what is looked at: between cells, those on both sides with all their voxels."""
        self.cell_zyx = to_triple(cell_zyx)
        sides = list(zip(sigma_zyx_vx, self.cell_zyx, strict=True))
        radii = [int(CUT * sigma / cell) for sigma, cell in sides]
        self.kernels = [_make_kernels(cell, sigma, r) for (sigma, cell), r in zip(sides, radii, strict=True)]
        reach = [r if cell == 1 else (r + 2) * cell - 1 for r, cell in zip(radii, self.cell_zyx, strict=True)]
        self.reach_zyx = to_triple(reach)

    @property
    def context(self) -> tuple[Triple, Triple]:
        """3 sd and a bit, in whole cells."""
        whole = to_triple([ceil(r / cell) * cell for r, cell in zip(self.reach_zyx, self.cell_zyx, strict=True)])
        return whole, whole

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Compute the descriptors inside a patch; see `Target.make`."""
        labels, patch = self._surround(labels, patch)
        known = labels != UNKNOWN
        if not known.all():
            for axis, reach in enumerate(self.reach_zyx):
                known = minimum_filter1d(known.view(np.uint8), 2 * reach + 1, axis=axis).view(np.bool_)
        mask = known[patch.slices] | (labels[patch.slices] == 0)
        ids, _ = number_objects(labels)
        values = np.zeros((10, *patch.shape_zyx), np.float32)
        for number, span in enumerate(find_objects(ids), start=1):
            if span is not None:
                self._describe(ids, number, _box_of(span), patch, values)
        values = np.where(mask, values[self.chosen], np.float32(0))
        return values, np.repeat(mask[None], len(values), axis=0)

    def _surround(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, Box]:
        """Return the labels of patch and context, with -1 where there are none and up to the end of a cell."""
        (before, after), cell = self.context, np.array(self.cell_zyx)
        labels, patch = crop_to_context(labels, patch, (before, after))
        start = np.array(before) - patch.start_zyx
        stop = -(-(np.array(before) + patch.shape_zyx + after) // cell) * cell - start - labels.shape
        if start.any() or stop.any():
            labels = np.pad(labels, list(zip(start, stop, strict=True)), constant_values=UNKNOWN)
        return labels, patch.shift(start.tolist())

    def _describe(self, ids: np.ndarray, number: int, span: Box, patch: Box, values: np.ndarray) -> None:
        """Write the values of one object, whose voxels lie in `span`."""
        inside = span.intersect(patch)
        if not inside.size:
            return
        cell = self.cell_zyx
        first = [max(0, a // c - 1) for a, c in zip(span.start_zyx, cell, strict=True)]
        stop = [min(n // c, -(-b // c) + 1) for n, b, c in zip(ids.shape, span.stop_zyx, cell, strict=True)]
        fine = tuple(slice(a * c, b * c) for a, b, c in zip(first, stop, cell, strict=True))
        counts = [b - a for a, b in zip(first, stop, strict=True)]
        of_object = (ids[fine] == number).reshape(counts[0], cell[0], counts[1], cell[1], counts[2], cell[2])
        moments = _measure_moments(of_object.mean(axis=(1, 3, 5), dtype=np.float32), self.kernels)
        _write(
            moments,
            np.array(first) * cell,
            np.array(cell),
            ids[inside.slices] == number,
            np.array(inside.start_zyx),
            values[(slice(None), *inside.within(patch).slices)],
        )


def _box_of(span: tuple[slice, ...]) -> Box:
    return Box(to_triple([s.start for s in span]), to_triple([s.stop for s in span]))


def _make_kernels(cell: int, sigma_vx: float, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return G, u G and u^2 G for cells up to `radius` away, with the sum of G 1.

    Moving voxels to the centres of cells, and reading between the centres, each add about the variance of a cell to the
    second moments, and widening G takes about one away: hence one is subtracted.
    """
    u = cell * np.arange(-radius, radius + 1) / sigma_vx
    weights = np.exp(-(u**2) / 2)
    weights /= weights.sum()
    return weights, u * weights, (u**2 - (cell**2 - 1) / 12 / sigma_vx**2) * weights


def _measure_moments(share: np.ndarray, kernels: Sequence[tuple[np.ndarray, ...]]) -> np.ndarray:
    """Sum G times powers of u over an object around each cell, axis by axis: (Z, Y, X, 10) in the order of `_MOMENTS`.

    `share` (Z, Y, X) float32 tells how much of each cell is the object's.
    """
    along_x = [correlate1d(share, kernels[2][c], axis=2, mode="constant") for c in range(3)]
    along_yx = {
        (b, c): correlate1d(along_x[c], kernels[1][b], axis=1, mode="constant") for b in range(3) for c in range(3 - b)
    }
    return np.stack(
        [correlate1d(along_yx[b, c], kernels[0][a], axis=0, mode="constant") for a, b, c in _MOMENTS], axis=-1
    )


@njit(cache=True, nogil=True)
def _write(
    moments: np.ndarray, origin: np.ndarray, cell: np.ndarray, inside: np.ndarray, start: np.ndarray, values: np.ndarray
) -> None:
    """Write values (10, Z, Y, X) where `inside` (Z, Y, X) bool, from the moments of the cells around each voxel.

    `origin` is the first voxel of the cells, `start` that of `inside`, in the same frame.
    """
    m = np.empty(10)
    for z in range(inside.shape[0]):
        z0, z1, wz = _cells_of(start[0] + z - origin[0], cell[0], moments.shape[0])
        for y in range(inside.shape[1]):
            y0, y1, wy = _cells_of(start[1] + y - origin[1], cell[1], moments.shape[1])
            for x in range(inside.shape[2]):
                if not inside[z, y, x]:
                    continue
                x0, x1, wx = _cells_of(start[2] + x - origin[2], cell[2], moments.shape[2])
                for c in range(10):
                    low = _mix(
                        _mix(moments[z0, y0, x0, c], moments[z0, y0, x1, c], wx),
                        _mix(moments[z0, y1, x0, c], moments[z0, y1, x1, c], wx),
                        wy,
                    )
                    high = _mix(
                        _mix(moments[z1, y0, x0, c], moments[z1, y0, x1, c], wx),
                        _mix(moments[z1, y1, x0, c], moments[z1, y1, x1, c], wx),
                        wy,
                    )
                    m[c] = _mix(low, high, wz)
                _normalise(m)
                for c in range(10):
                    values[c, z, y, x] = min(1.0, max(0.0, m[c]))


@njit(cache=True, nogil=True)
def _cells_of(voxel: int, cell: int, count: int) -> tuple[int, int, float]:
    """Return the two cells whose centres a voxel lies between, and the weight of the second."""
    position = (voxel + 0.5) / cell - 0.5
    first = int(np.floor(position))
    return max(first, 0), min(first + 1, count - 1), position - first


@njit(cache=True, nogil=True)
def _mix(first: float, second: float, weight: float) -> float:
    return first + weight * (second - first)


@njit(cache=True, nogil=True)
def _normalise(m: np.ndarray) -> None:
    """Turn the moments of a voxel into its descriptors: size is the first moment, and comes last."""
    size = max(m[0], 1e-9)
    for a in range(3):
        m[a] = m[a + 1] / size
    for a in range(3):
        m[3 + a] = max(m[4 + a] / size - m[a] ** 2, _LEAST_VARIANCE)
    for c in range(3):
        a, b = c // 2, 1 + (c + 1) // 2
        m[6 + c] = (m[7 + c] / size - m[a] * m[b]) / np.sqrt(m[3 + a] * m[3 + b])
    for c in range(3):
        m[c] = (m[c] + 1) / 2
        m[6 + c] = (m[6 + c] + 1) / 2
    m[9] = size
