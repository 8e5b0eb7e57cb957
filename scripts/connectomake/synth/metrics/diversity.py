"""How much volumes differ from one another: MS-SSIM of random pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import nan

import numpy as np
import torch
from monai.metrics import MultiScaleSSIMMetric

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, finest first (Wang, Simoncelli and Bovik 2003)."""
KERNEL = 11
SMALL_KERNEL, SMALL_SCALES = 5, 3


def choose_scales(shape_zyx: Sequence[int]) -> tuple[int, int]:
    """Choose kernel (voxels) and number of scales of MS-SSIM for volumes of a shape.

    Returns
    -------
    tuple of int
        The usual 11 and 5 where each side has 176 voxels; of smaller volumes 5 and 3 from 20 voxels on, 5 and 2 from
        10, 5 and 1 from 5; 0 scales below that.
    """
    side = min(shape_zyx)
    if side >= KERNEL * (len(WEIGHTS) - 1) ** 2:  # what MONAI asks for
        return KERNEL, len(WEIGHTS)
    fits = [n for n in range(SMALL_SCALES, 0, -1) if side >= SMALL_KERNEL * 2 ** (n - 1)]
    return SMALL_KERNEL, fits[0] if fits else 0


def measure_likeness(x: np.ndarray, y: np.ndarray) -> float:
    """Return the MS-SSIM of two volumes (Z, Y, X) in [-1, 1]: 1 where they are equal; NaN where they are too small."""
    kernel, scales = choose_scales(x.shape)
    if not scales:
        return nan
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    metric = MultiScaleSSIMMetric(3, data_range=2.0, kernel_size=kernel, weights=weights.tolist())
    with torch.inference_mode():
        return float(torch.as_tensor(metric(torch.from_numpy(x)[None, None], torch.from_numpy(y)[None, None])))


def draw_pairs(count: int, most: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Draw pairs of different volumes out of `count`, each once at most: `most`, or all where there are fewer."""
    if count * (count - 1) // 2 <= most:
        return list(combinations(range(count), 2))
    drawn: set[tuple[int, int]] = set()
    while len(drawn) < most:
        a, b = sorted(map(int, generator.choice(count, 2, replace=False)))
        drawn.add((a, b))
    return sorted(drawn)


def mean_likeness(
    read: Sequence[Callable[[], np.ndarray]], most: int, generator: np.random.Generator
) -> tuple[float, int]:
    """Return mean MS-SSIM of random pairs of volumes, and how many pairs these were; two volumes are held at a time.

    Parameters
    ----------
    read
        Reads each volume, (Z, Y, X) float32 in [-1, 1]; all of one shape.
    most
        Pairs at most.
    generator
        Draws them.

    Returns
    -------
    tuple of float and int
        NaN and 0 of fewer than two volumes. High = volumes are alike; the same number of real ones says how alike they
        should be.
    """
    pairs = draw_pairs(len(read), most, generator)
    values = [measure_likeness(read[a](), read[b]()) for a, b in pairs]
    return (float(np.mean(values)) if values else nan), len(values)
