"""The decoder `affinity_cc`: components of the strong edges, without crumbs, grown together where that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectomake.channels import find_nearest
from connectomake.config.settings.decode_decoders import FILL, NEAREST_AFFINITIES, SIZE, Decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectomake.config.settings.decode import DecodeConfig
    from connectomake.decode.channels import Channels


def decode_affinity_cc(maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
    """Label the components of edges above a threshold, treat the small ones, fill the rest.

    Parameters, results and errors are those of `decode`; for the steps see `affinity_cc3d` and `fill_gaps`.
    Ids are in scan order of each object's first voxel before the filling.
    """
    from connectomake.decode.components.components import affinity_cc3d
    from connectomake.decode.filling.fill import fill_gaps

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


DECODER = Decoder(
    summary="connected components of the edges to the nearest voxels (in blocks too)",
    decode=decode_affinity_cc,
    reads=NEAREST_AFFINITIES,
    find_channels=lambda own, channels: find_nearest(channels),
    shared=SIZE | FILL | {"threshold"},
    mvoxel_per_s=20.0,
    blocks="exact",
)
