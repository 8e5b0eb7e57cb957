"""A small volume of cells with a prediction that is nearly right, for tests of what is looked for in predictions."""

from __future__ import annotations

from functools import cache

import numpy as np
from array_volume import ArrayVolume
from scipy import ndimage

from connectomake.geometry import Box
from connectomake.predict.check.finished import Finished
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.region import Region

VOXEL_NM = (16.0, 8.0, 8.0)
SHAPE = (48, 64, 64)
BLOCK = (16, 32, 32)
OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (6, 0, 0))
NAMES = ("affinity z+1", "affinity y+1", "affinity x+1", "affinity z+6")


@cache
def make_cells() -> np.ndarray:
    """Return (Z, Y, X) int32 cells around random seeds."""
    random = np.random.default_rng(3)
    seeds = np.zeros(SHAPE, np.int32)
    for k, place in enumerate(random.integers(0, SHAPE, (60, 3)), 1):
        seeds[tuple(place)] = k
    nearest = ndimage.distance_transform_edt(seeds == 0, sampling=VOXEL_NM, return_distances=False, return_indices=True)
    return seeds[tuple(nearest)]


@cache
def make_prediction() -> np.ndarray:
    """Return (4, Z, Y, X) float32 affinities between 0 and 1: the true ones, blurred a little, with noise."""
    cells, random = make_cells(), np.random.default_rng(4)
    channels = []
    for offset in OFFSETS:
        joined = cells == np.roll(cells, [-step for step in offset], (0, 1, 2))
        noise = ndimage.gaussian_filter(random.normal(0, 0.1, SHAPE), 1)
        channels.append(0.05 + 0.9 * ndimage.gaussian_filter(joined.astype(np.float32), 0.7) + noise)
    return np.clip(np.stack(channels), 0, 1).astype(np.float32)


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Store values of 0 to 1 as uint8, in an array of the caller's own."""
    return np.round(values * 255).astype(np.uint8)


def make_raw() -> np.ndarray:
    """Return (Z, Y, X) uint8 grey values."""
    walls = make_prediction()[:3].min(0) < 0.5
    return np.clip(160 - 90 * walls + np.random.default_rng(5).normal(0, 12, SHAPE), 0, 255).astype(np.uint8)


def finish(stored: np.ndarray, raw: np.ndarray | None = None, region: Region | None = None, **settings) -> Finished:
    """Open a prediction in memory as if it were finished; by default of all of `raw`, with affinities as channels."""
    count = len(stored)
    told = {
        "channels": list(NAMES[:count]),
        "offsets_zyx_vx": [list(offset) for offset in OFFSETS[:count]],
        "edge_convention": "source",
        "activations": ["sigmoid"] * count,
        "block_zyx_vx": list(BLOCK),
    }
    return Finished(
        name="cells",
        volume=ArrayVolume(stored, VOXEL_NM, file_chunks_zyx=(16, 16, 16)),
        raw=ArrayVolume(make_raw() if raw is None else raw, VOXEL_NM),
        region=region or Region(Box.of_shape(stored.shape[1:])),
        described=Prediction.of_plain({**told, **settings}, "cells"),
    )
