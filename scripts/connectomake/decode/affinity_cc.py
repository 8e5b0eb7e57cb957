"""The decoder `affinity_cc`: components of the strong edges, without crumbs, grown together where that is asked for."""

from __future__ import annotations

from numpy.typing import NDArray

from connectomake.config.decode import DecodeConfig
from connectomake.decode.components import affinity_cc3d
from connectomake.decode.registry import register_decoder
from connectomake.decode.watershed import fill_by_watershed


@register_decoder("affinity_cc")
def decode_affinity_cc(affinities: NDArray, cfg: DecodeConfig, *, edge_offset: int = 0, threads: int = 1) -> NDArray:
    """Label the components of edges above a threshold, treat the small ones, fill the rest.

    Parameters, results and errors are those of `decode`; for the steps see `affinity_cc3d` and `fill_by_watershed`.
    Ids are in scan order of each object's first voxel before the filling.
    """
    labels = affinity_cc3d(
        affinities,
        cfg.threshold,
        cfg.min_size_vx,
        remove_small_mode=cfg.remove_small,
        edge_offset=edge_offset,
        threads=threads,
    )
    if cfg.fill == "watershed":
        fill_by_watershed(
            labels, affinities, edge_offset=edge_offset, floor=cfg.fill_floor, distance_vx=cfg.fill_distance_vx
        )
    return labels
