"""Numbers of many candidates on many volumes: pooled over volumes, put into one table, and the best of them chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, isnan, nan
from typing import Any

import numpy as np

Candidate = Mapping[str, Any]
"""Dotted decode key -> value."""
Numbers = Mapping[str, float]
"""Metrics of one candidate on one volume, by the names of the measure stage."""

POOLED = "all"
_HEAD = ("nerl", "erl", "voi_split", "voi_merge", "voi_sum", "n_splits", "n_mergers", "n_non0_mergers")


def pool(numbers: Sequence[Numbers]) -> dict[str, float]:
    """Join the numbers of one candidate on all volumes.

    Counts (`n_...`) and `total_length` are added up. All else is a mean over volumes, weighted by the voxels compared
    for metrics of voxels, by the length of path for metrics of skeletons. A volume that lacks a number is left out of
    its mean; one where it is NaN makes the mean NaN, if the volume has any weight.
    """
    names = dict.fromkeys(name for found in numbers for name in found)
    return {name: _pool_one(name, [found for found in numbers if name in found]) for name in names}


def choose(values: Sequence[float], highest: bool, places: Sequence[float] | None = None) -> int:
    """Choose the best of some values; NaN is never the best.

    Parameters
    ----------
    values
        One per candidate.
    highest
        Whether the highest is best, else the lowest.
    places
        Where the candidates lie on an axis, ascending. Of equal best values that follow one another, the one nearest to
        the middle of the longest stretch is chosen: it stays best when the data change a little. By default the first.

    Returns
    -------
    int
        The index; -1 where there is nothing but NaN.
    """
    signed = np.asarray(values, float) * (1 if highest else -1)
    if np.isnan(signed).all():
        return -1
    best = np.nanmax(signed)
    good = np.isclose(signed, best, rtol=1e-12, atol=1e-12)
    if places is None:
        return int(np.flatnonzero(good)[0])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]])))
    stretches = edges.reshape(-1, 2)
    extent = [places[end - 1] - places[begin] for begin, end in stretches]
    begin, end = stretches[int(np.argmax(extent))]
    middle = (places[begin] + places[end - 1]) / 2
    return int(begin + np.argmin(np.abs(np.asarray(places[begin:end]) - middle)))


def tabulate(
    keys: Sequence[str],
    candidates: Sequence[Candidate],
    volumes: Sequence[str],
    numbers: Sequence[Sequence[Numbers]],
    pooled: Sequence[Numbers],
) -> dict[str, list[Any]]:
    """Make a table of one row for each candidate and volume, with a row `all` after the volumes of each candidate.

    Parameters
    ----------
    keys
        The settings that were tried; one column each, then `volume`, then the metrics.
    candidates
        What was tried, in the order of rows.
    volumes
        Names, in the order of rows.
    numbers
        For each candidate, the metrics on each volume.
    pooled
        For each candidate, the metrics over all.
    """
    rows = [
        ({**candidate, "volume": volume}, found)
        for candidate, of_volumes, of_all in zip(candidates, numbers, pooled, strict=True)
        for volume, found in zip([*volumes, POOLED], [*of_volumes, of_all], strict=True)
    ]
    known = dict.fromkeys(name for _, found in rows for name in found)
    metrics = [name for name in _HEAD if name in known] + [name for name in known if name not in _HEAD]
    table = {name: [row[name] for row, _ in rows] for name in (*keys, "volume")}
    return table | {name: [found.get(name) for _, found in rows] for name in metrics}


def _pool_one(name: str, numbers: Sequence[Numbers]) -> float:
    values = [found[name] for found in numbers]
    if name.startswith("n_") or name == "total_length":
        return sum(values)
    along_path = name.startswith(("nerl", "erl", "max_erl", "voi_"))
    weights = [found["total_length" if along_path else "n_truth_voxels"] for found in numbers]
    used = [(value, weight) for value, weight in zip(values, weights, strict=True) if weight > 0]
    if not used or any(isnan(value) for value, _ in used):
        return nan
    mean = sum(value * weight for value, weight in used) / sum(weight for _, weight in used)
    return mean if isfinite(mean) else nan
