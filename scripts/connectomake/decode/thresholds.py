"""What it means that an affinity is above a threshold, for every type that affinities may have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectomake.errors import DataError

_ORDERED_BITS = {"b1": np.uint8, "u1": np.uint8, "f2": np.int16, "f4": np.int32, "f8": np.int64}


def check_affinities(affinities: NDArray, edge_offset: int) -> None:
    """Raise DataError where affinities are not as `affinity_cc3d` wants them."""
    if affinities.ndim != 4 or affinities.shape[0] < 3:
        raise DataError("affinities have the wrong shape", expected="(C, Z, Y, X) with C >= 3", got=affinities.shape)
    _check_type(affinities.dtype)
    if edge_offset not in (0, 1):
        raise DataError("no such edge_offset", expected="0 (source voxel) or 1 (destination voxel)", got=edge_offset)


def strong(values: NDArray, threshold: float) -> NDArray[np.bool_]:
    """Return which affinities of any shape are above a threshold, as `affinity_cc3d` compares them."""
    ordered, low, high = as_ordered_integers(values, threshold)
    return (ordered > low) & (ordered <= high)


def as_ordered_integers(values: NDArray, threshold: float) -> tuple[NDArray, np.generic, np.generic]:
    """View affinities as integers v in the same order, with low and high such that low < v <= high marks an edge.

    The bit patterns of non-negative floats are ordered as the floats are; negative ones are negative integers, and
    NaN lies above infinity.

    Raises
    ------
    DataError
        If they are of another type than `affinity_cc3d` takes.
    """
    _check_type(values.dtype)
    ordered = values.view(_ORDERED_BITS[values.dtype.str[1:]])
    if values.dtype.kind == "f":
        low, high = np.array([threshold, np.inf], values.dtype).view(ordered.dtype)
        return ordered, low, high
    top = 255 if values.dtype == np.uint8 else 1
    below = np.count_nonzero(np.arange(top + 1) / top <= threshold) - 1
    return ordered, np.uint8(below), np.uint8(top)


def _check_type(dtype: np.dtype) -> None:
    if dtype.str[1:] not in _ORDERED_BITS or not dtype.isnative:
        raise DataError(
            "affinities have a type that cannot be thresholded", expected="bool, uint8 or a float", got=dtype
        )
