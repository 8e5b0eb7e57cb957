"""Affinities as 256 levels, the form in which objects are filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 256


def to_levels(affinities: NDArray) -> NDArray[np.uint8]:
    """Give round(255 p) of (C, Z, Y, X) affinities, clipped to 0..255, NaN as 0; uint8 is handed back as it is."""
    if affinities.dtype == np.uint8:
        return affinities
    levels = np.empty(affinities.shape, np.uint8)
    for plane in np.ndindex(affinities.shape[:2]):  # one by one: the rounding works in floats
        levels[plane] = np.rint(255 * np.clip(np.nan_to_num(affinities[plane].astype(np.float32)), 0, 1))
    return levels
