"""Fill the voxels between objects in the way that the settings name."""

from __future__ import annotations

from numpy.typing import NDArray

from connectomake.config.decode import DecodeConfig
from connectomake.decode.grow import grow_objects
from connectomake.decode.watershed import fill_by_watershed


def fill_background(labels: NDArray, affinities: NDArray, cfg: DecodeConfig, *, edge_offset: int = 0) -> None:
    """Give voxels of label 0 to the objects around them, in place; nothing happens with `fill: none`.

    Parameters
    ----------
    labels
        (Z, Y, X) uint32 or uint64, 0 = to fill; modified.
    affinities
        (3, Z, Y, X) along z, y, x, as in `affinity_cc3d`.
    cfg
        Its `fill`, `fill_floor` and `fill_distance_vx`.
    edge_offset
        0: channel c at voxel p is the edge p -- p + e_c; 1: the edge p - e_c -- p.
    """
    if cfg.fill == "watershed":
        fill_by_watershed(
            labels, affinities, edge_offset=edge_offset, floor=cfg.fill_floor, distance_vx=cfg.fill_distance_vx
        )
    elif cfg.fill == "grow":
        grow_objects(labels, affinities, edge_offset=edge_offset, floor=cfg.fill_floor, rounds=cfg.fill_distance_vx)
