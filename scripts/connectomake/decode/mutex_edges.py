"""The mutex watershed: edges join two objects, or forbid that they are ever joined, the surest edge first.

Wolf et al. 2018, "The Mutex Watershed"; computed by the package mwatershed (W. Patton).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from connectomake.decode.channels import Channels, to_source
from connectomake.decode.maps import as_floats, check_maps
from connectomake.errors import MissingPackageError
from connectomake.geometry import Box, Triple


def label_by_mutex(
    maps: NDArray,
    channels: Channels,
    *,
    bias_nearest: float,
    bias_long: float,
    long_stride_zyx_vx: Triple,
    foreground: float,
) -> NDArray[np.uint64]:
    """Label by the mutex watershed of all affinities.

    Parameters
    ----------
    maps
        (C, Z, Y, X) affinities.
    channels
        Their offsets.
    bias_nearest, bias_long, long_stride_zyx_vx, foreground
        As in `MutexWatershedConfig`.

    Returns
    -------
    ndarray
        (Z, Y, X), 0 where no nearest edge is above `foreground`.
    """
    check_maps(maps, channels)
    mwatershed = _import_mwatershed()
    affinities, offsets = _read_edges(maps, channels)
    inside = find_foreground(affinities, offsets, foreground)
    labels = np.zeros(inside.shape, np.uint64)
    if inside.any():
        strides = [[1, 1, 1] if is_nearest(offset) else list(long_stride_zyx_vx) for offset in offsets]
        weights = weigh_edges(affinities, offsets, bias_nearest, bias_long)
        labels = mwatershed.agglom(weights, offsets, strides=strides)
        labels[~inside] = 0
    return labels


def is_nearest(offset_zyx: Triple) -> bool:
    """Return whether an edge leads to the next voxel along one axis."""
    return sum(map(abs, offset_zyx)) == 1


def weigh_edges(
    affinities: NDArray[np.float32], offsets_zyx: Sequence[Triple], bias_nearest: float, bias_long: float
) -> NDArray[np.float64]:
    """Turn affinities into weights: above 0 joins, below forbids, the farther from 0 the earlier.

    Parameters
    ----------
    affinities
        (C, Z, Y, X) 0 to 1.
    offsets_zyx
        C offsets in voxels.
    bias_nearest, bias_long
        What is added to edges to the next voxel, and to the others.

    Returns
    -------
    ndarray
        (C, Z, Y, X) float64.
    """
    weights = affinities.astype(np.float64)
    for weight, offset in zip(weights, offsets_zyx, strict=True):
        weight += bias_nearest if is_nearest(offset) else bias_long
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
