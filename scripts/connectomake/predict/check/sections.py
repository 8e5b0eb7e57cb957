"""Planes that fall out of line with their neighbours, and means that drift from one end to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MEDIAN_VX = 21  # planes of the running median: up to ten bad ones in a row stand out
SD_PER_MAD = 1.4826  # of a normal distribution
JUMP_DEVIATIONS, JUMP_SHARE = 8.0, 0.05  # beyond both: so many deviations, and this share of the range of values
DRIFT_SHARE, DRIFT_RELATIVE, DRIFT_DEVIATIONS = 0.05, 0.25, 2.0  # likewise; relative to the mean
DRIFT_BINS = 200
FEWEST_PLANES = 8  # fewer say nothing


class Jump(NamedTuple):
    """Planes next to each other that are out of line: the first and the last, and the one that is most."""

    first: int
    last: int
    worst: int
    mean: float
    usual: float
    deviations: float


@dataclass(frozen=True)
class Drift:
    """A straight line through the means: where it begins and ends, and whether that is more than scatter."""

    start: float
    end: float
    is_large: bool

    @property
    def percent(self) -> float | None:
        """The change from the first to the last plane, relative to the middle; None where that is 0."""
        middle = (self.start + self.end) / 2
        return None if middle == 0 else 100 * (self.end - self.start) / abs(middle)


def find_jumps(means: np.ndarray, span: float) -> list[Jump]:
    """Find planes whose mean differs from the running median of those around, a drift taken off.

    Parameters
    ----------
    means
        (planes,) float; NaN takes no part.
    span
        The width of the range of values.

    Returns
    -------
    list of Jump
        In order. Deviations are counted in standard deviations, as the median absolute deviation of all planes tells
        it, which bad planes do not change.
    """
    from scipy.ndimage import median_filter

    at, drift = np.flatnonzero(np.isfinite(means)), fit_drift(means, span)
    if drift is None:
        return []
    known = means[at]
    line = np.interp(at, at[[0, -1]], [drift.start, drift.end])  # taken off, lest the ends of a slope stand out
    usual = line + median_filter(known - line, MEDIAN_VX, mode="reflect")
    away = known - usual
    limit, deviation = JUMP_SHARE * span, SD_PER_MAD * float(np.median(np.abs(away)))
    bad = np.flatnonzero(np.abs(away) > max(limit, JUMP_DEVIATIONS * deviation))
    jumps = []
    for run in np.split(bad, np.flatnonzero(np.diff(at[bad]) > 1) + 1) if len(bad) else []:
        worst = run[np.argmax(np.abs(away[run]))]
        count = abs(away[worst]) / max(deviation, limit / JUMP_DEVIATIONS)
        first, last, place = (int(at[i]) for i in (run[0], run[-1], worst))
        jumps.append(Jump(first, last, place, float(known[worst]), float(usual[worst]), float(count)))
    return jumps


def fit_drift(means: np.ndarray, span: float) -> Drift | None:
    """Lay a line through the means of planes that a few bad ones do not turn (Theil 1950, Sen 1968).

    Parameters
    ----------
    means
        (planes,) float; NaN takes no part.
    span
        The width of the range of values.

    Returns
    -------
    Drift or None
        None where there are too few planes.
    """
    from scipy.stats import theilslopes

    at = np.flatnonzero(np.isfinite(means))
    if len(at) < FEWEST_PLANES:
        return None
    bins = np.array_split(at, min(len(at), DRIFT_BINS))  # the slopes of all pairs of planes would be millions
    x, y = (np.array([np.median(values[part]) for part in bins]) for values in (np.arange(len(means)), means))
    slope, intercept, *_ = theilslopes(y, x)
    start, end = float(intercept + slope * at[0]), float(intercept + slope * at[-1])
    scatter = SD_PER_MAD * float(np.median(np.abs(y - intercept - slope * x)))
    least = max(DRIFT_SHARE * span, DRIFT_RELATIVE * abs(start + end) / 2, DRIFT_DEVIATIONS * scatter)
    return Drift(start, end, abs(end - start) > least)
