"""What the channels of an array are, and how affinities are turned from one convention into the other.

Source convention (Connectomake, BANIS): channel c at voxel p is the edge p -- p + offset[c]. Destination convention
(waterz, DeepEM): it is the edge p - offset[c] -- p. An offset of the other sign turns one into the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from connectomake.channels import NEAREST, ChannelName, find_nearest, name_offset
from connectomake.errors import DataError
from connectomake.geometry import Triple, to_triple
from connectomake.volumes.prediction import CONVENTIONS, Prediction


@dataclass(frozen=True)
class Channels:
    """Meaning of the channels of a (C, Z, Y, X) array.

    Parameters
    ----------
    names
        One for each channel.
    offsets_zyx
        Of affinities: the offset of the edge, in voxels; None for other channels.
    edge_offset
        0: channel c at voxel p is the edge p -- p + offset[c]; 1: the edge p - offset[c] -- p.
    activations
        What each channel went through before it was stored (see `maps.as_floats`); by default sigmoid.
    """

    names: tuple[str, ...]
    offsets_zyx: tuple[Triple | None, ...]
    edge_offset: int = 0
    activations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "activations", self.activations or ("sigmoid",) * len(self.names))

    @classmethod
    def of_nearest(cls, edge_offset: int = 0) -> Channels:
        """Describe affinities to the next voxel along z, y and x, in this order."""
        return cls(tuple(map(name_offset, NEAREST)), NEAREST, edge_offset)

    @classmethod
    def of_prediction(cls, prediction: Prediction) -> Channels:
        """Describe the channels of a store of predictions."""
        edge_offset = CONVENTIONS.index(prediction.edge_convention)
        return cls(prediction.channels, prediction.offsets_zyx_vx, edge_offset, prediction.activations)

    def listed(self) -> list[ChannelName]:
        """Return name and offset of each channel, as the settings know them."""
        return [ChannelName(name, offset) for name, offset in zip(self.names, self.offsets_zyx, strict=True)]

    def pick(self, indices: Sequence[int]) -> Channels:
        """Describe some of the channels, in the order asked for."""
        names = tuple(self.names[c] for c in indices)
        offsets = tuple(self.offsets_zyx[c] for c in indices)
        return Channels(names, offsets, self.edge_offset, tuple(self.activations[c] for c in indices))

    def nearest(self) -> tuple[Triple, int]:
        """Find the channels of the edges to the next voxel along z, y and x.

        Returns
        -------
        channels
            Those of z, y, x.
        edge_offset
            0 if the edge p -- p + e stands at p, 1 if it stands at p + e, for the unit step e forwards.

        Raises
        ------
        DataError
            One is missing.
        """
        found = find_nearest(self.listed())
        if found is None:
            raise DataError(
                "there are no affinities to the next voxel on each axis",
                expected=f"the offsets {[list(unit) for unit in NEAREST]}",
                got=[list(offset) if offset else None for offset in self.offsets_zyx],
            )
        backwards = self.offsets_zyx[found[0]] == (-1, 0, 0)
        return to_triple(found), self.edge_offset ^ backwards

    def nearest_maps(self, maps: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the (3, Z, Y, X) affinities along z, y, x among maps (C, Z, Y, X), and their `edge_offset`.

        Raises
        ------
        DataError
            As `nearest`.
        """
        order, edge_offset = self.nearest()
        return maps[:3] if order == (0, 1, 2) else maps[list(order)], edge_offset


def to_destination(affinities: np.ndarray, offsets_zyx: Sequence[Sequence[int]]) -> np.ndarray:
    """Turn affinities of the source convention into the destination convention (waterz, DeepEM, zwatershed).

    There the same edge p -> p + offset[c] is stored at its end: it is found at p + offset[c].

    Parameters
    ----------
    affinities
        (C, Z, Y, X) of any type.
    offsets_zyx
        C offsets in voxels.

    Returns
    -------
    ndarray
        (C, Z, Y, X); 0 where an edge would come from outside the array.
    """
    return _move(affinities, offsets_zyx, +1)


def to_source(affinities: np.ndarray, offsets_zyx: Sequence[Sequence[int]]) -> np.ndarray:
    """Turn affinities of the destination convention into the source convention; the inverse of `to_destination`."""
    return _move(affinities, offsets_zyx, -1)


def _move(affinities: np.ndarray, offsets_zyx: Sequence[Sequence[int]], sign: int) -> np.ndarray:
    """Move channel c by sign * offset[c]; what leaves the array is lost, what enters is 0."""
    moved = np.zeros_like(affinities)
    for channel, offset in enumerate(offsets_zyx):
        steps = list(zip([sign * o for o in offset], affinities.shape[1:], strict=True))
        here = tuple(slice(max(0, step), max(0, n + min(0, step))) for step, n in steps)
        there = tuple(slice(max(0, -step), max(0, n - max(0, step))) for step, n in steps)
        moved[channel][here] = affinities[channel][there]
    return moved
