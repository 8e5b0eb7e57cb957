"""The rules of the challenge's scorer, by version: what changes from one version to the next, and nothing else.

A new version is another entry of `METRICS`; its name goes into every result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp

import numpy as np

from connectomake.cellmap.classes import INSTANCE_CLASSES
from connectomake.config.engine.explain import nearest
from connectomake.errors import ConfigError


@dataclass(frozen=True)
class Metric:
    """One version of the challenge's metric.

    Parameters
    ----------
    version
        Commit of the toolbox.
    normalise
        Turns (N,) distances in nm into scores from 0 to 1, given the voxel size; float64.
    farthest_nm
        The distance of an object that was not found, and the largest of one that was, given shape and voxel size.
    most_per_truth
        How many times as many objects as in truth there may be, given the number in truth, before a crop is skipped.
    most_pairs
        Pairs of objects that share voxels, beyond which a crop is skipped.
    cost_steps
        Objects are paired at the least cost; that of a pair is the whole part of (1 - IoU) times this, that of a truth
        object without partner one more than this.
    instance_classes
        Classes that are scored object by object.
    """

    version: str
    normalise: Callable[[np.ndarray, Sequence[float]], np.ndarray]
    farthest_nm: Callable[[Sequence[int], Sequence[float]], float]
    most_per_truth: Callable[[int], float]
    most_pairs: int = 5_000_000
    cost_steps: int = 1_000_000
    instance_classes: frozenset[str] = field(default=frozenset(INSTANCE_CLASSES))


def find_metric(version: str) -> Metric:
    """Return a version of the metric.

    Raises
    ------
    ConfigError
        There is no such version.
    """
    if version not in METRICS:
        raise ConfigError(f"no metric {version!r}: {nearest(version, METRICS)}")
    return METRICS[version]


def _fall_by_a_hundredth(distance_nm: np.ndarray, voxel_size_zyx_nm: Sequence[float]) -> np.ndarray:
    """Divide by 1.01 for each diagonal of a voxel."""
    return 1.01 ** (-np.asarray(distance_nm, np.float64) / np.linalg.norm(voxel_size_zyx_nm))


def _half_the_shortest_side(shape_zyx: Sequence[int], voxel_size_zyx_nm: Sequence[float]) -> float:
    return min(size * n / 2 for n, size in zip(shape_zyx, voxel_size_zyx_nm, strict=True))


def _ten_and_more_for_few(n_truth: int) -> float:
    return 10 + 50 * exp(-n_truth / 5)


METRICS = {
    "6b9ad68": Metric("6b9ad68", _fall_by_a_hundredth, _half_the_shortest_side, _ten_and_more_for_few),
}
