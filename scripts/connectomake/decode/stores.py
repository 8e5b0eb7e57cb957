"""Decode a store of affinities into a store of labels, the whole volume in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.config.decode import DecodeConfig
from connectomake.decode.registry import decode
from connectomake.errors import DataError
from connectomake.geometry import Triple
from connectomake.volumes.store import read_attributes, write_store
from connectomake.volumes.volume import Volume, open_volume

_UNITS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_CONVENTIONS = ("source", "destination")

log = logging.getLogger(__name__)


def decode_store(affinities: Path, labels: Path, cfg: DecodeConfig, *, threads: int = 1) -> int:
    """Decode the nearest-neighbour affinities of a store, and write the labels as another.

    Parameters
    ----------
    affinities
        A finished store of (C, Z, Y, X) affinities; its attributes name `offsets_zyx_vx` and `edge_convention`.
    labels
        The store to write; one that lies there is replaced. Its attributes are `decoder`, `threshold`, `n_objects`,
        all `settings`, and the `checkpoint_hash` of the affinities.
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
        The store does not hold the affinities along z, y and x, or does not say so.
    """
    attributes = read_attributes(affinities)
    channels, edge_offset = find_nearest_channels(attributes, str(affinities))
    volume = open_volume(affinities)
    log.info(
        "decoding %s voxels (z, y, x); this needs up to about %.1f GB of memory",
        " x ".join(map(str, volume.shape_zyx)),
        estimate_memory_bytes(volume.shape_zyx, volume.dtype, cfg) / 1e9,
    )
    found = decode(_read_channels(volume, channels), cfg, edge_offset=edge_offset, threads=threads)
    count = int(found.max())
    log.info("%d objects, %.1f %% background", count, 100 * (1 - np.count_nonzero(found) / found.size))
    write_store(
        labels,
        found,
        voxel_size_zyx_nm=volume.voxel_size_zyx_nm,
        offset_zyx_nm=volume.offset_zyx_nm,
        attributes={
            "decoder": cfg.decoder,
            "threshold": cfg.threshold,
            "n_objects": count,
            "settings": cfg.model_dump(mode="json"),
            "checkpoint_hash": attributes.get("checkpoint_hash"),
        },
    )
    return count


def find_nearest_channels(attributes: Mapping[str, Any], source: str) -> tuple[Triple, int]:
    """Find the channels of the edges to the next voxel along z, y and x, by their offsets.

    Parameters
    ----------
    attributes
        Of the store: `offsets_zyx_vx`, one triple (or None) for each channel, and `edge_convention`: 'source'
        (channel c at p is the edge p -- p + offset) or 'destination' (the edge p - offset -- p).
    source
        What to call the store in errors.

    Returns
    -------
    channels
        Those of z, y, x.
    edge_offset
        0 if the edge p -- p + e stands at p, 1 if it stands at p + e. An offset of -1 turns one into the other.

    Raises
    ------
    DataError
        A channel is missing, or the convention is not known.
    """
    missing = [key for key in ("offsets_zyx_vx", "edge_convention") if key not in attributes]
    if missing:
        raise DataError(
            f"{source} does not say what its channels are", expected=f"the attributes {' and '.join(missing)}"
        )
    convention = attributes["edge_convention"]
    if convention not in _CONVENTIONS:
        raise DataError(f"{source}: unknown edge_convention", expected=" or ".join(_CONVENTIONS), got=convention)
    offsets = [tuple(offset) if offset else None for offset in attributes["offsets_zyx_vx"]]
    for sign in (1, -1):
        wanted = [tuple(sign * step for step in unit) for unit in _UNITS]
        if all(offset in offsets for offset in wanted):
            z, y, x = (offsets.index(offset) for offset in wanted)
            return (z, y, x), _CONVENTIONS.index(convention) ^ (sign == -1)
    raise DataError(
        f"{source} does not hold the affinities to the next voxel on each axis",
        expected=f"the offsets {[list(unit) for unit in _UNITS]} among its channels",
        got=[list(offset) if offset else None for offset in offsets],
        hint="predict with all channels, or train a network with these offsets",
    )


def estimate_memory_bytes(shape_zyx: Triple, dtype: np.dtype, cfg: DecodeConfig) -> int:
    """Estimate the peak memory of a decode from above, as long as runs of linked voxels are two voxels long or more."""
    voxels = prod(shape_zyx)
    needed = 3 * dtype.itemsize + 4 + 0.5 + 2  # affinities, labels, bit planes, runs
    if cfg.fill == "watershed":
        copy = 0 if dtype == np.uint8 else 3
        needed = max(needed, 3 * dtype.itemsize + 4 + copy + 4)  # waiting voxels: 16 bytes each, a quarter of all
    return round(voxels * needed)


def _read_channels(volume: Volume, channels: Sequence[int]) -> np.ndarray:
    """Read channels into (3, Z, Y, X) in the order asked for; without a copy where they follow one another."""
    first = min(channels)
    values = volume.read(channels=slice(first, max(channels) + 1))
    order = [channel - first for channel in channels]
    return values if order == [0, 1, 2] else values[order]
