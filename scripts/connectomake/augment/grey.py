"""Grey values: contrast, brightness, noise; and the unit in which settings give their amounts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit

from connectomake.augment.patch import Patch
from connectomake.config.settings.augment import BrightnessConfig, ContrastConfig, IntensityConfig, NoiseConfig

_STEP, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_LEVELS = 1 << 16


@dataclass(frozen=True)
class GreyScale:
    """What settings mean by an amount of grey.

    Parameters
    ----------
    unit
        What an amount of 1 is in normalised grey values.
    zero
        The normalised grey value that a change of contrast leaves as it is.
    black, range
        What 0 and the range of the raw data's type have become.
    """

    unit: float
    zero: float
    black: float
    range: float

    @classmethod
    def of(cls, patch: Patch, unit: str) -> GreyScale:
        """Return the scale of a patch in a `grey_unit`: sd (about the mean) or range (about black)."""
        unit_and_zero = (patch.grey_range, patch.grey_black) if unit == "range" else (1.0, 0.0)
        return cls(*unit_and_zero, patch.grey_black, patch.grey_range)

    def fill(self, kind: str, rng: np.random.Generator) -> np.float32:
        """Return the grey value of what is lost: the mean, black, or one drawn evenly from the type's range."""
        drawn = self.black + rng.random() * self.range
        return np.float32({"mean": 0.0, "black": self.black, "random": drawn}[kind])


def change_brightness(patch: Patch, cfg: BrightnessConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Shift all grey values; `patch.raw` is changed in place, labels stay."""
    patch.raw += np.float32(rng.uniform(-cfg.shift, cfg.shift) * grey.unit)


def change_contrast(patch: Patch, cfg: ContrastConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Scale all grey values; `patch.raw` is changed in place, labels stay."""
    _scale(patch.raw, rng.uniform(1 - cfg.scale, 1 + cfg.scale), 0.0, grey)


def change_intensity(patch: Patch, cfg: IntensityConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Scale and shift all grey values, as BANIS does; `patch.raw` is changed in place, labels stay."""
    scale = rng.uniform(1 - cfg.scale, 1 + cfg.scale)
    _scale(patch.raw, scale, rng.uniform(-cfg.shift, cfg.shift) * grey.unit, grey)


def add_noise(patch: Patch, cfg: NoiseConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Add Gaussian noise of a strength drawn for the patch; `patch.raw` is changed in place, labels stay."""
    strength = rng.uniform(0, cfg.strength) * grey.unit
    patch.raw = np.ascontiguousarray(patch.raw)
    key = rng.integers(0, 2**64, dtype=np.uint64)
    _add_gaussian(patch.raw.reshape(-1), np.float32(strength), key, normal_quantiles())


def _scale(raw: np.ndarray, scale: float, shift: float, grey: GreyScale) -> None:
    raw *= np.float32(scale)
    raw += np.float32(shift + grey.zero * (1 - scale))


@cache
def normal_quantiles() -> np.ndarray:
    """Return 65536 equally likely values (65536,) float32 whose distribution is normal, with sd 1, up to 4.3 sd."""
    from scipy.special import ndtri

    values = ndtri((np.arange(_LEVELS) + 0.5) / _LEVELS)
    return (values / values.std()).astype(np.float32)


@njit(cache=True, nogil=True)
def _add_gaussian(values: np.ndarray, strength: np.float32, key: np.uint64, quantiles: np.ndarray) -> None:
    """Add noise to `values` (N,) float32, four from each 64 bit word of a counter-based generator.

    The words are those of splitmix64 (Steele et al. 2014) from the state `key`: several times as fast as drawing from
    numpy's generator.
    """
    for i in range((values.size + 3) // 4):
        word = key + np.uint64(i) * np.uint64(_STEP)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(_MIX1)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(_MIX2)
        word ^= word >> np.uint64(31)
        for k in range(min(4, values.size - 4 * i)):
            values[4 * i + k] += strength * quantiles[(word >> np.uint64(16 * k)) & np.uint64(_LEVELS - 1)]
