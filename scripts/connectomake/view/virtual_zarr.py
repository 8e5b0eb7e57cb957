"""Serve the volume that a volume.json describes as Zarr, whatever its file is; each chunk is read when it is asked for.

A crop, an HDF5 file, an array in x, y, z order and one that lies elsewhere look alike from outside: an OME-Zarr 0.5
image of one level, in nm. Neuroglancer takes the `translation` of such an image as the centre of its first voxel (it
subtracts half a voxel itself), as Connectomake does, so all layers coincide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, to_triple
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.store import LEVEL, describe_image
from connectomake.volumes.volume import Volume

CHUNK_ZYX: Triple = (64, 64, 64)
PARTS = {"raw": IngestedVolume.open_raw, "labels": IngestedVolume.open_labels}

_SHOWN = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
_CHUNK_KEY = re.compile(rf"{LEVEL}/c((?:/[0-9]{{1,9}})+)")


@dataclass(frozen=True)
class VirtualZarr:
    """A volume as the files of a Zarr 3 store: `read` gives each by its key.

    Parameters
    ----------
    volume
        What is read.
    dtype
        Type of the values as served. Raw data of a type that neuroglancer does not know become float32; labels become
        unsigned, and their -1 (unknown) 0, which is drawn as nothing.
    """

    volume: Volume
    dtype: np.dtype

    @property
    def chunk(self) -> tuple[int, ...]:
        """The shape of a chunk, one channel at a time."""
        return (1,) * self.volume.has_channels + CHUNK_ZYX

    def read(self, key: str) -> bytes | None:
        """Return content of ``zarr.json``, ``s0/zarr.json`` or ``s0/c/[c/]z/y/x``; None where there is no such file.

        Raises
        ------
        DataError
            The volume's file is damaged, or was moved since it was opened.
        """
        if key == "zarr.json":
            return _to_json(self._describe_group())
        if key == f"{LEVEL}/zarr.json":
            return _to_json(self._describe_array())
        match = _CHUNK_KEY.fullmatch(key)
        return None if match is None else self._read_chunk([int(part) for part in match[1][1:].split("/")])

    def _describe_group(self) -> dict[str, Any]:
        volume = self.volume
        name = Path(volume.source).stem
        levels = {LEVEL: (volume.voxel_size_zyx_nm, volume.offset_zyx_nm)}
        ome = describe_image(name, len(volume.shape), levels)
        return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}

    def _describe_array(self) -> dict[str, Any]:
        return describe_array(self.volume.shape, self.dtype, self.chunk)

    def _read_chunk(self, index: list[int]) -> bytes | None:
        """Read a chunk; those at the far faces are filled up with 0, as Zarr wants all chunks of one shape."""
        shape = self.volume.shape
        if len(index) != len(shape) or any(i * c >= n for i, c, n in zip(index, self.chunk, shape, strict=True)):
            return None
        start = to_triple([i * c for i, c in zip(index[-3:], CHUNK_ZYX, strict=True)])
        whole = Box.of_shape(CHUNK_ZYX).shift(start)
        box = whole.intersect(Box.of_shape(self.volume.shape_zyx))
        channels = slice(index[0], index[0] + 1) if self.volume.has_channels else None
        chunk = np.zeros(self.chunk, self.dtype.newbyteorder("<"))
        chunk[(..., *box.within(whole).slices)] = self._show(self.volume.read(box, channels))
        return chunk.tobytes()

    def _show(self, values: np.ndarray) -> np.ndarray:
        if self.dtype.kind == "u" and values.dtype.kind == "i":
            values = np.maximum(values, 0)
        return values.astype(self.dtype, copy=False)


def describe_array(shape: Sequence[int], dtype: np.dtype, chunk: Sequence[int]) -> dict[str, Any]:
    """Return the ``zarr.json`` of an array ([C,] Z, Y, X) of uncompressed chunks."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": tuple(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": tuple(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
        "dimension_names": tuple("czyx")[-len(shape) :],
    }


def open_virtual(volume_json: Path, part: str) -> VirtualZarr:
    """Open the raw data or the labels of an ingested volume; the last few that were opened are kept open.

    Parameters
    ----------
    volume_json
        The description that ingest wrote; where it has changed, it is read again.
    part
        ``raw`` or ``labels``.

    Raises
    ------
    MissingDataError
        The description, or the file that it names, does not exist.
    DataError
        The volume has no labels, or they are no integers.
    """
    return _open(volume_json, part, volume_json.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _open(volume_json: Path, part: str, _changed_ns: int) -> VirtualZarr:
    volume = PARTS[part](IngestedVolume.read(volume_json))
    if part == "raw":
        return VirtualZarr(volume, np.dtype(_raw_type(volume.dtype)))
    if volume.dtype.kind not in "iub":
        raise DataError(f"the labels {volume.source} cannot be shown", expected="integers", got=volume.dtype)
    return VirtualZarr(volume, np.dtype(f"u{volume.dtype.itemsize}"))


def _raw_type(dtype: np.dtype) -> str:
    if dtype.kind == "b":
        return "uint8"
    return dtype.name if dtype.name in _SHOWN else "float32"


def _to_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()
