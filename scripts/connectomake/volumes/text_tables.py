"""Read tables of which every field stays text, so that ids no float holds come out as they were written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from connectomake.errors import DataError, MissingDataError


def read_rows(path: Path, columns: Sequence[str], what: str) -> list[dict[str, str]]:
    """Read a TSV file with a header; a quotation mark in it is nothing but that.

    Parameters
    ----------
    path
        The file.
    columns
        Those that must be there.
    what
        What the table holds, for the message.

    Raises
    ------
    MissingDataError
        When there is no such file.
    DataError
        When a column is not there.
    """
    if not path.is_file():
        raise MissingDataError(f"no table {path}")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{path} is no table of {what}",
                expected="the columns " + ", ".join(columns),
                got="one that lacks columns: " + ", ".join(missing),
            )
        return list(reader)
