"""A watershed on affinities, and agglomeration of its regions by the affinities between them.

Funke et al. 2019, "Large Scale Image Segmentation with Structured Loss based Deep Learning"; the watershed is that of
Zlateski and Seung 2015. Computed by the package waterz.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from connectomake.channels import NEAREST
from connectomake.decode.channels import Channels, to_destination
from connectomake.decode.maps import as_floats, check_maps
from connectomake.errors import MissingPackageError

_INSTALL = "pip install waterz==0.10.1"


def label_by_agglomeration(
    maps: NDArray,
    channels: Channels,
    *,
    threshold: float,
    merge_function: str,
    aff_threshold_low: float,
    aff_threshold_high: float,
) -> NDArray[np.uint64]:
    """Label by watershed and agglomeration of the nearest affinities.

    Parameters
    ----------
    maps
        (C, Z, Y, X) affinities.
    channels
        Their offsets.
    threshold, merge_function, aff_threshold_low, aff_threshold_high
        As in `WaterzConfig`.

    Returns
    -------
    ndarray
        (Z, Y, X), 0 where no affinity is above `aff_threshold_low`.
    """
    check_maps(maps, channels)
    waterz = _import_waterz()
    nearest, edge_offset = channels.nearest_maps(maps)
    affinities = as_floats(nearest)
    if edge_offset == 0:
        affinities = to_destination(affinities, NEAREST)
    np.clip(affinities, 0, 1, out=affinities)
    if not affinities.any():
        return np.zeros(maps.shape[1:], np.uint64)
    watershed = (aff_threshold_low, aff_threshold_high)
    return next(_agglomerate(waterz, np.ascontiguousarray(affinities), threshold, merge_function, watershed))


def name_score(merge_function: str) -> str:
    """Return what waterz calls a score.

    Examples
    --------
    >>> name_score("aff85_his256")
    'OneMinus<HistogramQuantileAffinity<RegionGraphType, 85, ScoreValue, 256>>'
    """
    if merge_function == "mean":
        return "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"
    percent = merge_function.removeprefix("aff").removesuffix("_his256")
    return f"OneMinus<HistogramQuantileAffinity<RegionGraphType, {percent}, ScoreValue, 256>>"


def _agglomerate(
    waterz: ModuleType,
    affinities: NDArray[np.float32],
    threshold: float,
    merge_function: str,
    watershed: tuple[float, float],
) -> Iterator[NDArray[np.uint64]]:
    try:
        return waterz.agglomerate(
            affinities,
            [threshold],
            aff_threshold_low=watershed[0],
            aff_threshold_high=watershed[1],
            scoring_function=name_score(merge_function),
        )
    except Exception as error:
        # An installation without compiled scores calls a compiler here, whose errors have no class in common.
        raise MissingPackageError(
            f"this installation of waterz holds no compiled score {merge_function} and cannot compile it ({error})",
            hint=f"{_INSTALL} --only-binary waterz, whose wheels hold it, or install a C++ compiler and boost",
        ) from error


def _import_waterz() -> ModuleType:
    try:
        import waterz
    except ImportError as error:
        raise MissingPackageError(
            "decoder waterz is computed by the package waterz, which is not installed",
            hint=f"{_INSTALL}, or take another decoder",
        ) from error
    return waterz
