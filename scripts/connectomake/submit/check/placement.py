"""Whether an array lies on its crop's voxels, and what the challenge's scorer makes of it where it does not.

The scorer takes `voxel_size` or its aliases, resamples where that differs from the manifest, moves by whole voxels by
`translation`, and cuts or pads the rest (`matched_crop.py` of the toolbox).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from connectomake.cellmap.manifest import CropGrid
from connectomake.submit.check.finding import Finding
from connectomake.submit.check.stored import StoredArray, UnreadableError

VOXEL_SIZE = ("voxel_size", "resolution", "scale")
TRANSLATION = ("translation", "offset")
MOST_RATIO = 16**3  # voxels of the array per voxel of the crop
NEARLY_VX = 1e-3
REVERSED = "it is in the order x, y, z: turn it to z, y, x"

Vector = tuple[float, float, float]


def judge_placement(array: StoredArray, grid: CropGrid | None, where: str) -> Iterator[Finding]:
    """Find what is wrong with shape, voxel size and translation; without a grid, only what lacks or contradicts itself.

    Raises
    ------
    UnreadableError
        An attribute is no vector: the scorer stops on it.
    """
    size = _read_vector(array.attributes, VOXEL_SIZE)
    offset = _read_vector(array.attributes, TRANSLATION)
    for name, vector in (("voxel_size", size), ("translation", offset)):
        if vector is None:
            what = f"no attribute {name}: the scorer takes that of the crop"
            yield Finding("note", where, what, "copy voxel_size, translation and shape from the manifest")
    told = array.attributes.get("shape")
    if told is not None and told != list(array.shape_zyx):
        yield Finding("note", where, f"attribute shape is {told}, but the array's is {list(array.shape_zyx)}")
    if size is not None and min(size) <= 0:
        raise UnreadableError(f"attribute voxel_size is {list(size)}, expected sizes above 0")
    if grid is not None:
        yield from _judge_voxels(array, size, grid, where)
        if offset is not None:
            yield from _judge_offset(offset, grid, where)


def is_resampled(array: StoredArray, grid: CropGrid | None) -> bool:
    """Return whether the scorer resamples an array, since its voxels are of another size than the crop's."""
    size = _read_vector(array.attributes, VOXEL_SIZE)
    return grid is not None and size is not None and not np.allclose(size, grid.voxel_size_zyx_nm)


def _judge_voxels(array: StoredArray, size: Vector | None, grid: CropGrid, where: str) -> Iterator[Finding]:
    """Judge shape and voxel size together: other voxels over the same box are resampled, which costs borders only."""
    shape, expected = array.shape_zyx, grid.voxel_size_zyx_nm
    if prod(shape) / prod(grid.shape_zyx) > MOST_RATIO:
        what = (
            f"{prod(shape)} voxels for a crop of {prod(grid.shape_zyx)}: the scorer takes at most {MOST_RATIO} for one"
        )
        yield Finding("fails", where, what, "write it on the crop's own voxels")
    elif size is None or np.allclose(size, expected):
        if shape != grid.shape_zyx:
            yield _differs("shape", shape, grid.shape_zyx, where, "the scorer cuts it, or pads it by 0")
    elif np.allclose(size[::-1], expected):
        yield _differs("voxel_size", size, expected, where, "the scorer resamples it")
    elif shape != grid.shape_zyx and _covers_crop(array, size, grid):
        what = _tell("voxel_size", size, expected) + ": the scorer resamples it, which moves borders"
        yield Finding("loses", where, what, "write it on the crop's own voxels")
    else:
        extent = "with its shape it does not cover the crop"
        yield _differs("voxel_size", size, expected, where, f"{extent}, and the scorer resamples, cuts and pads it")


def _judge_offset(offset: Vector, grid: CropGrid, where: str) -> Iterator[Finding]:
    expected, voxel = grid.offset_zyx_nm, np.asarray(grid.voxel_size_zyx_nm)
    off_vx = (np.asarray(offset) - expected) / voxel
    if np.all(np.abs(off_vx) < NEARLY_VX):
        return
    moved = _moved_vx(np.asarray(offset), grid)
    if any(moved):
        yield _differs("translation", offset, expected, where, f"the scorer moves it by {list(moved)} voxels")
    else:
        what = _tell("translation", offset, expected) + ": less than a voxel off, so that the scorer does not move it"
        yield Finding("loses", where, what, "give the centre of the crop's first voxel, as the manifest does")


def _moved_vx(offset: np.ndarray, grid: CropGrid) -> list[int]:
    """Return by how many voxels the scorer moves an array; it rounds down twice, towards its own lattice."""
    voxel = np.asarray(grid.voxel_size_zyx_nm)
    off = offset // voxel * voxel - np.asarray(grid.offset_zyx_nm)
    return [int(n) for n in np.abs(off) // voxel * np.sign(off)]


def _covers_crop(array: StoredArray, size: Vector, grid: CropGrid) -> bool:
    """Return whether an array is as large as its crop, to the larger of both voxels."""
    voxel = np.asarray(grid.voxel_size_zyx_nm)
    differs = np.abs(np.multiply(array.shape_zyx, size) - np.multiply(grid.shape_zyx, voxel))
    return bool(np.all(differs <= np.maximum(size, voxel)))


def _differs(name: str, got: Sequence[float], expected: Sequence[float], where: str, effect: str) -> Finding:
    hint = REVERSED if np.allclose(got[::-1], expected) else "write it on the crop's own voxels, as in the manifest"
    return Finding("zero", where, f"{_tell(name, got, expected)}: {effect}", hint)


def _tell(name: str, got: Sequence[float], expected: Sequence[float]) -> str:
    return f"wrong {name}, expected {list(expected)}, got {list(got)}"


def _read_vector(attributes: Mapping[str, Any], names: Sequence[str]) -> Vector | None:
    """Read the first of the attributes that is there; of more than three numbers the last three, as the scorer does."""
    name = next((name for name in names if attributes.get(name) is not None), None)
    if name is None:
        return None
    try:
        z, y, x = (float(n) for n in attributes[name][-3:])
    except (TypeError, ValueError):
        z = y = x = np.nan
    if not np.all(np.isfinite([z, y, x])):
        raise UnreadableError(f"attribute {name} is {attributes[name]!r}, expected three numbers: z, y, x")
    return z, y, x
