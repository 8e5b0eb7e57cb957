"""The decoder `waterz`: a watershed on affinities, and agglomeration of its regions by the affinities between them.

Funke et al. 2019, "Large Scale Image Segmentation with Structured Loss based Deep Learning"; the watershed is that of
Zlateski and Seung 2015. Computed by the package waterz.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from connectomake.channels import NEAREST
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import WaterzConfig
from connectomake.decode.channels import Channels, to_destination
from connectomake.decode.filling.fill import fill_gaps
from connectomake.decode.maps import as_floats, check_maps
from connectomake.decode.postprocess import drop_small
from connectomake.decode.registry import register_decoder
from connectomake.errors import MissingPackageError

_INSTALL = "pip install waterz==0.10.1"


@register_decoder("waterz")
def decode_waterz(maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
    """Label by watershed and agglomeration of the nearest affinities, treat small objects, fill the rest.

    Parameters, results and errors are those of `decode`. The score of two regions is 1 - (a percentile or the mean of)
    the affinities between them, and pairs are merged while it is below `threshold`: a higher threshold merges more.
    A voxel without an affinity above `aff_threshold_low` is background. One thread; waterz writes what it does to the
    standard output.

    Notes
    -----
    Affinities are cut to 0..1, because the bins of a score hold nothing else. With percentiles about 2 microseconds and
    600 bytes a voxel, because each edge between two regions holds 256 bins; less than half of the time with the mean.
    """
    check_maps(maps, channels)
    waterz = _import_waterz()
    nearest, edge_offset = channels.nearest_maps(maps)
    affinities = as_floats(nearest)
    if edge_offset == 0:
        affinities = to_destination(affinities, NEAREST)
    np.clip(affinities, 0, 1, out=affinities)
    labels = np.zeros(maps.shape[1:], np.uint64)
    if affinities.any():
        labels = next(_agglomerate(waterz, np.ascontiguousarray(affinities), cfg.waterz))
    labels = drop_small(labels, cfg)
    fill_gaps(labels, maps, cfg, channels)
    return labels


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
    waterz: ModuleType, affinities: NDArray[np.float32], cfg: WaterzConfig
) -> Iterator[NDArray[np.uint64]]:
    try:
        return waterz.agglomerate(
            affinities,
            [cfg.threshold],
            aff_threshold_low=cfg.aff_threshold_low,
            aff_threshold_high=cfg.aff_threshold_high,
            scoring_function=name_score(cfg.merge_function),
        )
    except Exception as error:
        # An installation without compiled scores calls a compiler here, whose errors have no class in common.
        raise MissingPackageError(
            f"this installation of waterz holds no compiled score {cfg.merge_function} and cannot compile it ({error})",
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
