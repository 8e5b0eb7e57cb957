"""The networks that predict together: what one checkpoint says, or several that must agree."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from connectomake.channels import Channel
from connectomake.config.settings.predict import PredictConfig
from connectomake.errors import ConfigError, DataError, ModelError
from connectomake.geometry import Triple, to_triple
from connectomake.models.checkpoint import CheckpointMeta, load_checkpoint, load_meta
from connectomake.volumes.volume import Readable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One network, and what its checkpoint says about it."""

    path: Path
    meta: CheckpointMeta

    @cached_property
    def network(self) -> nn.Module:
        """The network in evaluation mode; built when it is first asked for, which takes seconds.

        Raises
        ------
        ModelError
            The weights are not those of its architecture.
        """
        return load_checkpoint(self.path)[0]

    @property
    def outputs(self) -> tuple[Channel, ...]:
        """What its channels are."""
        return tuple(read_channel(channel) for channel in self.meta.channels)


def open_members(checkpoints: Sequence[Path]) -> list[Member]:
    """Read networks, and what their checkpoints say about them; sorted by hash, so that no order of naming matters.

    Raises
    ------
    MissingDataError
        There is no such file.
    ModelError
        It is no checkpoint, or one of an architecture that is not known here; or none is given.
    """
    if not checkpoints:
        raise ModelError("no checkpoint to predict with", expected="at least one")
    members = [Member(Path(path), load_meta(path)) for path in checkpoints]
    for member in members:
        if not member.meta.costs:  # of a file that training did not write, all is looked at
            member.network  # noqa: B018
    return sorted(members, key=lambda member: member.meta.hash)


def read_channel(channel: Mapping[str, Any]) -> Channel:
    """Read a channel of a checkpoint; older ones say neither target, nor whether it is binary, nor how it turns."""
    offset = channel.get("offset_zyx_vx")
    last = channel["name"].split()[-1]
    component = last if channel.get("target") in ("flow", "descriptors") and set(last) <= set("zyx") else ""
    return Channel(
        name=channel["name"],
        target=channel.get("target", "output"),
        offset_zyx_vx=None if offset is None else to_triple(offset),
        activation=channel["activation"],
        binary=channel.get("binary", True),
        axes=channel.get("axes", component),
    )


def hash_members(members: Sequence[Member]) -> str:
    """Return the hash of the checkpoint; of several, that of their sorted hashes."""
    hashes = sorted(member.meta.hash for member in members)
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def choose_window(members: Sequence[Member], cfg: PredictConfig) -> Triple:
    """Return the window: that of the settings, or else that of the training, of the first network.

    Raises
    ------
    ConfigError
        A network cannot take such a window.
    """
    trained = to_triple(members[0].meta.window_zyx)
    window = to_triple(cfg.window_zyx_vx or trained)
    for member in members:
        try:
            member.meta.model.check_patch(window)
        except ValueError as error:
            raise ConfigError(
                f"windows of {list(window)} voxels (predict.window_zyx_vx) do not suit the network {member.path}: "
                f"{error}",
                hint=f"leave it out to use that of the training, {list(trained)}"
                if cfg.window_zyx_vx
                else "set a predict.window_zyx_vx that suits all of predict.checkpoints",
            ) from error
        if window != to_triple(member.meta.window_zyx):
            log.warning(
                "windows of %s voxels, but the network %s was trained with %s",
                window,
                member.path,
                tuple(member.meta.window_zyx),
            )
    return window


def choose_channels(member: Member, cfg: PredictConfig) -> tuple[int, ...]:
    """Return the output channels that are stored.

    Raises
    ------
    ConfigError
        One of them does not exist.
    """
    present = len(member.outputs)
    wanted = range(cfg.channels) if isinstance(cfg.channels, int) else cfg.channels or range(present)
    if max(wanted) >= present:
        names = ", ".join(f"{number} {channel.name}" for number, channel in enumerate(member.outputs))
        got = f"the first {cfg.channels}" if isinstance(cfg.channels, int) else list(wanted)
        raise ConfigError(
            f"predict.channels asks for a channel that the network {member.path} does not have",
            expected=f"some of {names}",
            got=got,
            hint="null stores all of them",
        )
    return tuple(wanted)


def check_input(volume: Readable, member: Member, tolerance: float) -> None:
    """Reject a volume that the network cannot take, and warn where its voxels are not those trained on.

    Parameters
    ----------
    volume
        The working volume.
    member
        The network.
    tolerance
        Share by which a voxel size may differ, on each axis.

    Raises
    ------
    DataError
        The volume has another number of channels than those trained on.
    """
    if volume.channels != member.meta.in_channels:
        raise DataError(
            f"{volume.source} does not suit the network {member.path}",
            expected=f"{member.meta.in_channels} channels, as trained on",
            got=volume.channels,
            hint="take another checkpoint, or correct the key axes of the volume",
        )
    size, trained = np.array(volume.voxel_size_zyx_nm), np.array(member.meta.voxel_size_zyx_nm)
    if (abs(size - trained) > tolerance * trained).any():
        log.warning(
            "%s has voxels of %s nm (z, y, x), but the network was trained with %s nm; %s times the size: expect a "
            "worse prediction (predict.scale: as_is)",
            volume.source,
            tuple(volume.voxel_size_zyx_nm),
            tuple(member.meta.voxel_size_zyx_nm),
            " x ".join(f"{factor:.3g}" for factor in size / trained),
        )


def check_room(volume: Readable, window_zyx: Triple, margin_zyx: Triple) -> None:
    """Warn of a volume that is smaller than a window, and of a margin that its mirror image does not fill.

    Parameters
    ----------
    volume
        The working volume.
    window_zyx, margin_zyx
        In voxels.
    """
    shape = volume.shape_zyx
    if any(n < w for n, w in zip(shape, window_zyx, strict=True)):
        log.warning(
            "%s, %s voxels (z, y, x), is smaller than a window, %s: what is missing is its mirror image, which the "
            "network has not learned from; expect a worse prediction",
            volume.source,
            tuple(shape),
            window_zyx,
        )
    if any(m > n - 1 for n, m in zip(shape, margin_zyx, strict=True)):
        log.warning(
            "predict.margin_zyx_vx %s is more than the mirror image of %s has, %s voxels (z, y, x): it is mirrored "
            "again and again",
            list(margin_zyx),
            volume.source,
            [n - 1 for n in shape],
        )
