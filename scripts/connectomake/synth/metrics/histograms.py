"""Grey values of volumes: their histogram, mean, spread, and how rough their texture is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

BINS = 256


@dataclass(frozen=True)
class Look:
    """The grey values of one volume, which lie in [-1, 1].

    Parameters
    ----------
    histogram
        (256,) float64: the share of voxels in each of 256 equal steps from -1 to 1.
    mean, std
        Of all voxels.
    gradient
        Mean length of the gradient, per voxel: how rough the texture is.
    """

    histogram: np.ndarray
    mean: float
    std: float
    gradient: float


def look_at(image: np.ndarray) -> Look:
    """Measure the grey values of an image (Z, Y, X) float32 in [-1, 1]; takes two more of its size."""
    counts, _ = np.histogram(image, BINS, (-1, 1))
    inner = tuple(slice(0, n - 1 if n > 1 else n) for n in image.shape)
    squares = np.zeros([part.stop for part in inner], np.float32)
    for axis, side in enumerate(image.shape):
        if side > 1:
            where = tuple(slice(None) if a == axis else part for a, part in enumerate(inner))
            squares += np.square(np.diff(image[where], axis=axis))
    np.sqrt(squares, out=squares)
    numbers = (function(dtype=np.float64) for function in (image.mean, image.std, squares.mean))
    return Look(counts / image.size, *map(float, numbers))


def histogram_distance(x: Sequence[Look], y: Sequence[Look]) -> float:
    """Return Wasserstein's distance between the mean histograms of two sets of volumes, in [0, 2].

    It is how far, on average, grey values would have to move for the one to become the other. NaN of an empty set.
    """
    if not x or not y:
        return nan
    difference = np.mean([look.histogram for look in x], 0) - np.mean([look.histogram for look in y], 0)
    return float(np.abs(np.cumsum(difference)).sum() * 2 / BINS)
