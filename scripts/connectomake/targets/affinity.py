"""Affinities: whether a voxel and the one at an offset belong to the same object.

Channel c at voxel p is the edge p -> p + offset[c] (the "source" convention). It is 1 where both ends carry the same
label that is neither 0 (background) nor -1 (unknown), else 0. It is known where both ends are, in the array and not -1.
After BANIS (its `comp_affinities`) and Lee et al. 2017 (long-range affinities). Read by the decoders affinity_cc,
mutex_watershed and waterz.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from connectomake.config.settings.data import UNKNOWN
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple
from connectomake.targets.erosion import erode_labels
from connectomake.targets.kinds.affinity import AffinityConfig


class AffinityTarget:
    """The affinities of labels, eroded first where the settings say so.

    Parameters
    ----------
    cfg
        Offsets and erosion.
    voxel_size_zyx_nm
        Not looked at.
    """

    def __init__(self, cfg: AffinityConfig, voxel_size_zyx_nm: TripleNm) -> None:
        self.channels = cfg.channels
        self.offsets_zyx = [to_triple(offset) for offset in cfg.offsets_zyx_vx]
        self.erosion_zyx = to_triple(cfg.erosion_zyx_vx)

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
    values, mask = np.empty(shape, np.uint8), np.empty(shape, np.bool_)
    steps = np.asarray(offsets_zyx, np.int64).reshape(-1, 3)
    signed = np.ascontiguousarray(labels, np.int64)
    _compare(signed, steps, np.asarray(box.start_zyx, np.int64), values, mask)
    return values, mask


@njit(cache=True, nogil=True)
def _compare(labels: np.ndarray, offsets: np.ndarray, start: np.ndarray, values: np.ndarray, mask: np.ndarray) -> None:
    """Write values and mask (C, Z, Y, X) of the box of labels that begins at `start`.

    Section by section, so that labels are read from memory once; and row by row, over slices that begin at 0, because
    an index that might be negative keeps the compiler from comparing several voxels at once (4 times faster).
    """
    channels, nz, ny, nx = values.shape
    lz, ly, lx = labels.shape
    for z in range(nz):
        for c in range(channels):
            dz, dy, dx = offsets[c]
            qz = start[0] + z + dz
            first = min(nx, max(0, -(start[2] + dx)))
            stop = max(first, min(nx, lx - start[2] - dx))
            for y in range(ny):
                qy = start[1] + y + dy
                value, known = values[c, z, y], mask[c, z, y]
                if not (0 <= qz < lz and 0 <= qy < ly):
                    value[:], known[:] = 0, False
                    continue
                value[:first], known[:first] = 0, False
                value[stop:], known[stop:] = 0, False
                near = labels[start[0] + z, start[1] + y, start[2] + first : start[2] + stop]
                far = labels[qz, qy, start[2] + dx + first : start[2] + dx + stop]
                _compare_row(near, far, value[first:stop], known[first:stop])


@njit(cache=True, nogil=True)
def _compare_row(near: np.ndarray, far: np.ndarray, value: np.ndarray, known: np.ndarray) -> None:
    for x in range(len(value)):
        known[x] = (near[x] != UNKNOWN) & (far[x] != UNKNOWN)
        value[x] = (near[x] == far[x]) & (near[x] > 0)
