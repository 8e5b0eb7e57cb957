"""What decoders do with the maps of a network before anything else: check them, and read them as numbers."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import DTypeLike, NDArray

from connectomake.decode.channels import Channels
from connectomake.errors import DataError

log = logging.getLogger(__name__)


def check_maps(maps: NDArray, channels: Channels) -> None:
    """Reject maps that are not what `channels` describes.

    Raises
    ------
    DataError
        Where `maps` is not (C, Z, Y, X) with one channel for each name, of bool, uint8 or floats.
    """
    count = len(channels.names)
    if maps.ndim != 4 or len(maps) != count:
        raise DataError("maps have the wrong shape", expected=f"(C, Z, Y, X) with C = {count}", got=maps.shape)
    if maps.dtype.kind not in "bf" and maps.dtype != np.uint8:
        raise DataError("maps have a type that cannot be decoded", expected="bool, uint8 or a float", got=maps.dtype)


def as_floats(maps: NDArray, dtype: DTypeLike = np.float32, *, activation: str = "sigmoid") -> NDArray:
    """Copy maps as floats, NaN as 0 (with a warning in the log).

    Parameters
    ----------
    maps
        Of any shape; uint8, bool or floats.
    dtype
        The type wanted.
    activation
        What the maps went through before they were stored as uint8: 0 to 255 is -1 to 1 after ``tanh``, else 0 to 1.
    """
    values = maps.astype(dtype)
    if maps.dtype == np.uint8 and activation == "tanh":
        values /= 127.5
        values -= 1
    elif maps.dtype == np.uint8:
        values /= 255
    elif maps.dtype.kind == "f":
        unknown = np.isnan(values)
        if unknown.any():
            log.warning("%d of %d values are NaN; they are taken as 0", np.count_nonzero(unknown), values.size)
            values[unknown] = 0
    return values
