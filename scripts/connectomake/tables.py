"""Tables as text: the pipeline's own, tab-separated with a header, and the comma-separated ones of other programs.

Every field stays text when it is read, so ids that no float holds come out as they were written. All files are written
whole or not at all.

Python's own `csv`, not pandas, for two reasons (measured with pandas 3.1). `read_csv` does not see that a file was cut
off: a line that is too short gets empty fields, and lines that are all too long shift every column by one or lose their
ends. And to load it takes 0.9 s and 45 MB besides numpy, at the start of every job; of the stages only
`generation_metrics` loads it anyhow. Nothing here computes with tables.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from connectomake.errors import DataError, MissingDataError
from connectomake.files import replacing


class Style(NamedTuple):
    """What separates the fields of a table, and which of them stand in double quotes (one of csv's numbers)."""

    separator: str
    quoting: Literal[0, 1, 2, 3]

    @property
    def name(self) -> str:
        """The separator in words."""
        return {"\t": "tab-separated", ",": "comma-separated"}[self.separator]


PLAIN = Style("\t", csv.QUOTE_NONE)
"""A quotation mark is nothing but that, and no field may hold a tab or a line end."""
QUOTED = Style("\t", csv.QUOTE_MINIMAL)
COMMAS = Style(",", csv.QUOTE_MINIMAL)
ALL_QUOTED = Style(",", csv.QUOTE_ALL)


def write_table(path: Path, header: Sequence[str] | None, rows: Iterable[Sequence[Any]], style: Style = PLAIN) -> None:
    r"""Write rows, whole or not at all; lines end in `\n` on every system.

    Parameters
    ----------
    path
        The file to make or replace.
    header
        Names of the columns; None = a table without a header.
    rows
        Of as many values. None, NaN and infinities become empty fields; floats are written so that reading gives the
        same float back.
    style
        How fields are told apart.

    Raises
    ------
    DataError
        A text holds what separates fields or lines, in a table without quotes.
    """
    head = [] if header is None else [header]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines = ([format_field(value) for value in row] for part in (head, rows) for row in part)
        if style == PLAIN:
            file.writelines(_join(fields, path) for fields in lines)
        else:
            csv.writer(file, delimiter=style.separator, quoting=style.quoting, lineterminator="\n").writerows(lines)


def write_columns(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of equal length, lists or arrays, as `write_table` writes rows."""
    plain = [values.tolist() if hasattr(values, "tolist") else values for values in columns.values()]
    write_table(path, list(columns), zip(*plain, strict=True))


def append_row(path: Path, header: Sequence[str], row: Mapping[str, Any]) -> None:
    """Add a row to a comma-separated table, and make the table with its header where there is none.

    Parameters
    ----------
    path
        The file. A process that is killed may leave a part of a line at its end.
    header
        Names of all columns.
    row
        Column -> value; columns that are left out stay empty.
    """
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({name: format_field(value) for name, value in row.items()})


def read_table(path: Path, columns: Sequence[str], what: str, style: Style = PLAIN) -> list[dict[str, str]]:
    """Read a table with a header.

    Parameters
    ----------
    path
        The file.
    columns
        Those that must be there; others may be there too, in any order.
    what
        What the table holds, for the message.
    style
        How fields are told apart.

    Returns
    -------
    list of dict
        One for each row, column -> text.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        It is no text; a column is not there; a line has more or fewer fields than the header. Names file and line.
    """
    lines = read_lines(path, f"table of {what}", style)
    _, header = next(lines, (1, []))
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{path} is no table of {what}",
            expected="the columns " + ", ".join(columns),
            got="one that lacks columns: " + ", ".join(missing),
        )
    return [dict(zip(header, check_length(fields, header, path, line), strict=True)) for line, fields in lines]


def read_lines(path: Path, what: str, style: Style, comment: str = "") -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a table that hold something, each as the number of its line, from 1, and its fields.

    Parameters
    ----------
    path
        The file; a byte order mark, which spreadsheets begin a file with, is passed over.
    what
        What the file is, for the message.
    style
        How fields are told apart. Of comma-separated fields, spaces before them are passed over.
    comment
        Lines that begin with this word are passed over.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        It is no text, or no table.
    """
    if not path.is_file():
        raise MissingDataError(f"no table {path}")
    expected, comma = f"a table of {style.name} text", style in (COMMAS, ALL_QUOTED)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = ("\n" if comment and line.lstrip().startswith(comment) else line for line in file)
            reader = csv.reader(lines, delimiter=style.separator, quoting=style.quoting, skipinitialspace=comma)
            number = 1
            for fields in reader:
                if fields:
                    yield number, fields
                number = reader.line_num + 1  # a quoted field may go over several lines
    except UnicodeDecodeError as error:
        got = f"what cannot be read as text in UTF-8 ({error})"
        raise DataError(f"{path} is no {what}", expected=expected, got=got) from error
    except csv.Error as error:
        raise DataError(f"{path} is no {what}", expected=expected, got=error) from error


def check_length(fields: list[str], header: Sequence[str], path: Path, line: int) -> list[str]:
    """Return the fields of a line, where they are as many as the header's.

    Raises
    ------
    DataError
        They are not, as in a file that was cut off.
    """
    if len(fields) != len(header):
        raise DataError(f"{path}, line {line}", expected=f"{len(header)} fields", got=len(fields))
    return fields


def format_field(value: Any) -> str:
    """Return a value as text: empty for None, NaN and infinities, and the shortest text that gives a float back."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def finite_or_none(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Replace floats that JSON has no word for (NaN, infinities) by None."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in numbers.items()}


def _join(fields: Sequence[str], path: Path) -> str:
    line = "\t".join(fields)
    if line.count("\t") >= len(fields) or "\n" in line or "\r" in line:
        raise DataError(f"{path}: a row cannot be written", expected="text without tabs and line ends", got=fields)
    return line + "\n"
