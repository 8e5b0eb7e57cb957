"""Which networks may predict together, their predictions averaged voxel by voxel and channel by channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectomake.errors import ModelError
from connectomake.geometry import TripleNm
from connectomake.models.checkpoint import CheckpointMeta

VOXEL_SIZE_TOLERANCE = 0.05


def check_ensemble(members: Mapping[Any, CheckpointMeta]) -> None:
    """Reject networks whose predictions cannot be averaged.

    They must take the same channels of a volume, were trained on voxels of the same size (within 5 %), and give the
    same channels: name, offset, activation, how they turn, and the edge convention. Normalisation, architecture and
    what sides must be multiples of may differ. Whether all take the window is for `check_patch` of each to say.

    Parameters
    ----------
    members
        File -> what it says about its network.

    Raises
    ------
    ModelError
        Names the two files, and what differs.
    """
    (first, wanted), *others = members.items()
    for other, meta in others:
        for trait, expected, got in _compare(wanted, meta):
            if expected != got:
                raise ModelError(
                    f"{first} and {other} cannot be averaged: they differ in {trait}",
                    expected=expected,
                    got=got,
                    hint="take one of them out of predict.checkpoints",
                )


def _compare(one: CheckpointMeta, other: CheckpointMeta) -> list[tuple[str, Any, Any]]:
    """List what must be equal: what it is, and the values of both."""
    sizes, others = one.voxel_size_zyx_nm, other.voxel_size_zyx_nm
    alike = all(abs(a - b) <= VOXEL_SIZE_TOLERANCE * a for a, b in zip(sizes, others, strict=True))
    traits: list[tuple[str, Any, Any]] = [
        ("the channels of the volume", one.in_channels, other.in_channels),
        ("the voxel size (z, y, x)", _write_size(sizes), _write_size(sizes if alike else others)),
        ("the edge convention", one.edge_convention, other.edge_convention),
        ("the number of channels", len(one.channels), len(other.channels)),
    ]
    for number, (ours, theirs) in enumerate(zip(one.channels, other.channels, strict=False)):
        pairs = zip(_list_traits(ours).items(), _list_traits(theirs).values(), strict=True)
        traits += [(f"{what} of channel {number}", a, b) for (what, a), b in pairs]
    return traits


def _write_size(voxel_size_zyx_nm: TripleNm) -> str:
    return " x ".join(f"{size:g}" for size in voxel_size_zyx_nm) + " nm"


def _list_traits(channel: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a channel is; those of older checkpoints do not say how they turn."""
    offset = channel.get("offset_zyx_vx")
    return {
        "the name": channel["name"],
        "the offset": None if offset is None else tuple(offset),
        "the activation": channel["activation"],
        "the axes": channel.get("axes", ""),
    }
