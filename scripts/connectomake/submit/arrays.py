"""The arrays of a submission: one Zarr 2 array for each class of a crop, as the challenge reads them.

Zarr 3 would be read as missing, and so would a multiscale group. Chunks that hold nothing but 0 are not stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from connectomake.cellmap.manifest import CropGrid
from connectomake.files import replacing
from connectomake.geometry import BlockGrid, Box, Triple, to_triple

if TYPE_CHECKING:
    import zarr

CHUNK_ZYX: Triple = (128, 128, 128)
COMPRESSOR: dict[str, Any] = {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1}  # as numcodecs names it
GROUP_FILE = ".zgroup"
ARRAY_FILE = ".zarray"
ATTRIBUTES_FILE = ".zattrs"
GROUP_TEXT = b'{\n  "zarr_format": 2\n}\n'

_CHUNK = re.compile(r"\d+\.\d+\.\d+")


class Content(NamedTuple):
    """What an array holds: voxels that are not 0, and the largest value, which counts objects 1..n."""

    voxels: int
    largest: int


def describe_array(
    grid: CropGrid, dtype: DTypeLike = np.uint8, chunk_zyx: Sequence[int] = CHUNK_ZYX
) -> dict[str, bytes]:
    """Return the files that are an array of zeros on a crop's voxels: name -> content.

    Parameters
    ----------
    grid
        The crop's voxels, which become the attributes voxel_size, translation and shape.
    dtype
        Unsigned integers.
    chunk_zyx
        Voxels of a chunk; one that is larger than the crop is cut to it.

    Returns
    -------
    dict
        ``.zarray`` and ``.zattrs``.
    """
    import zarr
    from zarr.core.buffer import Buffer
    from zarr.storage import MemoryStore

    files: dict[str, Buffer] = {}
    zarr.create_array(
        MemoryStore(files),
        shape=grid.shape_zyx,
        dtype=np.dtype(dtype),
        chunks=fit_chunk(grid, chunk_zyx),
        compressors=COMPRESSOR,
        fill_value=0,
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "."},
        attributes={
            "voxel_size": list(grid.voxel_size_zyx_nm),
            "translation": list(grid.offset_zyx_nm),
            "shape": list(grid.shape_zyx),
        },
    )
    return {name: files[name].to_bytes() for name in (ARRAY_FILE, ATTRIBUTES_FILE)}


def fit_chunk(grid: CropGrid, chunk_zyx: Sequence[int]) -> Triple:
    """Return a chunk that is no larger than the crop."""
    return to_triple([min(c, n) for c, n in zip(chunk_zyx, grid.shape_zyx, strict=True)])


def create_array(
    folder: Path, grid: CropGrid, dtype: DTypeLike = np.uint8, chunk_zyx: Sequence[int] = CHUNK_ZYX
) -> zarr.Array:
    """Make the array of a class, or open the one that is there, to be written chunk by chunk.

    Parameters
    ----------
    folder
        Of the array: ``cropN/CLASS``.
    grid, dtype, chunk_zyx
        See `describe_array`; an array that is there must have been made with the same.

    Raises
    ------
    DataError
        The disk refuses.
    """
    import zarr

    from connectomake.volumes.durable import DurableStore

    for name, content in describe_array(grid, dtype, chunk_zyx).items():
        if not (folder / name).exists():
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
    return zarr.open_array(DurableStore(folder), mode="r+", zarr_format=2)


def list_chunks(folder: Path) -> list[Path]:
    """List the chunks of an array that are stored, sorted; nothing else that lies there, as a killed job leaves it."""
    return sorted(file for file in folder.iterdir() if _CHUNK.fullmatch(file.name))


def read_chunks(folder: Path) -> Iterator[tuple[Box, np.ndarray]]:
    """Return the chunks of an array that are stored, with their boxes."""
    import zarr

    array = zarr.open_array(folder, mode="r", zarr_format=2)
    grid = BlockGrid(to_triple(array.shape), to_triple(array.chunks))
    for file in list_chunks(folder):
        z, y, x = map(int, file.name.split("."))
        box = grid[(z * grid.counts_zyx[1] + y) * grid.counts_zyx[2] + x]
        yield box, np.asarray(array[box.slices])


def measure_content(folder: Path) -> Content:
    """Count what an array holds; only chunks that are stored are read."""
    voxels = largest = 0
    for _, values in read_chunks(folder):
        voxels += int(np.count_nonzero(values))
        largest = max(largest, int(values.max()))
    return Content(voxels, largest)


def smallest_type(largest: int) -> np.dtype:
    """Return the smallest unsigned type that holds a value: ids are never wrapped."""
    return np.min_scalar_type(largest)
