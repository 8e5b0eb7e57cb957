"""TIFF volumes: one file with many pages, or a folder with one file per slice."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from connectomake.errors import DataError, MissingPackageError
from connectomake.volumes.formats.array import FileArray, Metadata
from connectomake.volumes.formats.metadata import join_axes, to_nm

if TYPE_CHECKING:
    import tifffile


def open_tiff(path: Path) -> FileArray:
    """Open the first image series of a TIFF file; uncompressed pages in one run are mapped, others read page by page.

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
        mapped = series.dataoffset is not None and series.dtype is not None
        return FileArray(
            source=str(path),
            kind="TIFF",
            shape=tuple(series.shape),
            dtype=np.dtype(tif.byteorder + series.dtype.char),
            metadata=Metadata(axes=axes, voxel_size_nm=_read_ome(tif) or _read_imagej(tif)),
            fetch=partial(_fetch_mapped if mapped else _fetch_pages, path),
            chunks=None if mapped else _chunks(series),
        )


def read_tiff_slice(path: Path) -> np.ndarray:
    """Read a single-page file as it is."""
    with _open_file(path) as tif, _explain_decoding(path):
        return tif.pages[0].asarray()


def read_tiff_slice_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Give shape and dtype of a file's first page."""
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
    """Say what to do about a compression that tifffile leaves to another package, and about damaged pages."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        if "imagecodecs" in str(error):
            raise MissingPackageError(
                f"{path} is compressed in a way that needs the package imagecodecs",
                hint="pip install imagecodecs, or save the file without compression",
            ) from error
        raise DataError(f"{path} cannot be decoded ({error})", hint="check that it was copied completely") from error


def _fetch_mapped(path: Path, part: tuple[slice, ...]) -> np.ndarray:
    with _open_file(path) as tif:
        series = tif.series[0]
        dtype = np.dtype(tif.byteorder + series.dtype.char)
        mapped = np.memmap(path, dtype, "r", int(series.dataoffset or 0), tuple(series.shape))
        return np.array(mapped[part])


def _fetch_pages(path: Path, part: tuple[slice, ...]) -> np.ndarray:
    """Read whole pages, and keep of each what is asked for."""
    with _open_file(path) as tif, _explain_decoding(path):
        series = tif.series[0]
        lead = len(series.shape) - len(series.keyframe.shape)
        outer = [range(*s.indices(n)) for s, n in zip(part, series.shape[:lead], strict=False)]
        inner = part[lead:]
        shape = [len(range(*s.indices(n))) for s, n in zip(part, series.shape, strict=True)]
        out = np.empty(shape, series.dtype)
        for to, position in zip(np.ndindex(*shape[:lead]), product(*outer), strict=True):
            number = int(np.ravel_multi_index(position, series.shape[:lead])) if lead else 0
            page = series.pages[number]
            if page is None:
                raise ValueError(f"page {number} is missing")
            out[to] = page.asarray()[inner]
        return out


def _chunks(series: tifffile.TiffPageSeries) -> tuple[int, ...]:
    inner = tuple(series.keyframe.shape)
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
