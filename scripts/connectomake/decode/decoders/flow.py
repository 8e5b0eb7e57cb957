"""The decoder `flow`: foreground voxels that flow to the same place are one object (after Cellpose)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from connectomake.channels import ChannelName, find_named
from connectomake.config.section import Section
from connectomake.config.settings.decode_decoders import SIZE, Decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectomake.config.settings.decode import DecodeConfig
    from connectomake.decode.channels import Channels

Probability = Annotated[float, Field(ge=0, lt=1)]


class FlowDecoderConfig(Section):
    """Voxels that flow to the same place are one object (Cellpose); of flows in space, or within sections."""

    foreground: Probability = Field(0.5, description="an object is where the foreground (binary) is above this")
    least_length: float = Field(
        0.2, ge=0, le=1, description="a voxel whose vector is shorter than this (0 to 1) is an end of ways"
    )
    gather_vx: int = Field(
        2, ge=1, description="ends of ways within so many voxels of each other along each axis belong to one object"
    )
    stitch_iou: float = Field(
        0.25,
        gt=0,
        le=1,
        description="for flows within sections: objects of neighbouring sections are one where they share at least "
        "this part of the voxels of both (0 to 1)",
    )


def _find_flow(own: FlowDecoderConfig, channels: Sequence[ChannelName]) -> tuple[int, ...] | None:
    in_section = ("flow y", "flow x")
    return find_named(channels, ("binary", "flow z", *in_section)) or find_named(channels, ("binary", *in_section))


def decode_flow(maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
    """Label voxels by where they flow to, and treat small objects.

    Parameters, results and errors are those of `decode`; `channels` names the maps binary, flow z (unless the flows are
    within sections), flow y and flow x, the last three in -1..1.

    Notes
    -----
    The vectors are read by all threads, the rest takes one; about 20 bytes a voxel.
    """
    from connectomake.decode.flow_basins import choose_moves, follow_moves, join_sinks, stitch_sections
    from connectomake.decode.maps import as_floats, check_maps
    from connectomake.decode.postprocess import drop_small

    check_maps(maps, channels)
    own = cfg.own(FlowDecoderConfig)
    foreground = as_floats(maps[0]) > own.foreground
    moves = choose_moves(maps[1:], foreground, channels, own.least_length, threads)
    basins, sinks, basin_of_sink = follow_moves(moves)
    is_2d = len(maps) == 3
    labels = join_sinks(basins, sinks, basin_of_sink, own.gather_vx, is_2d)
    if is_2d:
        labels = stitch_sections(labels, own.stitch_iou)
    return drop_small(labels, cfg)


DECODER = Decoder(
    summary="along the flows to the middle of objects",
    decode=decode_flow,
    reads="channels named binary and flow y, flow x (and flow z, of flows in space)",
    find_channels=_find_flow,
    shared=SIZE,
    settings=FlowDecoderConfig,
    mvoxel_per_s=10.0,
    bytes_per_voxel=20,
)
