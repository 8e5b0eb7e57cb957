"""The challenge's list of what is to be segmented: one row for each class of each crop, with the crop's voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

from connectomake.errors import DataError, MissingDataError
from connectomake.tables import COMMAS, read_lines, write_table

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
    line
        Of the file that it was read from; the header is 1, and 0 is none. Equal rows may have different ones.
    """

    crop: str
    dataset: str
    label: str
    grid: CropGrid
    line: int = field(default=0, compare=False)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest, as `test_crop_manifest.csv` of the challenge's toolbox.

    Spaces around values, empty lines, further columns, their order, and ``crop557`` for ``557`` are all the same.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        It is no table; columns are missing; a row cannot be read, is there twice, or gives a crop other voxels or
        another dataset than a row before it. Names the row (the header is row 1).
    """
    if not path.is_file():
        hint = "it is test_crop_manifest.csv of the challenge's toolbox (src/cellmap_segmentation_challenge/utils)"
        raise MissingDataError(f"no manifest {path}", hint=hint)
    table = [(number, [value.strip() for value in line]) for number, line in read_lines(path, "manifest", COMMAS)]
    table = [(number, line) for number, line in table if any(line)]
    header = table[0][1] if table else []
    _check_header(header, path)
    rows = [_read_row(line, header, number, f"{path}, row {number}") for number, line in table[1:]]
    _check_rows(rows, path)
    return rows


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write a manifest; `read_manifest` gives back the same rows."""
    write_table(path, COLUMNS, map(_list_fields, rows), COMMAS)


def group_by_crop(rows: Iterable[ManifestRow]) -> dict[str, list[ManifestRow]]:
    """Gather the rows of each crop, in the order of the rows."""
    crops: dict[str, list[ManifestRow]] = {}
    for row in rows:
        crops.setdefault(row.crop, []).append(row)
    return crops


def _check_header(header: Sequence[str], path: Path) -> None:
    missing = [column for column in COLUMNS if column not in header]
    if not missing:
        return
    meant = [f"{name!r} should be {column!r}" for column in missing for name in get_close_matches(column, header, 1)]
    raise DataError(
        f"{path} is no manifest", expected=", ".join(COLUMNS), got=", ".join(header) or "nothing", hint="; ".join(meant)
    )


def _read_row(line: Sequence[str], header: Sequence[str], number: int, where: str) -> ManifestRow:
    if len(line) != len(header):
        hint = "the numbers of a vector are parted by semicolons, as in [600;600;600]"
        raise DataError(where, expected=f"{len(header)} values", got=f"{len(line)}: {','.join(line)}", hint=hint)
    row = dict(zip(header, line, strict=True))
    crop, dataset, label = (row[column] for column in COLUMNS[:3])
    digits = crop.removeprefix("crop")
    if not (digits.isascii() and digits.isdigit()) or not dataset or not label:
        raise DataError(where, expected="a crop's number, a dataset and a class", got=f"{crop}, {dataset}, {label}")
    if label.startswith(".") or set("/\\") & set(label):
        raise DataError(f"{where}: class_label", expected="what can be the name of a folder", got=label)
    size = _read_vector(row, "voxel_size", float, where)
    offset = _read_vector(row, "translation", float, where)
    shape = _read_vector(row, "shape", int, where)
    if not all(isfinite(n) for n in (*size, *offset)) or min(*size, *shape) <= 0:
        got = f"voxel_size {size}, translation {offset}, shape {shape}"
        raise DataError(where, expected="voxels of a size, at least one along each axis, at a place", got=got)
    return ManifestRow(f"crop{int(digits)}", dataset, label, CropGrid(shape, size, offset), number)


def _read_vector(row: dict[str, str], column: str, kind: Callable[[str], Any], where: str) -> tuple[Any, Any, Any]:
    text = row[column]
    try:
        return _to_triple(kind, text.removeprefix("[").removesuffix("]").split(";"))
    except ValueError:
        expected = "[z;y;x], whole numbers" if kind is int else "[z;y;x]"
        raise DataError(f"{where}: {column}", expected=expected, got=text or "nothing") from None


def _to_triple(kind: Callable[[Any], Any], values: Iterable[Any]) -> tuple[Any, Any, Any]:
    z, y, x = map(kind, values)
    return z, y, x


def _check_rows(rows: Sequence[ManifestRow], path: Path) -> None:
    first: dict[str, ManifestRow] = {}
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        where = f"{path}, row {row.line}"
        before = seen.setdefault((row.crop, row.label), row.line)
        if before != row.line:
            raise DataError(f"{where}: {row.label} of {row.crop} is in row {before} already")
        other = first.setdefault(row.crop, row)
        if (other.dataset, other.grid) != (row.dataset, row.grid):
            raise DataError(
                f"{where} and row {other.line} contradict each other about {row.crop}",
                expected=f"{other.dataset}, {other.grid}",
                got=f"{row.dataset}, {row.grid}",
            )
    if not rows:
        raise DataError(f"{path} has no rows")


def _list_fields(row: ManifestRow) -> list[str]:
    vectors = (row.grid.voxel_size_zyx_nm, row.grid.offset_zyx_nm, row.grid.shape_zyx)
    return [row.crop.removeprefix("crop"), row.dataset, row.label, *map(_join, vectors)]


def _join(vector: Sequence[float]) -> str:
    return "[" + ";".join(str(n) for n in vector) + "]"
