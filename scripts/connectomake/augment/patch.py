"""A training patch while it is changed: grey values, and labels that reach further."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectomake.geometry import Box, Triple


@dataclass
class Patch:
    """Grey values and labels of one place; both arrays are changed in place or replaced.

    Parameters
    ----------
    raw
        (C, Z, Y, X) float32, normalised: 0 is the mean of the training data, 1 its standard deviation.
    labels
        (Z, Y, X) int64, 0 = background, -1 = unknown: the same voxels, and some around them.
    before_zyx
        How many voxels of `labels` lie before the first one of `raw` (z, y, x).
    """

    raw: np.ndarray
    labels: np.ndarray
    before_zyx: Triple

    @property
    def box(self) -> Box:
        """Where `raw` lies in `labels`."""
        return Box((0, 0, 0), self.raw.shape[1:]).shift(self.before_zyx)
