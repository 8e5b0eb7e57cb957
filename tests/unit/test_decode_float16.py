"""A store of float16 decodes as an array of float32 with the same values does, whatever the decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import decode
from connectomake.decode.whole import choose_maps, decode_store
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import open_volume

SHAPE = (12, 20, 24)
LONG = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 0], [0, 3, 0], [0, 0, 3]]
AFFINITIES = {
    "offsets_zyx_vx": LONG,
    "edge_convention": "source",
    "channels": [f"affinity {k}" for k in range(6)],
    "activations": ["sigmoid"] * 6,
}
OTHERS = {
    "offsets_zyx_vx": [None] * 3,
    "edge_convention": "source",
    "channels": ["binary", "contour", "distance"],
    "activations": ["sigmoid", "sigmoid", "tanh"],
}


def make_maps(channels: int, *, signed: bool = False) -> np.ndarray:
    """Return smooth random maps, so that objects have a size; the last lies between -1 and 1 where one is signed."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(channels, *SHAPE)), (0, 1.5, 1.5, 1.5))
    maps = 1 / (1 + np.exp(-12 * noise))
    if signed:
        maps[-1] = 2 * maps[-1] - 1
    return maps.astype(np.float16)


def write_maps(folder: Path, maps: np.ndarray, attributes: dict) -> Path:
    write_store(folder / "maps.zarr", maps, voxel_size_zyx_nm=(30, 8, 8), attributes=attributes, chunk_zyx=(8, 8, 8))
    assert open_volume(folder / "maps.zarr").dtype == np.float16
    return folder / "maps.zarr"


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 0.5},
        {"threshold": 0.75, "fill": "watershed", "min_size_vx": 5},
        {"threshold": 0.75, "fill": "grow", "fill_distance_vx": 3, "fill_floor": 0.25},
        {"decoder": "mutex_watershed"},
        {"decoder": "waterz"},
        {"decoder": "seeded_watershed", "seeded_watershed": {"min_seed_vx": 2}},
        {"decoder": "seeded_watershed", "seeded_watershed": {"method": "binary_contour", "min_seed_vx": 2}},
        {"decoder": "semantic", "semantic": {"classes": ["binary", "contour"]}},
    ],
    ids=lambda settings: "-".join(map(str, settings.values()))[:40],
)
def test_a_store_of_float16_decodes_as_float32(tmp_path, settings):
    cfg = DecodeConfig.model_validate(settings)
    if cfg.decoder in ("mutex_watershed", "waterz"):
        pytest.importorskip(
            {"mutex_watershed": "mwatershed"}.get(cfg.decoder, cfg.decoder), reason="an optional package"
        )
    is_affinity = cfg.decoder in ("affinity_cc", "mutex_watershed", "waterz")
    maps, attributes = (make_maps(6), AFFINITIES) if is_affinity else (make_maps(3, signed=True), OTHERS)
    count = decode_store(write_maps(tmp_path, maps, attributes), tmp_path / "labels.zarr", cfg)
    assert count > 1
    indices, channels = choose_maps(Prediction.of_plain(attributes, "maps"), cfg)
    expected = decode(maps.astype(np.float32)[list(indices)], cfg, channels=channels)
    np.testing.assert_array_equal(open_volume(tmp_path / "labels.zarr").read(), expected)
