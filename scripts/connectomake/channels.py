"""Which channels a network gives, and which of them a decoder reads: known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Offset = tuple[int, int, int]
Activation = Literal["sigmoid", "tanh", "softmax", "identity"]

NEAREST: tuple[Offset, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@dataclass(frozen=True)
class Channel:
    """One channel of a network's output, and of the target that it learns.

    Parameters
    ----------
    name
        Unique within the network, such as ``affinity z+1``.
    target
        The target that it belongs to: a key of `TargetsConfig`.
    offset_zyx_vx
        Of affinities: the edge goes from a voxel to the one at this offset. None for channels of other targets.
    activation
        What turns the network's output (logits) into the quantity: ``sigmoid`` (0 to 1), ``tanh`` (-1 to 1),
        ``softmax`` over the channels of its target, or ``identity``.
    binary
        Whether the target is 0 or 1; else any number in the activation's range.
    axes
        How it changes when space is turned: "" not at all, ``z`` as the component of a vector along z, ``zy`` as that
        of a matrix; what is computed in sections across z has ``zz`` besides. Affinities have an offset instead.
    """

    name: str
    target: str
    offset_zyx_vx: Offset | None = None
    activation: Activation = "sigmoid"
    binary: bool = True
    axes: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a checkpoint or a store's attributes."""
        value = asdict(self)
        value["offset_zyx_vx"] = None if self.offset_zyx_vx is None else list(self.offset_zyx_vx)
        return value


class ChannelName(NamedTuple):
    """What a stored channel is called; of affinities also the offset of its edges, z, y, x in voxels."""

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


def name_channels(channels: Sequence[Channel]) -> list[ChannelName]:
    """Return what channels of a network are called, in order."""
    return [ChannelName(channel.name, channel.offset_zyx_vx) for channel in channels]


def store_channels(channels: Sequence[ChannelName], stored: int | tuple[int, ...] | None) -> list[ChannelName]:
    """Return channels that a prediction stores: `stored` as in `PredictConfig.channels`, less those that are not."""
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
