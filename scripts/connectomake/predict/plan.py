"""Work out what a prediction will do, before any of it is done: channels, windows, blocks and settings."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from connectomake.config.channels import Channel
from connectomake.config.predict import PredictConfig
from connectomake.errors import ConfigError, DataError
from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.predict.sliding import Recipe
from connectomake.predict.windows import WindowGrid
from connectomake.volumes.grey_values import measure_grey_values
from connectomake.volumes.volume import Volume

if TYPE_CHECKING:
    from connectomake.models.checkpoint import CheckpointMeta

log = logging.getLogger(__name__)

VOXEL_SIZE_TOLERANCE = 0.05  # of the training's voxel size
SAMPLE_VX = 16  # side of the boxes that a volume is told apart by


@dataclass(frozen=True)
class Plan:
    """What is computed for one volume: the same in every job.

    Parameters
    ----------
    windows, blocks
        The grids on the volume.
    recipe
        From raw values to probabilities, or what else the channels hold.
    settings
        All that decides the result, as plain data: what the ledger holds, and what becomes the store's attributes.
    """

    windows: WindowGrid
    blocks: BlockGrid
    recipe: Recipe
    settings: dict[str, Any]


def plan_prediction(volume: Volume, meta: CheckpointMeta, cfg: PredictConfig) -> Plan:
    """Lay the grids over a volume and fix the settings.

    Parameters
    ----------
    volume
        The raw volume.
    meta
        What the checkpoint says about its network.
    cfg
        The settings of the stage.

    Raises
    ------
    ConfigError
        The window does not suit the network, or a channel is asked for that it does not have.
    DataError
        The volume has another number of channels than those trained on; or each volume is to be normalised by itself,
        and the grey values of this one are all equal, or not finite.
    """
    window_zyx = choose_window(meta, cfg)
    channels = choose_channels(meta, cfg)
    check_input(volume, meta)
    kept = [meta.channels[c] for c in channels]
    mean, std = find_normalisation(volume, meta)
    recipe = Recipe(
        mean=mean,
        std=std,
        channels=channels,
        activation=cfg.activation,
        blending=cfg.blending,
        outputs=tuple(describe_channel(channel) for channel in meta.channels),
    )
    settings = {
        "volume": {
            "fingerprint": fingerprint(volume),
            "shape_zyx": volume.shape_zyx,
            "dtype": volume.dtype.name,
        },
        "voxel_size_zyx_nm": volume.voxel_size_zyx_nm,
        "offset_zyx_nm": volume.offset_zyx_nm,
        "checkpoint_hash": meta.hash,
        "channels": [c["name"] for c in kept],
        "offsets_zyx_vx": [c["offset_zyx_vx"] for c in kept],
        "edge_convention": meta.edge_convention,
        "activation": cfg.activation,
        "activations": list(recipe.activations),
        "normalisation": {"mean": mean, "std": std},
        "window_zyx_vx": window_zyx,
        "overlap": cfg.overlap,
        "blending": cfg.blending,
        "precision": cfg.precision,
        "block_zyx_vx": cfg.block_zyx_vx,
        "chunk_zyx_vx": cfg.chunk_zyx_vx,
    }
    windows = WindowGrid(volume.shape_zyx, window_zyx, cfg.overlap)
    return Plan(windows, BlockGrid(volume.shape_zyx, cfg.block_zyx_vx), recipe, settings)


def choose_window(meta: CheckpointMeta, cfg: PredictConfig) -> Triple:
    """Give the window: that of the settings, or else that of the training.

    Raises
    ------
    ConfigError
        The network cannot take such a window.
    """
    window = to_triple(cfg.window_zyx_vx or meta.window_zyx)
    try:
        meta.model.check_patch(window)
    except ValueError as error:
        raise ConfigError(
            f"predict.window_zyx_vx does not suit the network: {error}",
            hint=f"leave it out to use that of the training, {tuple(meta.window_zyx)}",
        ) from error
    if window != to_triple(meta.window_zyx):
        log.warning("windows of %s voxels, but the network was trained with %s", window, tuple(meta.window_zyx))
    return window


def choose_channels(meta: CheckpointMeta, cfg: PredictConfig) -> tuple[int, ...]:
    """Give the output channels that are stored.

    Raises
    ------
    ConfigError
        One of them does not exist.
    """
    present = len(meta.channels)
    wanted = range(cfg.channels) if isinstance(cfg.channels, int) else cfg.channels or range(present)
    if max(wanted) >= present:
        names = ", ".join(f"{number} {channel['name']}" for number, channel in enumerate(meta.channels))
        raise ConfigError(
            "predict.channels asks for a channel that the network does not have",
            expected=f"some of {names}",
            got=cfg.channels,
        )
    return tuple(wanted)


def describe_channel(channel: Mapping[str, Any]) -> Channel:
    """Read a channel of a checkpoint; those of older ones say neither target nor whether they are binary."""
    return Channel(channel["name"], channel.get("target", "output"), activation=channel["activation"])


def find_normalisation(volume: Volume, meta: CheckpointMeta) -> tuple[float, float]:
    """Give what becomes 0 and 1: of the training, or of this volume where each is normalised by itself.

    Raises
    ------
    DataError
        The volume's grey values are all equal, or not finite.
    """
    if meta.normalisation.get("each") == "each_volume":
        mean, std = measure_grey_values(volume)
        log.info("%s is normalised by itself: mean %g, sd %g", volume.source, mean, std)
        return mean, std
    return meta.normalisation["mean"], meta.normalisation["std"]


def check_input(volume: Volume, meta: CheckpointMeta) -> None:
    """Refuse a volume that the network cannot take, and warn where its voxels differ in size from those trained on.

    Raises
    ------
    DataError
        The volume has another number of channels than those trained on.
    """
    if volume.channels != meta.in_channels:
        raise DataError(
            f"{volume.source} does not suit the network", expected=f"{meta.in_channels} channels", got=volume.channels
        )
    if not np.allclose(volume.voxel_size_zyx_nm, meta.voxel_size_zyx_nm, rtol=VOXEL_SIZE_TOLERANCE):
        log.warning(
            "%s has voxels of %s nm (z, y, x), but the network was trained with %s nm: expect a worse prediction",
            volume.source,
            tuple(volume.voxel_size_zyx_nm),
            tuple(meta.voxel_size_zyx_nm),
        )


def fingerprint(volume: Volume) -> str:
    """Give the SHA-256 of 27 small boxes of a volume: its corners, the middles of its edges and faces, and its centre.

    It tells a volume that was made again, or exchanged, from one that was merely moved or copied, which a path and a
    time do not.
    """
    digest = hashlib.sha256()
    for place in itertools.product((0.0, 0.5, 1.0), repeat=3):
        start = [int(p * max(0, n - SAMPLE_VX)) for p, n in zip(place, volume.shape_zyx, strict=True)]
        sample = Box(to_triple(start), to_triple([a + SAMPLE_VX for a in start]))
        digest.update(volume.read(sample.intersect(Box.of_shape(volume.shape_zyx))).tobytes())
    return digest.hexdigest()
