"""Spoil sections (z planes) as cutting and imaging do: brightness, charging, misalignment, loss.

Only the image changes. Labels, organelles and skeletons stay the truth of the undamaged volume, as if an annotator had
seen through it.
"""

from __future__ import annotations

import numpy as np

from connectomake.config.settings.phantom import DefectConfig

_STRIPE_VX = 3.0  # sd of a charging stripe across


def spoil_sections(raw: np.ndarray, cfg: DefectConfig, seed: int) -> None:
    """Add defects to a volume, one section after another; every section has random numbers of its own.

    Parameters
    ----------
    raw
        (Z, Y, X) uint8, changed in place.
    cfg
        What goes wrong and how often; with the default settings nothing does.
    seed
        Number that the result depends on.
    """
    if cfg == DefectConfig():
        return
    for z, section in enumerate(raw):
        section[...] = _spoil(section, cfg, np.random.default_rng([seed, 7, z]))


def _spoil(section: np.ndarray, cfg: DefectConfig, rng: np.random.Generator) -> np.ndarray:
    lost, dark, striped = rng.random(3) < (cfg.missing, cfg.dark, cfg.stripes)
    shift = np.rint(rng.normal(0.0, 1.0, 2) * cfg.shift_vx).astype(int)
    gain, offset = 1 + cfg.contrast_jitter * rng.standard_normal(), cfg.brightness_jitter * rng.standard_normal()
    if lost:
        return np.zeros_like(section)
    image = move(section, shift).astype(np.float32)
    mean = image.mean()
    image = mean + gain * (image - mean) + offset
    if dark:
        image = 25 + 0.35 * image
    if striped:
        image += draw_stripes(len(section), rng)[:, None]
    return np.clip(np.rint(image), 1, 255).astype(np.uint8)


def move(section: np.ndarray, shift_yx_vx: np.ndarray) -> np.ndarray:
    """Shift an image by whole voxels; what comes in at a side repeats the edge."""
    rows, columns = (np.clip(np.arange(n) - by, 0, n - 1) for n, by in zip(section.shape, shift_yx_vx, strict=True))
    return section[rows][:, columns]


def draw_stripes(height: int, rng: np.random.Generator) -> np.ndarray:
    """Draw bright bands across the scan: (height,) float32 grey values to add to each row."""
    rows = np.arange(height)
    bands = np.zeros(height, np.float32)
    for _ in range(max(1, round(height * rng.uniform(0.01, 0.03)))):
        bands += rng.uniform(15, 60) * np.exp(
            -0.5 * ((rows - rng.uniform(0, height)) / rng.uniform(1, _STRIPE_VX)) ** 2
        )
    return bands
