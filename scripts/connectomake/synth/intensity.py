"""Grey values: from the range on disk to [-1, 1], in which the networks compute, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectomake.config.settings.synth import ExamplesConfig
from connectomake.errors import DataError
from connectomake.volumes.grey_values import spread_blocks
from connectomake.volumes.volume import Readable


def to_network(values: np.ndarray, intensity: tuple[float, float]) -> np.ndarray:
    """Bring grey values to [-1, 1].

    Parameters
    ----------
    values
        Grey values as they are on disk.
    intensity
        Those that become -1 and 1; beyond them, the nearest.

    Returns
    -------
    ndarray
        float32 in [-1, 1], of the same shape.
    """
    low, high = intensity
    exact = np.result_type(values.dtype, np.float32)  # float64 for what float32 would round
    scaled = (values.astype(exact) - exact.type(low)) * exact.type(2 / (high - low)) - exact.type(1)
    return np.clip(scaled, -1, 1).astype(np.float32, copy=False)


def to_disk(values: np.ndarray, intensity: tuple[float, float], dtype: npt.DTypeLike) -> np.ndarray:
    """Bring values of the networks back to grey values: the inverse of `to_network`.

    Parameters
    ----------
    values
        Floats; those beyond [-1, 1] become the nearest.
    intensity
        The grey values that -1 and 1 become.
    dtype
        Type of the result; whole numbers are rounded, and cut to what the type holds.
    """
    low, high = intensity
    grey = (np.clip(values.astype(np.float64), -1, 1) + 1) * ((high - low) / 2) + low
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu":
        return grey.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(grey), limits.min, limits.max).astype(dtype)


def find_intensity(volume: Readable, cfg: ExamplesConfig) -> tuple[float, float]:
    """Return the grey values of a volume that become -1 and 1.

    Percentiles are those of at most 64 blocks of 64^3 voxels, spread evenly; of a smaller volume, of all voxels. Where
    they are equal, the higher one is one more.

    Parameters
    ----------
    volume
        The volume.
    cfg
        What is said about grey values.

    Raises
    ------
    DataError
        Percentiles are asked for and no grey value is finite.
    """
    if cfg.intensity is not None:
        return cfg.intensity
    if cfg.percentiles is None:
        is_byte = volume.dtype.kind in "iu" and volume.dtype.itemsize == 1
        limits = np.iinfo(volume.dtype) if is_byte else None
        return (0.0, 1.0) if limits is None else (float(limits.min), float(limits.max))
    values = np.concatenate([volume.read(box).ravel() for box in spread_blocks(volume.shape_zyx, 64)])
    values = values[np.isfinite(values)]
    if not values.size:
        raise DataError(f"no grey value of {volume.source} is finite", hint="check the raw data")
    low, high = (float(value) for value in np.percentile(values, cfg.percentiles))
    return low, high if high > low else low + 1


def check_values(values: np.ndarray, where: str, intensity: tuple[float, float], cfg: ExamplesConfig) -> None:
    """Reject grey values that cannot be learnt from.

    Parameters
    ----------
    values
        Grey values as they are on disk.
    where
        What they are of, for the message.
    intensity
        The range that they should lie in.
    cfg
        Whether they may lie outside.

    Raises
    ------
    DataError
        Some are not finite; or they lie outside the range that is stated, and are not to be clipped.
    """
    least, most = float(values.min()), float(values.max())
    if not np.isfinite([least, most]).all():
        raise DataError(
            f"some grey values of {where} are not finite", hint="correct them, or leave that volume out of the data"
        )
    may_be_outside = cfg.outside == "clip" or cfg.percentiles is not None
    if may_be_outside or (intensity[0] <= least and most <= intensity[1]):
        return
    raise DataError(
        f"grey values of {where} lie outside the range that is learnt",
        expected=f"{intensity[0]:g} to {intensity[1]:g}" + ("" if cfg.intensity else ", the default for their type"),
        got=f"{least:g} to {most:g}",
        hint="set examples.intensity of the synth preset to their range, or examples.outside: clip",
    )
