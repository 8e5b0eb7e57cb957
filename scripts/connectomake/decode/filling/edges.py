"""What both ways to fill gaps look at: affinities as 256 levels, and the six edges of a voxel."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectomake.errors import DataError

LEVELS = 256
_MOST_STEPS = 65535


def to_levels(affinities: NDArray) -> NDArray[np.uint8]:
    """Return round(255 p) of (C, Z, Y, X) affinities, clipped to 0..255, NaN as 0; uint8 is handed back as it is."""
    if affinities.dtype == np.uint8:
        return affinities
    levels = np.empty(affinities.shape, np.uint8)
    for plane in np.ndindex(affinities.shape[:2]):  # one by one: the rounding works in floats
        levels[plane] = np.rint(255 * np.clip(np.nan_to_num(affinities[plane].astype(np.float32)), 0, 1))
    return levels


def flat_levels(affinities: NDArray) -> NDArray[np.uint8]:
    """Return the first three channels of affinities (C, Z, Y, X) as levels (3, voxels)."""
    return np.ascontiguousarray(to_levels(affinities[:3])).reshape(3, -1)


def lowest_level(floor: float) -> int:
    """Return the lowest level that an affinity of `floor`, 0 to 1, or more has."""
    return int(np.count_nonzero(np.arange(LEVELS) / (LEVELS - 1) < floor))


def check_filling(labels: NDArray, affinities: NDArray, edge_offset: int, floor: float, distance_vx: int) -> None:
    """Raise DataError where arguments are not as `fill_by_watershed` wants them."""
    if affinities.ndim != 4 or affinities.shape[0] < 3 or affinities.shape[1:] != labels.shape:
        raise DataError(
            "affinities do not fit the labels",
            expected=f"(C >= 3, {', '.join(map(str, labels.shape))})",
            got=affinities.shape,
        )
    if labels.dtype not in (np.uint32, np.uint64) or not labels.flags.c_contiguous:
        raise DataError("labels cannot be filled in place", expected="C-contiguous uint32 or uint64", got=labels.dtype)
    if edge_offset not in (0, 1) or not 0 <= floor <= 1 or not 0 <= distance_vx <= _MOST_STEPS:
        raise DataError(
            "cannot fill with these settings",
            expected=f"edge_offset 0 or 1, floor 0 to 1, distance_vx 0 to {_MOST_STEPS}",
            got=(edge_offset, floor, distance_vx),
        )
    if labels.size and int(labels.max()) >= waiting_bit(labels):
        raise DataError(
            "ids are too large to be filled in place",
            expected=f"below {waiting_bit(labels)}",
            got=labels.max(),
            hint="use uint64",
        )


def waiting_bit(labels: NDArray) -> int:
    """Return the bit that marks voxels that wait to be filled: the second highest, so that int64 holds it."""
    return 1 << (8 * labels.itemsize - 2)


@njit(cache=True, nogil=True, error_model="numpy")
def look_around(voxel, position_zyx, shape, levels, edge_offset, to, reach):  # type: ignore[no-untyped-def]
    """Write the neighbours in -z, +z, -y, +y, -x, +x, and the levels of the edges to them.

    Outside the volume a voxel is its own neighbour: at that time it is labelled, or no object, and so passed over.
    """
    strides = (shape[1] * shape[2], shape[2], 1)
    for axis in range(3):
        before = strides[axis] if position_zyx[axis] > 0 else 0
        after = strides[axis] if position_zyx[axis] < shape[axis] - 1 else 0
        to[2 * axis] = voxel - before
        to[2 * axis + 1] = voxel + after
        # an edge stands at its first voxel, or at its second one
        reach[2 * axis] = levels[axis, voxel - before + edge_offset * before]
        reach[2 * axis + 1] = levels[axis, voxel + edge_offset * after]


@njit(cache=True, nogil=True, error_model="numpy")
def position(voxel, shape):  # type: ignore[no-untyped-def]
    """Return z, y, x of a flat index."""
    row = voxel // shape[2]
    z = row // shape[1]
    return z, row - z * shape[1], voxel - row * shape[2]
