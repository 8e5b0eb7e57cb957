"""One array of a submission: what its metadata say, its chunks, and what the challenge's scorer cannot read.

The scorer reads with zarr 2; this reads with numcodecs alone, so that a chunk that cannot be decoded is known by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.submit.check.files import Files
from connectomake.submit.check.layout import Node

# What numcodecs before 0.16, which zarr 2 needs, reads without further packages. Not pickle: it runs what it reads.
CODECS = (
    *("blosc", "zlib", "zstd", "gzip", "bz2", "lz4", "lzma", "shuffle", "delta", "packbits", "bitround", "quantize"),
    *("astype", "fixedscaleoffset", "crc32", "adler32", "fletcher32", "base64"),
)
KINDS = "biuf"  # bool, integers, floats


class UnreadableError(DataError):
    """The scorer cannot read an array, or a chunk of it."""


@dataclass(frozen=True)
class StoredArray:
    """An array as its metadata tell it.

    Parameters
    ----------
    files, node
        Where it lies.
    shape_zyx, chunk_zyx
        In voxels.
    dtype
        Of the values.
    order
        Of the voxels in a chunk: C or F.
    fill
        Value of chunks that are not there; None = not defined.
    separator
        Between the numbers in a chunk's name.
    compressor, filters
        Settings of the codecs.
    attributes
        What `.zattrs` holds.
    """

    files: Files
    node: Node
    shape_zyx: Triple
    chunk_zyx: Triple
    dtype: np.dtype
    order: str
    fill: float | None
    separator: str
    compressor: Mapping[str, Any] | None
    filters: tuple[Mapping[str, Any], ...]
    attributes: Mapping[str, Any]

    @property
    def grid(self) -> BlockGrid:
        """The chunks' boxes; those at the array's end are cut to it."""
        return BlockGrid(self.shape_zyx, self.chunk_zyx)

    @cached_property
    def chunks(self) -> dict[Triple, str]:
        """Place in the grid of each chunk that is there -> its name below the array's folder."""
        placed = ((self._place_of(name), name) for name in self.node.names)
        return {place: name for place, name in placed if place is not None}

    @property
    def strays(self) -> list[str]:
        """Names of files that are neither chunks nor metadata."""
        return [
            name for name in self.node.names if not name.split("/")[-1].startswith(".") and self._place_of(name) is None
        ]

    @property
    def stored_bytes(self) -> int:
        """Of all chunks."""
        return sum(self.files.sizes[f"{self.node.path}/{name}"] for name in self.chunks.values())

    def box_of(self, place: Triple) -> Box:
        """Return the voxels of a chunk that lie in the array."""
        return self.grid[int(np.ravel_multi_index(place, self.grid.counts_zyx))]

    def read(self, place: Triple) -> np.ndarray:
        """Read a chunk, cut to the array.

        Raises
        ------
        UnreadableError
            It cannot be decoded, or is not of the size that it must have. Names the chunk.
        """
        name = self.chunks[place]
        try:
            values = self._decode(self.files.read(f"{self.node.path}/{name}"))
        except Exception as error:  # codecs and zip raise whatever they like
            raise UnreadableError(f"chunk {name} cannot be decoded ({str(error) or type(error).__name__})") from error
        size = self.box_of(place).shape_zyx
        return values[: size[0], : size[1], : size[2]]

    def _place_of(self, name: str) -> Triple | None:
        numbers = name.split(self.separator)
        if len(numbers) != 3 or not all(n.isdecimal() and str(int(n)) == n for n in numbers):
            return None
        place = to_triple([int(n) for n in numbers])
        return place if all(p < n for p, n in zip(place, self.grid.counts_zyx, strict=True)) else None

    def _decode(self, data: Any) -> np.ndarray:
        from numcodecs import get_codec
        from numcodecs.compat import ensure_contiguous_ndarray

        for codec in (self.compressor, *reversed(self.filters)):
            if codec is not None:
                data = get_codec(dict(codec)).decode(data)
        values = ensure_contiguous_ndarray(data).view(self.dtype)
        if values.size != prod(self.chunk_zyx):
            raise ValueError(f"expected {prod(self.chunk_zyx)} voxels, got {values.size}")
        return values.reshape(self.chunk_zyx, order=self.order)


def read_array(files: Files, node: Node) -> StoredArray:
    """Read an array's metadata.

    Raises
    ------
    UnreadableError
        The scorer stops on them. Says why.
    """
    meta = _read_mapping(files, node, ".zarray")
    attributes = _read_mapping(files, node, ".zattrs") if ".zattrs" in node.names else {}
    try:
        if meta["zarr_format"] != 2:
            raise UnreadableError(f".zarray: zarr_format {meta['zarr_format']!r}, expected 2")
        dtype = _read_dtype(meta["dtype"])
        shape, chunks = ([int(n) for n in meta[key]] for key in ("shape", "chunks"))
        compressor, filters, order = meta["compressor"], meta["filters"] or (), meta["order"]
        fill = None if meta["fill_value"] is None else float(meta["fill_value"])
    except UnreadableError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableError(f".zarray cannot be read ({error})") from None
    _check_codecs([codec for codec in (compressor, *filters) if codec is not None])
    if len(shape) != 3 or len(chunks) != 3:
        raise UnreadableError(f"{len(shape)} axes (shape {shape}), expected 3: z, y, x")
    if min(*shape, *chunks) < 1 or order not in ("C", "F"):
        raise UnreadableError(f".zarray cannot be read (shape {shape}, chunks {chunks}, order {order!r})")
    z, y, x = shape
    cz, cy, cx = chunks
    separator = meta.get("dimension_separator", ".")
    return StoredArray(
        files, node, (z, y, x), (cz, cy, cx), dtype, order, fill, separator, compressor, tuple(filters), attributes
    )


def slabs_of(array: StoredArray, most_voxels: int) -> Iterator[tuple[int, int]]:
    """Cut an array along z into slabs of about so many voxels: whole layers of chunks where these are small enough."""
    depth, plane = array.chunk_zyx[0], array.shape_zyx[1] * array.shape_zyx[2]
    planes = max(1, most_voxels // plane)
    step = planes // depth * depth or planes
    for start in range(0, array.shape_zyx[0], step):
        yield start, min(start + step, array.shape_zyx[0])


def _read_mapping(files: Files, node: Node, name: str) -> dict[str, Any]:
    try:
        read = json.loads(files.read(f"{node.path}/{name}"))
    except Exception as error:  # a zip raises whatever it likes
        raise UnreadableError(f"{name} cannot be read ({error})") from error
    if not isinstance(read, dict):
        raise UnreadableError(f"{name} cannot be read: expected a mapping, got {type(read).__name__}")
    return read


def _read_dtype(text: Any) -> np.dtype:
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError):
        raise UnreadableError(f"values of type {text!r}, expected an integer type such as |u1 or <u4") from None
    if dtype.kind not in KINDS:
        kind = "objects" if dtype.kind == "O" else f"type {text!r}"
        raise UnreadableError(f"values of {kind}, expected an integer type such as |u1 or <u4")
    return dtype


def _check_codecs(codecs: list[Any]) -> None:
    for codec in codecs:
        if not isinstance(codec, dict) or codec.get("id") not in CODECS:
            got = f"compressed or filtered by {codec!r}"
            raise UnreadableError(f"{got}, which zarr 2 may not know; expected blosc, zstd, zlib or gzip")
