"""The decoders that settings can name, and what is known of each before anything runs.

A new decoder is a file that declares its `Decoder`, and its line in `DECODERS`. The file is read with the settings, so
it imports numpy, numba and the like within its function, or has another module do the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from connectomake.channels import ChannelName
from connectomake.config.section import Section, changed_keys
from connectomake.registry import Registry

Find = Callable[[Any, Sequence[ChannelName]], tuple[int, ...] | None]
"""Finds the channels that a decoder reads, from its own section of settings (None without) and those that there are."""

NEAREST_AFFINITIES = "the affinities to the next voxel along z, y and x"
SIZE = frozenset({"min_size_vx", "remove_small"})
FILL = frozenset({"fill", "fill_floor", "fill_distance_vx"})


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Something that turns affinities, or other maps, into labels.

    Parameters
    ----------
    summary
        What it does, in a few words, for the table of settings.
    decode
        The function, as `connectomake.decode.registry.DecodeFunction`.
    reads
        The channels that it reads, as errors say it.
    find_channels
        Finds them.
    shared
        Which of the settings that decoders share it reads: of `SIZE`, `FILL` and ``threshold``.
    mvoxel_per_s
        Speed on one core (million voxels a second), as measured.
    bytes_per_voxel
        What it takes beyond maps and labels, as measured.
    blocks
        Whether it works block by block: ``exact`` = its objects are the components of edges above `threshold`, which
        blocks join by the edges between them; ``halo`` = it must see beyond its blocks, and objects are joined where
        two blocks agree; ``no`` = it needs the whole volume.
    settings
        Its own section of `DecodeConfig`, under its name; None where it has none.
    check
        Raises ValueError where settings that are right by themselves do not go with it.
    ids_tell_class
        Whether ids hold the class of an object too, so that the largest one is not their number.
    """

    summary: str
    decode: Callable[..., Any]
    reads: str
    find_channels: Find
    shared: frozenset[str]
    mvoxel_per_s: float
    bytes_per_voxel: int = 0
    blocks: Literal["exact", "halo", "no"] = "halo"
    settings: type[Section] | None = None
    check: Callable[[Any], None] | None = None
    ids_tell_class: bool = False


DECODERS: Registry[Decoder] = Registry(
    "decoder",
    {
        "affinity_cc": "connectomake.decode.decoders.affinity_cc:DECODER",
        "mutex_watershed": "connectomake.decode.decoders.mutex_watershed:DECODER",
        "waterz": "connectomake.decode.decoders.waterz:DECODER",
        "seeded_watershed": "connectomake.decode.decoders.seeded_watershed:DECODER",
        "flow": "connectomake.decode.decoders.flow:DECODER",
        "semantic": "connectomake.decode.decoders.semantic:DECODER",
    },
)


def find_idle_key(decoder: str, settings: Section) -> str | None:
    """Return a setting that was changed though the decoder does not read it; None where there is none.

    Parameters
    ----------
    decoder
        Its name.
    settings
        Of the decode stage.
    """
    idle = frozenset().union(*(each.shared for each in DECODERS.values())) - DECODERS[decoder].shared
    for key in changed_keys(settings):
        top = key.partition(".")[0]
        if top in idle or (top in DECODERS and top != decoder):
            return key
    return None
