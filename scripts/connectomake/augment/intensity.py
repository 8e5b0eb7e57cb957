"""Grey values: contrast, brightness, noise, blanked boxes."""

from __future__ import annotations

import numpy as np

from connectomake.augment.patch import Patch
from connectomake.config.augment import CutoutConfig, IntensityConfig, NoiseConfig


def change_intensity(patch: Patch, cfg: IntensityConfig, rng: np.random.Generator) -> None:
    """Scale and shift all grey values, as BANIS does; `patch.raw` is changed in place."""
    patch.raw *= np.float32(rng.uniform(1 - cfg.scale, 1 + cfg.scale))
    patch.raw += np.float32(rng.uniform(-cfg.shift, cfg.shift))


def add_noise(patch: Patch, cfg: NoiseConfig, rng: np.random.Generator) -> None:
    """Add Gaussian noise of a strength drawn for the patch; `patch.raw` is changed in place."""
    strength = np.float32(rng.uniform(0, cfg.strength))
    patch.raw += strength * rng.standard_normal(patch.raw.shape, np.float32)


def cut_out(patch: Patch, cfg: CutoutConfig, rng: np.random.Generator) -> None:
    """Fill a box with the mean grey value (0); `patch.raw` is changed in place (DeVries & Taylor 2017)."""
    sides = [int(rng.integers(1, max(1, int(cfg.size * n)) + 1)) for n in patch.raw.shape[1:]]
    starts = [int(rng.integers(0, n - side + 1)) for n, side in zip(patch.raw.shape[1:], sides, strict=True)]
    box = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    patch.raw[(slice(None), *box)] = 0
