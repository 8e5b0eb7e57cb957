"""Affinities: whether a voxel and the one at an offset belong to the same object.

Channel c at voxel p is the edge p -> p + offset[c] (the "source" convention). It is 1 where both ends carry the same
label that is neither 0 (background) nor -1 (unknown), else 0. It is known where both ends are, in the array and not -1.
After BANIS (its `comp_affinities`) and Lee et al. 2017 (long-range affinities).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from connectomake.config.channels import name_offset
from connectomake.config.targets import AffinityConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, to_triple
from connectomake.targets.channels import Channel

UNKNOWN = -1


class AffinityTarget:
    """The affinities of labels, eroded first where the settings say so.

    Parameters
    ----------
    cfg
        Offsets and erosion.
    """

    def __init__(self, cfg: AffinityConfig) -> None:
        self.offsets_zyx = [to_triple(offset) for offset in cfg.offsets_zyx_vx]
        self.erosion_zyx = to_triple(cfg.erosion_zyx_vx)

    @property
    def channels(self) -> list[Channel]:
        """One channel for each offset."""
        return [Channel(name_offset(offset), offset) for offset in self.offsets_zyx]

    @property
    def context(self) -> tuple[Triple, Triple]:
        """The longest offsets backwards and forwards, and what erosion looks at beyond them."""
        before = [max(0, *(-o[a] for o in self.offsets_zyx)) + self.erosion_zyx[a] for a in range(3)]
        after = [max(0, *(o[a] for o in self.offsets_zyx)) + self.erosion_zyx[a] for a in range(3)]
        return to_triple(before), to_triple(after)

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Compute the affinities inside a patch; see `Target.make`."""
        return affinities_of_labels(erode_labels(labels, self.erosion_zyx), self.offsets_zyx, patch)


def affinities_of_labels(
    labels: np.ndarray, offsets_zyx: Sequence[Sequence[int]], box: Box | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the affinities of instance labels, in the source convention.

    Parameters
    ----------
    labels
        (Z, Y, X) integer, 0 = background, -1 = unknown.
    offsets_zyx
        C offsets in voxels, of either sign.
    box
        The voxels to compute them for; labels around it are looked at. By default all.

    Returns
    -------
    values : ndarray
        (C, Z, Y, X) uint8, 1 where the edge joins two voxels of one object, else 0 (also where it is not known).
    mask : ndarray
        (C, Z, Y, X) bool, true where both ends are in the array and known.

    Raises
    ------
    DataError
        The labels are no integers or not three-dimensional.
    """
    if labels.ndim != 3 or labels.dtype.kind not in "iu":
        raise DataError(
            "affinities need labels", expected="a (Z, Y, X) integer array", got=f"{labels.shape} {labels.dtype}"
        )
    box = Box.of_shape(labels.shape) if box is None else box
    shape = (len(offsets_zyx), *box.shape_zyx)
    values, mask = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
    steps = np.asarray(offsets_zyx, np.int64).reshape(-1, 3)
    signed = np.ascontiguousarray(labels, np.int64)
    _compare(signed, steps, np.asarray(box.start_zyx, np.int64), values, mask)
    return values, mask


@njit(cache=True, nogil=True)
def _compare(labels: np.ndarray, offsets: np.ndarray, start: np.ndarray, values: np.ndarray, mask: np.ndarray) -> None:
    """Fill values and mask (C, Z, Y, X) of the box of labels that begins at `start`."""
    channels, nz, ny, nx = values.shape
    lz, ly, lx = labels.shape
    for c in range(channels):
        dz, dy, dx = offsets[c, 0], offsets[c, 1], offsets[c, 2]
        first = max(0, -(start[2] + dx))
        last = min(nx, lx - start[2] - dx)
        for z in range(nz):
            pz = z + start[0]
            if not 0 <= pz + dz < lz:
                continue
            for y in range(ny):
                py = y + start[1]
                if not 0 <= py + dy < ly:
                    continue
                near = labels[pz, py, start[2] :]
                far = labels[pz + dz, py + dy]
                for x in range(first, last):
                    a = near[x]
                    b = far[x + start[2] + dx]
                    mask[c, z, y, x] = (a != -1) & (b != -1)
                    values[c, z, y, x] = (a == b) & (a != 0) & (a != -1)


def erode_labels(labels: np.ndarray, erosion_zyx: Sequence[int]) -> np.ndarray:
    """Make every object thinner: voxels near another label become background.

    Each of max(erosion_zyx) rounds turns the voxels into background that have another label, or background, beside
    them on an axis whose number of rounds is not used up. Unknown voxels (-1) neither vanish nor make others vanish,
    nor does the border of the array. The inter-object erosion of Lee et al. 2017, by steps of one voxel.

    Parameters
    ----------
    labels
        (Z, Y, X) integer; not changed.
    erosion_zyx
        Voxels to take off each side along each axis.

    Returns
    -------
    ndarray
        (Z, Y, X) int64; the labels themselves where nothing is to be eroded.
    """
    if not any(erosion_zyx):
        return labels
    eroded = np.ascontiguousarray(labels, np.int64)
    for done in range(max(erosion_zyx)):
        before = eroded
        eroded = before.copy()
        _erode_once(before, eroded, np.asarray([done < rounds for rounds in erosion_zyx]))
    return eroded


@njit(cache=True, nogil=True)
def _erode_once(before: np.ndarray, after: np.ndarray, axes: np.ndarray) -> None:
    """Set a voxel of `after` to 0 where a neighbour along one of `axes` (3,) bool carries another known label."""
    nz, ny, nx = before.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                label = before[z, y, x]
                if label == 0 or label == -1:
                    continue
                border = False
                if axes[0]:
                    border |= z > 0 and _differs(before[z - 1, y, x], label)
                    border |= z < nz - 1 and _differs(before[z + 1, y, x], label)
                if axes[1]:
                    border |= y > 0 and _differs(before[z, y - 1, x], label)
                    border |= y < ny - 1 and _differs(before[z, y + 1, x], label)
                if axes[2]:
                    border |= x > 0 and _differs(before[z, y, x - 1], label)
                    border |= x < nx - 1 and _differs(before[z, y, x + 1], label)
                if border:
                    after[z, y, x] = 0


@njit(cache=True, nogil=True)
def _differs(neighbour: int, label: int) -> bool:
    return neighbour != label and neighbour != -1
