"""Where a turned window holds what a channel is about.

A number that has no direction (foreground, a class) only moves with its voxel. What has a direction changes with it:

- An affinity of offset o is, in the turned window, that of the edge with the turned offset o'. If the network has a
  channel of o', this is where it is predicted. If it has one of -o', that channel holds the same edge at its other end,
  from where the value is fetched; an edge that leaves the window has no such prediction. If it has neither, the network
  says nothing about the edge in this orientation.
- The component of a vector or a matrix is another component of the turned one, and may change its sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from types import EllipsisType
from typing import NamedTuple

import torch

from connectomake.channels import Channel, Offset
from connectomake.errors import ConfigError
from connectomake.geometry import Turn, to_triple

AXES = "zyx"


class Symmetry(Turn):
    """A turn of tensors, and back."""

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Turn a (..., Z, Y, X) tensor: a copy where an axis is mirrored, else a view."""
        first = tensor.ndim - 3
        turned = tensor.permute(*range(first), *(first + axis for axis in self.order))
        dims = [first + axis for axis in range(3) if self.mirrored[axis]]
        return turned.flip(dims) if dims else turned

    def undo(self, tensor: torch.Tensor) -> torch.Tensor:
        """Turn a turned (..., Z, Y, X) tensor back: a copy where an axis is mirrored, else a view."""
        return self._inverse.apply(tensor)

    def turn(self, offset_zyx: Sequence[int]) -> Offset:
        """Return what an offset between two voxels becomes."""
        return to_triple(
            [-offset_zyx[a] if m else offset_zyx[a] for a, m in zip(self.order, self.mirrored, strict=True)]
        )

    def turn_component(self, axes: str) -> tuple[str, bool]:
        """Give, of a component along `axes` (such as "zy"), which one it becomes, and whether its sign changes."""
        turned = [self.order.index(AXES.index(axis)) for axis in axes]
        return "".join(AXES[a] for a in turned), sum(self.mirrored[a] for a in turned) % 2 == 1

    def after(self, other: Symmetry) -> Symmetry:
        """Return the symmetry that does another one first, and then this one."""
        mirrored = [m != other.mirrored[a] for a, m in zip(self.order, self.mirrored, strict=True)]
        return Symmetry(to_triple([other.order[a] for a in self.order]), (mirrored[0], mirrored[1], mirrored[2]))

    @cached_property
    def _inverse(self) -> Symmetry:
        places = to_triple([self.order.index(axis) for axis in range(3)])
        return Symmetry(places, (self.mirrored[places[0]], self.mirrored[places[1]], self.mirrored[places[2]]))


Places = dict[tuple[str, Offset | str], int]
"""Target and offset, or target and component -> channel."""

Index = slice | EllipsisType


class Source(NamedTuple):
    """Where a channel's value at a voxel is found in a prediction that has been turned back.

    Parameters
    ----------
    channel
        In which channel.
    shift_zyx
        At which offset from the voxel.
    is_negated
        Whether with the other sign.
    """

    channel: int
    shift_zyx: Offset = (0, 0, 0)
    is_negated: bool = False


def find_sources(channels: Sequence[Channel], symmetry: Symmetry, kept: Sequence[int]) -> list[Source | None]:
    """Find where a turned window holds each of some channels.

    Parameters
    ----------
    channels
        All that the network gives, with offsets in the source convention.
    symmetry
        How the window is turned.
    kept
        The channels looked for, as places in `channels`.

    Returns
    -------
    list of Source or None
        One for each of `kept`; None = nowhere.

    Raises
    ------
    ConfigError
        Two channels mean the same, so that none can be told to take the other's place.
    """
    places: Places = {}
    for number, channel in enumerate(channels):
        meaning = channel.offset_zyx_vx or _name_component(channel.axes)
        if meaning and places.setdefault((channel.target, meaning), number) != number:
            first = channels[places[channel.target, meaning]].name
            raise ConfigError(
                f"predict.tta cannot tell two channels of the network apart: {first!r} and {channel.name!r} are both "
                f"{meaning} of {channel.target}",
                hint="give each a target of its own where the network is described, or do without predict.tta",
            )
    return [_find_source(number, channels[number], symmetry, places) for number in kept]


def _find_source(number: int, channel: Channel, symmetry: Symmetry, places: Places) -> Source | None:
    if channel.offset_zyx_vx:
        offset = symmetry.turn(channel.offset_zyx_vx)
        direct = places.get((channel.target, offset))
        if direct is not None:
            return Source(direct)
        other = places.get((channel.target, to_triple([-step for step in offset])))
        return None if other is None else Source(other, channel.offset_zyx_vx)
    if not channel.axes:
        return Source(number)
    component, is_negated = symmetry.turn_component(channel.axes)
    other = places.get((channel.target, _name_component(component)))
    return None if other is None else Source(other, is_negated=is_negated)


def _name_component(axes: str) -> str:
    """Name a component in one way only: a matrix is symmetric, so that yz is zy."""
    return "".join(sorted(axes, key=AXES.index))


def stand_at_source(channel: Channel, edge_convention: str) -> Channel:
    """Describe a channel in the source convention: what stands at the end of its edge starts there, backwards."""
    if edge_convention == "source" or not channel.offset_zyx_vx:
        return channel
    return replace(channel, offset_zyx_vx=to_triple([-step for step in channel.offset_zyx_vx]))


def has_sign(channel: Channel) -> bool:
    """Return whether a channel is a component that may change its sign: zz never does, z and zy do."""
    return any(channel.axes.count(axis) % 2 for axis in channel.axes)


def negate(values: torch.Tensor, channel: Channel) -> torch.Tensor:
    """Change the sign of a component in its code: v -> -v, or v -> 1 - v where it lies between 0 and 1."""
    return 1 - values if channel.activation in ("sigmoid", "softmax") else -values


def slice_overlap(shift_zyx: Sequence[int]) -> tuple[tuple[Index, ...], tuple[Index, ...]]:
    """Index (..., Z, Y, X) tensors: the voxels whose neighbour at `shift_zyx` exists, and these neighbours."""
    here = [slice(max(0, -step), -step if step > 0 else None) for step in shift_zyx]
    there = [slice(max(0, step), step if step < 0 else None) for step in shift_zyx]
    return (..., *here), (..., *there)
