"""Decode a store of affinities into a store of labels, the whole volume in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import prod
from pathlib import Path

import fastremap
import numpy as np

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import DECODERS
from connectomake.decode.channels import Channels
from connectomake.decode.registry import decode
from connectomake.decode.thresholds import strong
from connectomake.errors import ConfigError, DataError
from connectomake.geometry import Box, Triple
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.segmentation import Segmentation
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import Volume, open_volume

log = logging.getLogger(__name__)


def decode_store(affinities: Path, labels: Path, cfg: DecodeConfig, *, threads: int = 1) -> int:
    """Decode a store of affinities, or other maps, and write the labels as another.

    Parameters
    ----------
    affinities
        A finished store of (C, Z, Y, X) maps; its attributes name `offsets_zyx_vx` and `edge_convention`.
    labels
        The store to write; one that lies there is replaced. Its attributes: see `describe_labels`.
    cfg
        How to decode.
    threads
        The labels do not depend on it.

    Returns
    -------
    int
        The number of objects.

    Raises
    ------
    DataError
        The store does not hold what the decoder reads, or does not say so.
    """
    prediction, volume = Prediction.read(affinities), open_volume(affinities)
    indices, channels = choose_maps(prediction, cfg)
    log.info(
        "decoding %s voxels (z, y, x); this needs up to about %.1f GB of memory",
        " x ".join(map(str, volume.shape_zyx)),
        estimate_memory_bytes(volume.shape_zyx, volume.dtype, cfg, len(indices)) / 1e9,
    )
    maps = read_channels(volume, indices)
    warn_if_outside(maps, cfg, str(affinities))
    found = decode(maps, cfg, channels=channels, threads=threads)
    count = count_objects(found, cfg)
    log.info("%d objects, %.1f %% background", count, 100 * (1 - np.count_nonzero(found) / found.size))
    write_store(
        labels,
        found,
        voxel_size_zyx_nm=volume.voxel_size_zyx_nm,
        offset_zyx_nm=volume.offset_zyx_nm,
        attributes=describe_labels(cfg, count, prediction).attributes,
        chunk_zyx=cfg.chunk_zyx_vx,
    )
    return count


def choose_maps(prediction: Prediction, cfg: DecodeConfig) -> tuple[tuple[int, ...], Channels]:
    """Choose the channels of a store that a decoder reads.

    Parameters
    ----------
    prediction
        What the store holds.
    cfg
        The decoder.

    Returns
    -------
    indices
        In the order that the decoder wants them in.
    channels
        What they are, in this order.

    Raises
    ------
    DataError
        One is missing.
    """
    channels = Channels.of_prediction(prediction)
    try:
        indices = cfg.choose_channels(channels.listed())
    except ConfigError as error:
        raise DataError(f"{prediction.source}: {error}") from error
    return indices, channels.pick(indices)


def read_channels(volume: Volume, indices: Sequence[int], box: Box | None = None) -> np.ndarray:
    """Read channels as (C, Z, Y, X) in the order asked for; without a copy where they follow one another."""
    first = min(indices)
    values = volume.read(box, channels=slice(first, max(indices) + 1))
    order = [channel - first for channel in indices]
    return values if order == list(range(len(values))) else values[order]


def describe_labels(cfg: DecodeConfig, n_objects: int, prediction: Prediction) -> Segmentation:
    """Describe a store of labels: decoder, threshold, objects, all settings, the checkpoint's hash.

    Which part of the volume was predicted, and on which level of it, is handed on.

    Parameters
    ----------
    cfg
        How it was decoded.
    n_objects
        The largest id.
    prediction
        What it was decoded from.
    """
    return Segmentation.of_prediction(
        prediction,
        decoder=cfg.decoder,
        threshold=cfg.threshold,
        n_objects=n_objects,
        settings=cfg.model_dump(mode="json", exclude=set(cfg.effort)),
    )


def warn_if_outside(affinities: np.ndarray, cfg: DecodeConfig, source: str) -> None:
    """Warn where affinities are NaN, or the threshold of `affinity_cc` lies outside them, so that all count or none.

    Parameters
    ----------
    affinities
        (C, Z, Y, X), those that the decoder reads.
    cfg
        The decoder and its threshold.
    source
        What to call them.
    """
    if cfg.decoder != "affinity_cc" or not affinities.size:
        return
    extremes = np.array([affinities.min(), affinities.max()])
    if np.isnan(extremes).any():
        missing = np.isnan(affinities)
        log.warning("%d affinities of %s are NaN; no edge is taken to be there", np.count_nonzero(missing), source)
        if missing.all():
            return
        extremes = np.array([np.nanmin(affinities), np.nanmax(affinities)])
    above = strong(extremes, cfg.threshold)
    if above[0] or not above[1]:
        top = 255 if affinities.dtype == np.uint8 else 1
        log.warning(
            "%s edge of %s is above the threshold %g: its affinities lie between %.3g and %.3g",
            "every" if above[0] else "no",
            source,
            cfg.threshold,
            *(extremes.astype(float) / top),
        )


def count_objects(labels: np.ndarray, cfg: DecodeConfig) -> int:
    """Count the objects of labels (Z, Y, X): the largest id, or where ids tell the class too, the different ones."""
    if DECODERS[cfg.decoder].ids_tell_class:
        return len(fastremap.unique(labels[labels > 0]))
    return int(labels.max(initial=0))


def estimate_memory_bytes(shape_zyx: Triple, dtype: np.dtype, cfg: DecodeConfig, channels: int = 3) -> int:
    """Estimate the peak memory of a decode from above, as long as runs of linked voxels are two voxels long or more."""
    maps = channels * dtype.itemsize
    needed = maps + 4 + 0.5 + 2  # labels, bit planes, runs
    if cfg.fill == "watershed":
        copy = 0 if dtype == np.uint8 else 3
        needed = max(needed, maps + 4 + copy + 4)  # waiting voxels: 16 bytes each, of a quarter
    return round(prod(shape_zyx) * (needed + DECODERS[cfg.decoder].bytes_per_voxel))
