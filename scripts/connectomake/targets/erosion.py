"""Make objects thinner, so that objects that touch in the truth have background between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from connectomake.config.settings.data import UNKNOWN


def erode_labels(labels: np.ndarray, erosion_zyx: Sequence[int]) -> np.ndarray:
    """Make every object thinner: voxels near another label become background.

    Each of max(erosion_zyx) rounds turns the voxels into background that have another label, or background, beside
    them on an axis whose number of rounds is not used up. Voxels that have something unknown (-1, or the border of the
    array) beside them become unknown, as another label may be there. The inter-object erosion of Lee et al. 2017, by
    steps of one voxel.

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
    now = np.pad(np.asarray(labels, np.int64), 1, constant_values=UNKNOWN)
    after = now.copy()
    for done in range(max(erosion_zyx)):
        _erode_once(now, after, *(int(done < rounds) for rounds in erosion_zyx))
        now, after = after, now
    return np.ascontiguousarray(now[1:-1, 1:-1, 1:-1])


@njit(cache=True, nogil=True)
def _erode_once(before: np.ndarray, after: np.ndarray, dz: int, dy: int, dx: int) -> None:
    """Write the inside of `after`; both arrays have a border of -1. Along an axis of step 0 a voxel meets itself."""
    nz, ny, nx = before.shape
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            _erode_row(
                before[z, y, 1 : nx - 1],
                before[z - dz, y, 1 : nx - 1],
                before[z + dz, y, 1 : nx - 1],
                before[z, y - dy, 1 : nx - 1],
                before[z, y + dy, 1 : nx - 1],
                before[z, y, 1 - dx : nx - 1 - dx],
                before[z, y, 1 + dx : nx - 1 + dx],
                after[z, y, 1 : nx - 1],
            )


@njit(cache=True, nogil=True)
def _erode_row(
    row: np.ndarray,
    above: np.ndarray,
    below: np.ndarray,
    behind: np.ndarray,
    before: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    eroded: np.ndarray,
) -> None:
    """Write a row (X,), from it and the six beside it; without a branch, so that several voxels are done at once."""
    for x in range(len(row)):
        label = row[x]
        differs = (
            _is_other(above[x], label)
            | _is_other(below[x], label)
            | _is_other(behind[x], label)
            | _is_other(before[x], label)
            | _is_other(left[x], label)
            | _is_other(right[x], label)
        )
        near_unknown = min(above[x], below[x], behind[x], before[x], left[x], right[x]) == UNKNOWN
        worn = 0 if differs else UNKNOWN if near_unknown else label
        eroded[x] = worn if label > 0 else label


@njit(cache=True, nogil=True)
def _is_other(neighbour: int, label: int) -> bool:
    return (neighbour != label) & (neighbour != UNKNOWN)
