"""A crop of a challenge, what a network says of it, and its labels, all small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from small_volume import write_description

from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest
from connectomake.config.settings.submit import SubmitConfig
from connectomake.files import read_json
from connectomake.submit.decode_crop import decode_crop
from connectomake.volumes.store import write_store

# The crop's voxels are half as large as the prediction's across, and both have the same corner.
GRID = CropGrid((20, 40, 30), (4.0, 2.0, 2.0), (102.0, 51.0, 1.0))
SIZE, OFFSET = (4.0, 4.0, 4.0), (102.0, 52.0, 2.0)
NAMES = ("ecs", "mito", "er", "ves")
CLASSES = ("er", "mito", "nuc", "pm", "ves")
CFG = SubmitConfig(chunk_zyx_vx=(16, 16, 16))


def draw_prediction(seed: int = 0) -> np.ndarray:
    """Draw (4, 20, 20, 15) uint8: blobs of each class, less and less of them, the last only in a corner."""
    rng = np.random.default_rng(seed)
    values = np.zeros((4, 20, 20, 15), np.uint8)
    for channel, blobs in enumerate((30, 12, 8, 1)):
        for _ in range(blobs):
            start = rng.integers(0, (16, 16, 11)) if blobs > 1 else np.zeros(3, int)
            z, y, x = (slice(a, a + 4) for a in start)
            values[channel, z, y, x] = rng.integers(90, 256, values[channel, z, y, x].shape)
    return values


def write_prediction(folder: Path, values: np.ndarray, names: tuple = NAMES, size=SIZE, offset=OFFSET, **more) -> Path:
    """Write a finished store; gives its folder."""
    attributes = {"channels": names, "offsets_zyx_vx": [None] * len(names), "edge_convention": "source", **more}
    store = folder / "affinities.zarr"
    write_store(store, values, voxel_size_zyx_nm=size, offset_zyx_nm=offset, attributes=attributes)
    return store


def write_volume(folder: Path, classes: tuple = CLASSES, grid: CropGrid = GRID, crop: str = "crop7") -> Path:
    """Write as much of volume.json as decoding reads."""
    place = {key: getattr(grid, key) for key in ("shape_zyx", "voxel_size_zyx_nm", "offset_zyx_nm")}
    path = folder / "volume.json"
    return write_description(path, {"crop": {"dataset": "jrc_a", "crop": crop, **place, "classes": classes}})


def write_rows(path: Path, classes: tuple = CLASSES, grid: CropGrid = GRID, crops: tuple = ("crop7",)) -> Path:
    """Write a manifest of some crops with the same voxels."""
    write_manifest(path, [ManifestRow(crop, "jrc_a", label, grid) for crop in crops for label in classes])
    return path


def decode(
    folder: Path, cfg: SubmitConfig = CFG, *, seed: int = 0, crop: str = "crop7", classes: tuple = CLASSES, **more
) -> Path:
    """Decode the crop into a folder; gives crop.json."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = write_volume(folder, classes, crop=crop)
    out = folder / "crop.json"
    decode_crop(write_prediction(folder, draw_prediction(seed)), volume, cfg, out=out, **more)
    return out


def read_class(crop_json: Path, name: str) -> np.ndarray:
    """Read the array of a class."""
    return zarr.open_array(crop_json.parent / read_json(crop_json)["folder"] / name, mode="r", zarr_format=2)[...]


def read_files(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, by their path in it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
