"""TIFF volumes: one file with many pages, or a folder with one file per slice.

Pages that are cut into tiles are read through tifffile's own Zarr view; it decodes the tiles that a part needs, and no
others. Pages in strips, or in one piece, are not. A strip of one row is the view's smallest piece, and a slab of such
pages takes it five times as long as reading page by page; pages as its pieces are decoded ten at a time, which costs
the memory of ten. (24 pages of 4096 x 4096 uint8, zlib: 512 x 512 of all of them 0.14 s through the view where they are
tiled, 2.5 s by whole pages; twelve whole pages in strips of a row 14 s and 2.8 s.) Uncompressed pages in one run are
mapped: 0.02 s for what takes the view 0.5 s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from connectomake.errors import DataError, MissingPackageError
from connectomake.volumes.formats.array import FileArray, Format, Metadata
from connectomake.volumes.formats.metadata import join_axes, to_nm

if TYPE_CHECKING:
    import tifffile


def open_tiff(path: Path) -> FileArray:
    """Open the first image series of a TIFF file; any part of it can be read.

    Axes and voxel size are taken from OME or ImageJ metadata. A series without a z axis but with three axes (time
    points or plain pages) is taken as z, y, x. Plain TIFF resolution tags say nothing about z and are ignored.

    Raises
    ------
    DataError
        The file is not TIFF.
    """
    with _open_file(path) as tif:
        series = tif.series[0]
        axes = join_axes(series.axes.replace("S", "C") if "C" not in series.axes else series.axes)
        fetch = _choose_fetch(series)
        return FileArray(
            source=str(path),
            kind="TIFF",
            shape=tuple(series.shape),
            dtype=np.dtype(tif.byteorder + series.dtype.char),
            metadata=Metadata(axes=axes, voxel_size_nm=_read_ome(tif) or _read_imagej(tif)),
            fetch=partial(fetch, path),
            chunks=None if fetch is _fetch_mapped else _chunks(series, in_tiles=fetch is _fetch_tiles),
        )


def read_tiff_slice(path: Path) -> np.ndarray:
    """Read a single-page file as it is."""
    with _open_file(path) as tif, _explain_decoding(path):
        return tif.pages[0].asarray()


def read_tiff_slice_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and dtype of a file's first page."""
    with _open_file(path) as tif:
        return tuple(tif.pages[0].shape), np.dtype(tif.pages[0].dtype)


def _open_file(path: Path) -> tifffile.TiffFile:
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except (tifffile.TiffFileError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as TIFF ({error})", hint="check that it was copied completely"
        ) from error


@contextmanager
def _explain_decoding(path: Path) -> Iterator[None]:
    """Return what to do about a compression that tifffile leaves to another package, and about damaged pages."""
    try:
        yield
    except (ValueError, RuntimeError, OSError, IndexError) as error:
        if "imagecodecs" in str(error):
            raise MissingPackageError(
                f"{path} is compressed in a way that needs the package imagecodecs",
                hint="pip install imagecodecs, or save the file without compression",
            ) from error
        raise DataError(f"{path} cannot be decoded ({error})", hint="check that it was copied completely") from error


def _choose_fetch(series: tifffile.TiffPageSeries) -> Callable[[Path, tuple[slice, ...]], np.ndarray]:
    if series.dataoffset is not None and series.dtype is not None:
        return _fetch_mapped
    return _fetch_tiles if series.keyframe.is_tiled and not series.is_multifile else _fetch_pages


def _fetch_mapped(path: Path, part: tuple[slice, ...]) -> np.ndarray:
    with _open_file(path) as tif:
        series = tif.series[0]
        dtype = np.dtype(tif.byteorder + series.dtype.char)
        mapped = np.memmap(path, dtype, "r", int(series.dataoffset or 0), tuple(series.shape))
        return np.array(mapped[part])


def _fetch_tiles(path: Path, part: tuple[slice, ...]) -> np.ndarray:
    """Read the tiles that hold what is asked for."""
    import zarr

    with _open_file(path) as tif, _explain_decoding(path):
        series = tif.series[0]
        for _ in _pages_of(series, part):  # the view gives zeros for a page that is missing
            pass
        return np.asarray(zarr.open_array(series.aszarr(level=0), mode="r")[part])


def _fetch_pages(path: Path, part: tuple[slice, ...]) -> np.ndarray:
    """Read whole pages, and keep of each what is asked for."""
    with _open_file(path) as tif, _explain_decoding(path):
        series = tif.series[0]
        lead = _leading_axes(series)
        shape = [len(range(*s.indices(n))) for s, n in zip(part, series.shape, strict=True)]
        out = np.empty(shape, series.dtype)
        for to, page in zip(np.ndindex(*shape[:lead]), _pages_of(series, part), strict=True):
            out[to] = page.asarray()[part[lead:]]
        return out


def _pages_of(series: tifffile.TiffPageSeries, part: tuple[slice, ...]) -> Iterator[Any]:
    """Yield the pages that a part touches (TiffPage or TiffFrame); an error where one is missing."""
    lead = _leading_axes(series)
    outer = [range(*s.indices(n)) for s, n in zip(part, series.shape[:lead], strict=False)]
    for position in product(*outer):
        number = int(np.ravel_multi_index(position, series.shape[:lead])) if lead else 0
        page = series.pages[number]
        if page is None:
            raise ValueError(f"page {number} is missing")
        yield page


def _leading_axes(series: tifffile.TiffPageSeries) -> int:
    """Return the number of axes along which pages follow each other."""
    return len(series.shape) - len(series.keyframe.shape)


def _chunks(series: tifffile.TiffPageSeries, *, in_tiles: bool) -> tuple[int, ...]:
    inner = tuple(series.keyframe.chunks if in_tiles else series.keyframe.shape)
    return (1,) * (len(series.shape) - len(inner)) + inner


def _read_imagej(tif: tifffile.TiffFile) -> dict[str, float] | None:
    """Read voxel size as ImageJ writes it: z in the description, y and x as pixels per unit in tags."""
    info = tif.imagej_metadata or {}
    factor = to_nm(info.get("unit"))
    tags = tif.pages.first.tags
    if factor is None or "spacing" not in info or "XResolution" not in tags or "YResolution" not in tags:
        return None
    size = {"z": abs(float(info["spacing"])) * factor}
    for axis in "yx":
        pixels, units = tags[f"{axis.upper()}Resolution"].value
        size[axis] = factor * units / pixels if pixels else math.nan
    return size


def _read_ome(tif: tifffile.TiffFile) -> dict[str, float] | None:
    """Read voxel size from OME-XML; micrometres where it names no unit, as the schema says."""
    if not tif.is_ome or not tif.ome_metadata:
        return None
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", tif.ome_metadata)
    if pixels is None:
        return None
    tag = re.sub(r"<\w+:Pixels", "<Pixels", pixels.group()).rstrip("/>") + "/>"
    attributes = ElementTree.fromstring(tag).attrib
    size: dict[str, float] = {}
    for axis in "zyx":
        value = attributes.get(f"PhysicalSize{axis.upper()}")
        factor = to_nm(attributes.get(f"PhysicalSize{axis.upper()}Unit", "\u00b5m"))
        if value is None or factor is None:
            return None
        size[axis] = float(value) * factor
    return size


TIFF = Format("TIFF", lambda path, _: open_tiff(path), example=".tif", suffixes=(".tif", ".tiff", ".btf"))
