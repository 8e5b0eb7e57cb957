"""A tiny submission that is right, to be broken in one way at a time: two crops, three classes each."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc
from numcodecs.abc import Codec

from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest

SHAPE = (6, 10, 14)
COMPRESSOR = Blosc("zstd")
GRIDS = {
    "crop557": CropGrid(SHAPE, (1.74, 2.0, 2.0), (23837.13, 7599.0, 35999.0)),
    "crop558": CropGrid(SHAPE, (4.0, 4.0, 4.0), (102.0, 204.0, 306.0)),
}
LABELS = ("mito", "er", "nuc")  # the second is scored voxel by voxel
ROWS = [ManifestRow(crop, "jrc_x", label, grid) for crop, grid in GRIDS.items() for label in LABELS]


def make_mask(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[1:4, 2:8, 3:9] = 1
    return mask


def make_objects(count: int, dtype: Any = np.uint16, size: int = 2) -> np.ndarray:
    """Return so many cubes apart from each other, numbered from 1 in scan order."""
    sides = -(-count // 100), 10, 10
    cells = np.zeros(np.prod(sides), np.int64)
    cells[:count] = np.arange(1, count + 1)
    cube = np.zeros((size + 1,) * 3, np.int64)
    cube[:size, :size, :size] = 1
    return np.kron(cells.reshape(sides), cube).astype(dtype)


def grid_for(values: np.ndarray, crop: str = "crop557") -> CropGrid:
    return CropGrid(values.shape, GRIDS[crop].voxel_size_zyx_nm, GRIDS[crop].offset_zyx_nm)


def write_array(
    top: Path,
    where: str,
    values: np.ndarray,
    grid: CropGrid,
    *,
    attributes: dict[str, Any] | None = None,
    compressor: Codec | None = COMPRESSOR,
    **options: Any,
) -> None:
    """Write one array as zarr 3 does in format 2; attributes of the manifest unless told."""
    group = zarr.open_group(top, mode="a", zarr_format=2)
    options = {"chunks": (4, 8, 8), "fill_value": 0} | options
    compressors = {"compressors": compressor}
    array = group.create_array(where, shape=values.shape, dtype=values.dtype, overwrite=True, **compressors, **options)
    array[...] = values
    own = {"voxel_size": grid.voxel_size_zyx_nm, "translation": grid.offset_zyx_nm, "shape": values.shape}
    array.attrs.put({key: list(value) for key, value in own.items()} if attributes is None else attributes)


def write_submission(top: Path) -> Path:
    for row in ROWS:
        write_array(top, f"{row.crop}/{row.label}", make_mask(), row.grid)
    return top


def write_rows(path: Path, rows: Iterable[ManifestRow] = ROWS) -> Path:
    write_manifest(path, rows)
    return path


def pack(top: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(top.rglob("*")):
            if file.is_file():
                packed.write(file, prefix + file.relative_to(top).as_posix())
    return path


def edit_json(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
