"""Read a table of crops: boxes in nm, one a row."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from connectomake.errors import DataError
from connectomake.geometry import TripleNm, to_triple_nm
from connectomake.tables import read_table

EDGES = tuple(f"{axis}_{end}" for end in ("start", "stop") for axis in "zyx")


@dataclass(frozen=True)
class BoxNm:
    """A box in nm that somebody asked for, from start (included) to stop (excluded), z, y, x.

    Parameters
    ----------
    where
        The place where it was asked for, for messages.
    """

    where: str
    start_zyx_nm: TripleNm
    stop_zyx_nm: TripleNm


def read_crops(path: Path) -> list[BoxNm]:
    """Read a TSV of crops with the columns name, z_start, y_start, x_start, z_stop, y_stop, x_stop; others stay unread.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        It lacks a column or has no row; or a row has a number that is none, ends before it starts, or repeats a name;
        names the row, counted from 1 after the header.
    """
    crops: list[BoxNm] = []
    rows_of: dict[str, int] = {}
    for number, row in enumerate(read_table(path, ("name", *EDGES), "crops"), start=1):
        name = (row["name"] or "").strip()
        where = f"{path}, row {number} ({name})"
        if not name:
            raise DataError(f"{path}, row {number} has no name", expected="a name that no other row has")
        if name in rows_of:
            raise DataError(f"{where} has the name of row {rows_of[name]}", expected="a name of its own")
        rows_of[name] = number
        edges = [_read_nm(row[column], f"{where}: {column}") for column in EDGES]
        if any(stop <= start for start, stop in zip(edges[:3], edges[3:], strict=True)):
            raise DataError(
                f"{where} is empty",
                expected="z_stop above z_start, y_stop above y_start, x_stop above x_start",
                got=f"{edges[:3]} to {edges[3:]} nm (z, y, x)",
            )
        crops.append(BoxNm(where, to_triple_nm(edges[:3]), to_triple_nm(edges[3:])))
    if not crops:
        raise DataError(f"{path} holds no crops", expected="at least one row after the header", got="none")
    return crops


def _read_nm(text: str | None, where: str) -> float:
    """Read a position."""
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise DataError(f"{where} is no position", expected="a number in nm", got=repr(text))
    return value
