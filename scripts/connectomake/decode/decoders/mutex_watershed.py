"""The decoder `mutex_watershed`: long-range affinities decide what must stay apart (Wolf et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from connectomake.channels import ChannelName, find_nearest
from connectomake.config.section import Section
from connectomake.config.settings.decode_decoders import FILL, NEAREST_AFFINITIES, SIZE, Decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectomake.config.settings.decode import DecodeConfig
    from connectomake.decode.channels import Channels

Probability = Annotated[float, Field(ge=0, lt=1)]
Bias = Annotated[float, Field(ge=-1, le=0)]


class MutexWatershedConfig(Section):
    """Mutex watershed: edge after edge, the surest first, joins two objects or forbids that they are ever joined."""

    bias_nearest: Bias = Field(
        -0.5,
        description="added to the affinities to the next voxels: above 0 an edge joins, below it keeps apart, and the "
        "farther from 0 the earlier; nearer to 0 = fewer splits",
    )
    bias_long: Bias = Field(
        -0.5, description="added to the long-range affinities; below bias_nearest, these keep apart more than they join"
    )
    long_stride_zyx_vx: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (1, 1, 1),
        description="long-range edges are taken at every so many voxels along z, y, x: fewer need less time and memory",
    )
    foreground: Probability = Field(
        0.5, description="a voxel is in an object only if one of its six edges to the next voxels is above this"
    )


def _find_mutex(own: MutexWatershedConfig, channels: Sequence[ChannelName]) -> tuple[int, ...] | None:
    lengths = {c: sum(map(abs, channel.offset_zyx)) for c, channel in enumerate(channels) if channel.offset_zyx}
    has_long = any(length > 1 for length in lengths.values())
    return tuple(lengths) if has_long and find_nearest(channels) else None


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
    from connectomake.decode.filling.fill import fill_gaps
    from connectomake.decode.mutex_edges import label_by_mutex
    from connectomake.decode.postprocess import drop_small

    own = cfg.own(MutexWatershedConfig)
    labels = label_by_mutex(
        maps,
        channels,
        bias_nearest=own.bias_nearest,
        bias_long=own.bias_long,
        long_stride_zyx_vx=own.long_stride_zyx_vx,
        foreground=own.foreground,
    )
    labels = drop_small(labels, cfg)
    fill_gaps(labels, maps, cfg, channels)
    return labels


DECODER = Decoder(
    summary="long-range affinities decide what must stay apart (package mwatershed)",
    decode=decode_mutex_watershed,
    reads=f"{NEAREST_AFFINITIES} and at least one long-range affinity",
    find_channels=_find_mutex,
    shared=SIZE | FILL,
    settings=MutexWatershedConfig,
    mvoxel_per_s=0.24,
    bytes_per_voxel=450,  # with six channels
)
