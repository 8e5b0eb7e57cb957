"""The decoder `affinity_cc`: components of the strong edges, without crumbs, grown together where that is asked for."""

from __future__ import annotations

from numpy.typing import NDArray

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode.channels import Channels
from connectomake.decode.components.components import affinity_cc3d
from connectomake.decode.filling.fill import fill_gaps
from connectomake.decode.registry import register_decoder


@register_decoder("affinity_cc")
def decode_affinity_cc(maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
    """Label the components of edges above a threshold, treat the small ones, fill the rest.

    Parameters, results and errors are those of `decode`; for the steps see `affinity_cc3d` and `fill_gaps`.
    Ids are in scan order of each object's first voxel before the filling.
    """
    affinities, edge_offset = channels.nearest_maps(maps)
    labels = affinity_cc3d(
        affinities,
        cfg.threshold,
        cfg.min_size_vx,
        remove_small_mode=cfg.remove_small,
        edge_offset=edge_offset,
        threads=threads,
    )
    fill_gaps(labels, maps, cfg, channels)
    return labels
