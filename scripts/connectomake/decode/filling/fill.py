"""Fill the voxels between objects in the way that the settings name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode.channels import Channels
from connectomake.decode.filling.grow import grow_objects
from connectomake.decode.filling.watershed import fill_by_watershed


def fill_gaps(labels: NDArray[np.unsignedinteger], maps: NDArray, cfg: DecodeConfig, channels: Channels) -> None:
    """Fill the background as `fill` says, in place, by those channels of `maps` that are nearest affinities.

    Parameters
    ----------
    labels
        (Z, Y, X) uint32 or uint64; modified.
    maps
        (C, Z, Y, X) as a decoder gets them.
    cfg
        Its `fill`, `fill_floor` and `fill_distance_vx`.
    channels
        What the channels of `maps` are.
    """
    if cfg.fill == "none":
        return
    affinities, edge_offset = channels.nearest_maps(maps)
    if cfg.fill == "watershed":
        fill_by_watershed(
            labels, affinities, edge_offset=edge_offset, floor=cfg.fill_floor, distance_vx=cfg.fill_distance_vx
        )
    else:
        grow_objects(labels, affinities, edge_offset=edge_offset, floor=cfg.fill_floor, rounds=cfg.fill_distance_vx)
