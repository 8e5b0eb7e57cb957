"""Which channels a network gives, and which of them a decoder reads: known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from connectomake.config.targets import Offset, TargetsConfig

NEAREST: tuple[Offset, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


class ChannelName(NamedTuple):
    """What a channel is called; of affinities also the offset of its edges, z, y, x in voxels."""

    name: str
    offset_zyx: Offset | None = None


def name_offset(offset_zyx: Sequence[int]) -> str:
    """Name a channel after its offset.

    Examples
    --------
    >>> name_offset((0, -10, 0)), name_offset((1, 0, 2))
    ('affinity y-10', 'affinity z+1 x+2')
    """
    return "affinity " + " ".join(f"{axis}{step:+d}" for axis, step in zip("zyx", offset_zyx, strict=True) if step)


def name_channels(targets: TargetsConfig) -> list[ChannelName]:
    """Name the channels of a network that learns these targets, in order."""
    return [ChannelName(name_offset(offset), offset) for offset in targets.affinity.offsets_zyx_vx]


def store_channels(channels: Sequence[ChannelName], stored: int | tuple[int, ...] | None) -> list[ChannelName]:
    """Give the channels that a prediction stores: `stored` as in `PredictConfig.channels`, less those that are not."""
    chosen = range(stored) if isinstance(stored, int) else stored or range(len(channels))
    return [channels[c] for c in chosen if c < len(channels)]


def find_nearest(channels: Sequence[ChannelName]) -> tuple[int, ...] | None:
    """Find the channels of the edges to the next voxel along z, y and x, all forwards or all backwards."""
    offsets = [channel.offset_zyx for channel in channels]
    for sign in (1, -1):
        wanted = [tuple(sign * step for step in unit) for unit in NEAREST]
        if all(offset in offsets for offset in wanted):
            return tuple(offsets.index(offset) for offset in wanted)  # type: ignore[arg-type]
    return None


def find_named(channels: Sequence[ChannelName], names: Sequence[str]) -> tuple[int, ...] | None:
    """Find channels by their names, in the order asked for; None where one is missing."""
    present = [channel.name for channel in channels]
    return tuple(present.index(name) for name in names) if set(names) <= set(present) else None
