"""A training patch while it is changed: grey values, and labels that reach further."""

from __future__ import annotations

from collections.abc import Callable
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
        (Z, Y, X) signed integers, 0 = background, -1 = unknown: the same voxels, and some around them.
    before_zyx
        How many voxels of `labels` lie before the first one of `raw` (z, y, x).
    grey_range
        What the range of the raw data's type has become, such as 255 / sd; 1 where that is not known.
    grey_black
        What a grey value of 0 has become.
    partner
        Reads another patch of the training data with raw of the same shape, for mixup.
    """

    raw: np.ndarray
    labels: np.ndarray
    before_zyx: Triple
    grey_range: float = 1.0
    grey_black: float = 0.0
    partner: Callable[[], Patch] | None = None

    @property
    def box(self) -> Box:
        """Where `raw` lies in `labels`."""
        return Box((0, 0, 0), self.raw.shape[1:]).shift(self.before_zyx)
