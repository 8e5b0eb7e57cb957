"""Folders with one picture per slice, TIFF or PNG, in the order in which a person counts: 2 before 10."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from connectomake.errors import DataError
from connectomake.volumes.formats.array import FileArray, Format, Metadata
from connectomake.volumes.formats.tiff import read_tiff_slice, read_tiff_slice_header

log = logging.getLogger(__name__)

TIFF_SUFFIXES = (".tif", ".tiff")
PNG_SUFFIXES = (".png",)


def open_stack(folder: Path) -> FileArray:
    """Open a folder of single slices as a (Z, Y, X) array; only the first slice is looked at before reading.

    Raises
    ------
    DataError
        The folder holds no slices or both kinds, or they have colours.
    """
    files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    tiffs = [p for p in files if p.suffix.lower() in TIFF_SUFFIXES]
    pngs = [p for p in files if p.suffix.lower() in PNG_SUFFIXES]
    if bool(tiffs) == bool(pngs):
        raise DataError(
            f"{folder} is not a volume",
            expected="a folder of .tif or .png slices, or a Zarr store",
            got=f"{len(tiffs)} .tif, {len(pngs)} .png and {len(files) - len(tiffs) - len(pngs)} other files",
        )
    slices = sort_naturally(tiffs or pngs)
    _warn_of_gaps(slices)
    shape, dtype = (read_tiff_slice_header if tiffs else _read_png_header)(slices[0])
    if len(shape) != 2:
        raise DataError(
            f"{slices[0]} is not a grey slice", expected="two axes", got=shape, hint="save the slices as grey"
        )
    return FileArray(
        source=str(folder),
        kind="folder of TIFF slices" if tiffs else "folder of PNG slices",
        shape=(len(slices), *shape),
        dtype=dtype,
        metadata=Metadata(),
        fetch=partial(_fetch, slices, shape, dtype),
        chunks=(1, *shape),
        usual_axes="zyx",
    )


def sort_naturally(paths: Sequence[Path]) -> list[Path]:
    """Sort files by name, with the numbers in the names taken as numbers."""
    return sorted(paths, key=lambda p: [int(t) if t.isdigit() else t.lower() for t in re.split(r"([0-9]+)", p.name)])


def _fetch(slices: list[Path], shape: tuple[int, ...], dtype: np.dtype, part: tuple[slice, ...]) -> np.ndarray:
    chosen = slices[part[0]]
    out = np.empty((len(chosen), *(len(range(*s.indices(n))) for s, n in zip(part[1:], shape, strict=True))), dtype)
    for number, path in enumerate(chosen):
        image = read_tiff_slice(path) if path.suffix.lower() in TIFF_SUFFIXES else _read_png(path)
        if image.shape != shape or image.dtype != dtype:
            raise DataError(
                f"{path} differs from the first slice, {slices[0].name}",
                expected=f"{shape} {dtype}",
                got=f"{image.shape} {image.dtype}",
                hint="make all slices alike, or move this one out of the folder",
            )
        out[number] = image[part[1:]]
    return out


def _read_png(path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # Pillow calls a broken PNG a SyntaxError
        raise DataError(
            f"{path} cannot be read as PNG ({error})", hint="check that it was copied completely"
        ) from error


def _read_png_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Decode the first slice: Pillow's modes do not tell the dtype by themselves."""
    image = _read_png(path)
    return image.shape, image.dtype


def _warn_of_gaps(slices: list[Path]) -> None:
    """Warn of slices that seem to be missing: numbers at the end of the names that do not go up evenly."""
    numbers = [int(m[-1]) for p in slices if (m := re.findall(r"\d+", p.stem))]
    steps = np.diff(numbers)
    if len(numbers) < len(slices) or len(steps) == 0 or (steps == steps[0]).all():
        return
    at = int(np.flatnonzero(steps != np.median(steps))[0])
    log.warning(
        "%s: the slices are not numbered evenly; between %s and %s some may be missing",
        slices[0].parent,
        slices[at].name,
        slices[at + 1].name,
    )


STACK = Format(
    "a folder of TIFF or PNG slices",
    lambda path, _: open_stack(path),
    recognise=lambda path, key: True,  # it says what is missing where a folder is nothing at all
    of_files=TIFF_SUFFIXES + PNG_SUFFIXES,
)
