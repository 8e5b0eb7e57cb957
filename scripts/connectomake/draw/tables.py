"""Read the tables that figures are drawn from; every column comes as numbers or as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from connectomake.errors import DataError
from connectomake.tables import COMMAS, QUOTED, check_length, read_lines

Table = dict[str, np.ndarray]
NAMES = ("variant", "volume", "role", "setting", "metric")
"""Columns that stay text: a volume may be called 1."""


def read_table(path: Path) -> Table:
    """Read a CSV or TSV file with a header.

    Parameters
    ----------
    path
        The file; columns are separated by tabs where its name ends in .tsv, by commas otherwise.

    Returns
    -------
    dict
        Column -> (rows,) float64 with NaN for empty fields, or str where a field is no number and in columns of names
        (`variant`, `volume`, `role`, `setting`, `metric`). Columns without any value are left out.

    Raises
    ------
    MissingDataError
        When there is no such file.
    DataError
        When a row has more or fewer fields than the header.
    """
    lines = read_lines(path, "table", QUOTED if path.suffix == ".tsv" else COMMAS)
    _, header = next(lines, (1, []))
    if not header:
        raise DataError(f"{path} is empty", expected="a header")
    body = [check_length(fields, header, path, line) for line, fields in lines]
    columns = {name: [row[k] for row in body] for k, name in enumerate(header)}
    return {
        name: np.array(values) if name in NAMES else _as_numbers(values)
        for name, values in columns.items()
        if any(values)
    }


def settings_in(name: str) -> dict[str, float]:
    """Read the numeric settings that an id spells out.

    >>> settings_in("default@threshold=0.7@min_voxels=200/large@seed=1")
    {'threshold': 0.7, 'min_voxels': 200.0, 'seed': 1.0}
    """
    found = re.findall(r"([\w.-]+)=(-?[0-9.]+(?:e-?[0-9]+)?)(?=[,/@+\s]|$)", name)
    return {key: float(value) for key, value in found}


def without_setting(name: str, key: str) -> str:
    """Take one setting out of an id, which leaves what the points of a sweep over it have in common.

    >>> without_setting("default@seed=1@threshold=0.7", "threshold")
    'default@seed=1'
    >>> without_setting("decode.threshold=0.7, train.seed=1", "decode.threshold")
    'train.seed=1'
    """
    name = re.sub(rf"(?<![\w.-]){re.escape(key)}=[^,/@+\s]*(?:,\s*|@)?", "", name)
    return re.sub(r"[@,]\s*(?=$|[/+])", "", name)


def shorten_ids(ids: Sequence[str]) -> list[str]:
    """Leave out the parts between slashes that all ids have in common.

    >>> shorten_ids(["a/b/default", "a/b/default@threshold=0.7"])
    ['default', 'default@threshold=0.7']
    """
    parts = [name.split("/") for name in ids]
    if len({len(p) for p in parts}) != 1 or len(set(ids)) == 1:
        return list(ids)
    varying = [k for k in range(len(parts[0])) if len({p[k] for p in parts}) > 1]
    return ["/".join(p[k] for k in varying) for p in parts]


def swept_key(ids: Iterable[str]) -> str | None:
    """Return the numeric setting that takes the most values in these ids; None where none takes at least three."""
    values: dict[str, set[float]] = {}
    for name in ids:
        for key, value in settings_in(str(name)).items():
            values.setdefault(key, set()).add(value)
    key, found = max(values.items(), key=lambda item: len(item[1]), default=("", set()))
    return key if len(found) >= 3 else None


def best_rows(values: np.ndarray, volumes: np.ndarray, *, highest: bool) -> set[int]:
    """Return the rows that hold the best value of their volume, for volumes that have several rows."""
    best: set[int] = set()
    for volume in np.unique(volumes):
        rows = np.flatnonzero((volumes == volume) & np.isfinite(values))
        if rows.size > 1:
            target = values[rows].max() if highest else values[rows].min()
            best |= {int(row) for row in rows[values[rows] == target]}
    return best


def has_numbers(table: Mapping[str, np.ndarray], *names: str) -> bool:
    """Return whether all of these columns are there and hold numbers."""
    return all(name in table and table[name].dtype.kind == "f" for name in names)


def _as_numbers(values: list[str]) -> np.ndarray:
    try:
        return np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        return np.array(values)
