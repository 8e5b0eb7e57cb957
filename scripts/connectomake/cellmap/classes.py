"""The classes of the challenge: which are told object by object, and which are unions of others.

Source: CellMap Segmentation Challenge toolbox (Janelia, BSD-3), its evaluation and its `classes.csv`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from connectomake.errors import DataError, MissingDataError
from connectomake.tables import COMMAS, read_lines

INSTANCE_CLASSES = ("nuc", "ves", "endo", "lyso", "ld", "perox", "mito", "np", "mt", "cell")
"""Classes that are scored object by object; all others are scored voxel by voxel."""


def read_class_table(path: Path) -> dict[str, frozenset[int]]:
    """Read the table of classes: per line, without a header, name, id, and the ids of the classes that it is made of.

    Parameters
    ----------
    path
        ``classes.csv`` of the toolbox; lines are as in ``mito,50,"3,4,5"``, the last field empty for a class that is
        made of no other.

    Returns
    -------
    dict
        Name -> ids of the classes that cannot be divided further and make it up; of such a class, its own.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        A line cannot be read, or names a class twice; with its number.
    """
    if not path.is_file():
        raise MissingDataError(f"no table of classes {path}", hint="it is classes.csv of the challenge's toolbox")
    table: dict[str, frozenset[int]] = {}
    for number, line in read_lines(path, "table of classes", COMMAS):
        try:
            name, own, parts = line[0].strip(), int(line[1]), [int(part) for part in line[2].split(",") if part]
        except (IndexError, ValueError):
            raise DataError(f"{path}, row {number}", expected='name,id,"id,id,..."', got=",".join(line)) from None
        if not name or name in table:
            raise DataError(f"{path}, row {number}: the class {name!r} has no name or is there twice")
        table[name] = frozenset(parts or [own])
    return table


def find_parts(name: str, available: Iterable[str], table: Mapping[str, frozenset[int]]) -> tuple[str, ...]:
    """Find classes that together make up a class.

    Parameters
    ----------
    name
        The class.
    available
        Classes to make it of, such as those that are annotated.
    table
        What `read_class_table` gives.

    Returns
    -------
    tuple of str
        The class itself where it is available; else the fewest of the available classes, the largest first, that lie
        in it and cover it wholly; none where they do not.
    """
    there = set(available)
    if name in there:
        return (name,)
    missing = set(table.get(name, ()))
    chosen: list[str] = []
    inside = sorted(
        (c for c in there if c in table and missing and table[c] <= missing), key=lambda c: (-len(table[c]), c)
    )
    for part in inside:
        if table[part] & missing:
            chosen.append(part)
            missing -= table[part]
    return tuple(chosen) if not missing else ()
