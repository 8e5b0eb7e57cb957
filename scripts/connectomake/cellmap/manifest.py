"""The challenge's list of what is to be segmented: one row for each class of each crop, with the crop's voxels."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from connectomake.errors import DataError, MissingDataError

COLUMNS = ("crop_name", "dataset", "class_label", "voxel_size", "translation", "shape")


@dataclass(frozen=True)
class CropGrid:
    """The voxels of a crop.

    Parameters
    ----------
    shape_zyx
        In voxels.
    voxel_size_zyx_nm
        In nm.
    offset_zyx_nm
        Centre of the first voxel, which the challenge calls translation, in nm.
    """

    shape_zyx: tuple[int, int, int]
    voxel_size_zyx_nm: tuple[float, float, float]
    offset_zyx_nm: tuple[float, float, float]


@dataclass(frozen=True)
class ManifestRow:
    """One class of one crop.

    Parameters
    ----------
    crop
        Such as ``crop557``.
    dataset
        Such as ``jrc_ctl-id8-1``.
    label
        The class.
    grid
        The crop's voxels.
    """

    crop: str
    dataset: str
    label: str
    grid: CropGrid


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest, as `test_crop_manifest.csv` of the challenge's toolbox.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        Columns are missing; a row cannot be read, is there twice, or gives a crop other voxels or another dataset than
        a row before it. Names the row (the header is row 1).
    """
    if not path.is_file():
        hint = "it is test_crop_manifest.csv of the challenge's toolbox (src/cellmap_segmentation_challenge/utils)"
        raise MissingDataError(f"no manifest {path}", hint=hint)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            got = ", ".join(reader.fieldnames or ())
            raise DataError(f"{path} is no manifest", expected=", ".join(COLUMNS), got=got)
        rows = [_read_row(row, f"{path}, row {number}") for number, row in enumerate(reader, 2)]
    _check_rows(rows, path)
    return rows


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write a manifest; `read_manifest` gives back the same rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            grid = row.grid
            vectors = (grid.voxel_size_zyx_nm, grid.offset_zyx_nm, grid.shape_zyx)
            writer.writerow([row.crop.removeprefix("crop"), row.dataset, row.label, *map(_join, vectors)])


def group_by_crop(rows: Iterable[ManifestRow]) -> dict[str, list[ManifestRow]]:
    """Gather the rows of each crop, in the order of the rows."""
    crops: dict[str, list[ManifestRow]] = {}
    for row in rows:
        crops.setdefault(row.crop, []).append(row)
    return crops


def _read_row(row: dict[str, str], where: str) -> ManifestRow:
    crop, dataset, label = ((row[column] or "").strip() for column in COLUMNS[:3])
    if not crop.removeprefix("crop").isdigit() or not dataset or not label:
        raise DataError(where, expected="a crop's number, a dataset and a class", got=f"{crop}, {dataset}, {label}")
    size = _read_vector(row, "voxel_size", float, where)
    offset = _read_vector(row, "translation", float, where)
    shape = _read_vector(row, "shape", int, where)
    if not all(isfinite(n) for n in (*size, *offset)) or min(*size, *shape) <= 0:
        raise DataError(where, expected="voxels of a size, and at least one along each axis", got=f"{size}, {shape}")
    return ManifestRow(f"crop{int(crop.removeprefix('crop'))}", dataset, label, CropGrid(shape, size, offset))


def _read_vector(row: dict[str, str], column: str, kind: Callable[[str], Any], where: str) -> tuple[Any, Any, Any]:
    text = row[column] or ""
    try:
        z, y, x = (kind(part) for part in text.strip().strip("[]").split(";"))
    except ValueError:
        raise DataError(f"{where}: {column}", expected="[z;y;x]", got=text or "nothing") from None
    return z, y, x


def _check_rows(rows: Sequence[ManifestRow], path: Path) -> None:
    first: dict[str, tuple[int, ManifestRow]] = {}
    seen: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, 2):
        before = seen.setdefault((row.crop, row.label), number)
        if before != number:
            raise DataError(f"{path}, row {number}: {row.label} of {row.crop} is in row {before} already")
        at, other = first.setdefault(row.crop, (number, row))
        if (other.dataset, other.grid) != (row.dataset, row.grid):
            raise DataError(
                f"{path}, row {number}: {row.crop} is told apart from row {at}",
                expected=f"{other.dataset}, {other.grid}",
                got=f"{row.dataset}, {row.grid}",
            )
    if not rows:
        raise DataError(f"{path} has no rows")


def _join(vector: Sequence[float]) -> str:
    return "[" + ";".join(str(n) for n in vector) + "]"
