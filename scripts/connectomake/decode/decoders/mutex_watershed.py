"""The decoder `mutex_watershed`: edges join two objects, or forbid that they are ever joined, the surest edge first.

Wolf et al. 2018, "The Mutex Watershed"; computed by the package mwatershed (W. Patton).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import MutexWatershedConfig
from connectomake.decode.channels import Channels, to_source
from connectomake.decode.filling.fill import fill_gaps
from connectomake.decode.maps import as_floats, check_maps
from connectomake.decode.postprocess import drop_small
from connectomake.decode.registry import register_decoder
from connectomake.errors import MissingPackageError
from connectomake.geometry import Box, Triple


@register_decoder("mutex_watershed")
def decode_mutex_watershed(maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
    """Label by the mutex watershed of all affinities, treat small objects, fill the rest.

    Affinity plus bias is the weight of an edge. Edges are taken by falling absolute weight: one above 0 joins the
    objects of its two ends unless that is forbidden, any other forbids it. Among equal weights, which uint8 has many
    of, mwatershed's own order decides, the same in every run; no noise is added.

    Parameters, results and errors are those of `decode`; `maps` are affinities, `channels` names their offsets. A voxel
    none of whose nearest edges is above `foreground` is background, as is an object of one voxel. One thread.

    Notes
    -----
    Time and memory grow with the edges: with six channels about 4 microseconds and 450 bytes a voxel.
    """
    check_maps(maps, channels)
    mwatershed = _import_mwatershed()
    own = cfg.mutex_watershed
    affinities, offsets = _read_edges(maps, channels)
    inside = find_foreground(affinities, offsets, own.foreground)
    labels = np.zeros(inside.shape, np.uint64)
    if inside.any():
        strides = [[1, 1, 1] if is_nearest(offset) else list(own.long_stride_zyx_vx) for offset in offsets]
        labels = mwatershed.agglom(weigh_edges(affinities, offsets, own), offsets, strides=strides)
        labels[~inside] = 0
    labels = drop_small(labels, cfg)
    fill_gaps(labels, maps, cfg, channels)
    return labels


def is_nearest(offset_zyx: Triple) -> bool:
    """Return whether an edge leads to the next voxel along one axis."""
    return sum(map(abs, offset_zyx)) == 1


def weigh_edges(
    affinities: NDArray[np.float32], offsets_zyx: Sequence[Triple], cfg: MutexWatershedConfig
) -> NDArray[np.float64]:
    """Turn affinities into weights: above 0 joins, below forbids, the farther from 0 the earlier.

    Parameters
    ----------
    affinities
        (C, Z, Y, X) 0 to 1.
    offsets_zyx
        C offsets in voxels.
    cfg
        Its `bias_nearest` and `bias_long`.

    Returns
    -------
    ndarray
        (C, Z, Y, X) float64.
    """
    weights = affinities.astype(np.float64)
    for weight, offset in zip(weights, offsets_zyx, strict=True):
        weight += cfg.bias_nearest if is_nearest(offset) else cfg.bias_long
    return weights


def find_foreground(
    affinities: NDArray[np.floating], offsets_zyx: Sequence[Triple], threshold: float
) -> NDArray[np.bool_]:
    """Mark the voxels that have an edge to a next voxel above a threshold.

    Parameters
    ----------
    affinities
        (C, Z, Y, X) in the source convention.
    offsets_zyx
        C offsets in voxels, each shorter than the volume; those that are no unit steps are passed over.
    threshold
        0 to 1.

    Returns
    -------
    ndarray
        (Z, Y, X) bool.
    """
    inside = np.zeros(affinities.shape[1:], bool)
    volume = Box.of_shape(inside.shape)
    for affinity, offset in zip(affinities, offsets_zyx, strict=True):
        if not is_nearest(offset):
            continue
        starts = volume.intersect(volume.shift([-step for step in offset]))
        strong = affinity[starts.slices] > threshold
        inside[starts.slices] |= strong
        inside[starts.shift(offset).slices] |= strong
    return inside


def _read_edges(maps: NDArray, channels: Channels) -> tuple[NDArray[np.float32], list[Triple]]:
    """Return affinities in the source convention, without channels whose edges are as long as the volume.

    Those have no edge inside it, and mwatershed stops there.
    """
    offsets = [offset or (0, 0, 0) for offset in channels.offsets_zyx]
    used = [c for c, o in enumerate(offsets) if all(abs(step) < n for step, n in zip(o, maps.shape[1:], strict=True))]
    offsets = [offsets[c] for c in used]
    affinities = as_floats(maps if len(used) == len(maps) else maps[used])
    return to_source(affinities, offsets) if channels.edge_offset else affinities, offsets


def _import_mwatershed() -> ModuleType:
    try:
        import mwatershed  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingPackageError(
            "decoder mutex_watershed is computed by mwatershed, which is not installed",
            hint="pip install mwatershed==0.5.4, or take another decoder",
        ) from error
    return mwatershed
