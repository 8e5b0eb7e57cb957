"""The challenge's table of crops to learn from: `datasplit.csv`, which its own loader reads too.

One line for each crop, all fields in double quotes, no header; lines that begin with # are passed over::

    "train","DIR/jrc_x.zarr","recon-1/em/fibsem-uint8","DIR/jrc_x.zarr","recon-1/labels/groundtruth/crop234/[mito,nuc]"
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from connectomake.errors import DataError, MissingDataError
from connectomake.tables import ALL_QUOTED, read_lines, write_table

USAGES = ("train", "validate")
_CLASSES = re.compile(r"/*\[(?P<names>[^\[\]]*)\]$|(?<=/)(?P<crop>crop\d+)/(?P<name>[^/\[\].]+)$")


@dataclass(frozen=True)
class SplitEntry:
    """One crop.

    Parameters
    ----------
    usage
        train or validate.
    raw, labels
        Zarr groups of the images and of the crop, each as ``container.zarr/group/...``.
    classes
        Classes to read; none = all that there are.
    row
        Number of the line, from 1; 0 where it was not read from a file.
    """

    usage: str
    raw: str
    labels: str
    classes: tuple[str, ...] = ()
    row: int = 0

    @property
    def dataset(self) -> str:
        """Name of the container of the labels, as in ``jrc_x`` for ``DIR/jrc_x.zarr/...``; empty where it has none."""
        return Path(_cut(self.labels)[0]).stem if ".zarr/" in self.labels else ""

    @property
    def crop(self) -> str:
        """Name of the crop, as in ``crop234``."""
        return Path(self.labels).name


def read_datasplit(path: Path) -> list[SplitEntry]:
    """Read a split of five columns (usage, container and group of the images, of the crop) or three (whole paths).

    Returns
    -------
    list of SplitEntry
        With absolute paths. Relative ones start at the working folder, as with the challenge's own loader, or at the
        table's where nothing is there. Those with a scheme, as in ``s3://``, are taken as they are.

    Raises
    ------
    MissingDataError
        There is no such file, or a row names a folder that does not exist.
    DataError
        A row cannot be read, or names a crop twice. Names the row.
    """
    if not path.is_file():
        raise MissingDataError(f"no split {path}")
    entries: list[SplitEntry] = []
    seen: dict[str, int] = {}
    for row, fields in _read_lines(path):
        entry = _read_row(fields, row, path)
        before = seen.setdefault(entry.labels, row)
        if before != row:
            raise DataError(f"{path}, row {row}: the crop {entry.labels} is in row {before} already")
        entries.append(entry)
    if not entries:
        raise DataError(f"{path} has no rows")
    return entries


def write_datasplit(path: Path, entries: Iterable[SplitEntry]) -> None:
    """Write a split of five columns; `read_datasplit` gives back the same entries.

    Raises
    ------
    DataError
        A crop comes without classes: the challenge's loader has to be told them.
    """
    entries = list(entries)
    for entry in entries:
        if not entry.classes:
            raise DataError(f"{path}: no classes of the crop {entry.labels} to write")
    write_table(path, None, map(_list_fields, entries), ALL_QUOTED)


def _read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Return the number and the fields of each line that says something."""
    for row, found in read_lines(path, "split", ALL_QUOTED, comment="#"):
        fields = [field.strip() for field in found]
        while fields and not fields[-1]:  # which a spreadsheet adds where another row is longer
            fields.pop()
        if fields:
            yield row, fields


def _list_fields(entry: SplitEntry) -> list[str]:
    container, group = _cut(entry.labels)
    return [entry.usage, *_cut(entry.raw), container, f"{group}/[{','.join(entry.classes)}]"]


def _read_row(fields: list[str], row: int, path: Path) -> SplitEntry:
    where = f"{path}, row {row}"
    if len(fields) == 5:
        usage, raw, labels = fields[0], _join(*fields[1:3]), _join(*fields[3:])
    elif len(fields) == 3:
        usage, raw, labels = fields
    else:
        hint = "put fields that hold commas, as in [mito,nuc], into double quotes"
        raise DataError(
            where, expected="5 columns, or 3: usage, images, labels", got=f"{len(fields)} columns", hint=hint
        )
    if usage not in USAGES:
        hint = "the table has no header" if row == 1 else ""
        raise DataError(f"{where}: the first column", expected=" or ".join(USAGES), got=repr(usage), hint=hint)
    labels, classes = _cut_classes(labels)
    raw, labels = _find(raw, path, f"{where}: the images"), _find(labels, path, f"{where}: the labels")
    return SplitEntry(usage, raw, labels, classes, row)


def _cut_classes(labels: str) -> tuple[str, tuple[str, ...]]:
    """Divide ``.../crop1/[mito,nuc]`` or ``.../crop1/mito`` into the crop's group and its classes."""
    labels = labels.rstrip("/")
    found = _CLASSES.search(labels)
    if found is None:
        return labels, ()
    if found["crop"]:
        return labels[: found.end("crop")], (found["name"],)
    return labels[: found.start()], tuple(name.strip() for name in found["names"].split(",") if name.strip())


def _find(folder: str, table: Path, what: str) -> str:
    """Return the absolute path of a folder that is there."""
    if "://" in folder:
        return folder.rstrip("/")
    for start in (Path(), table.parent):
        if (start / folder).is_dir():
            return os.path.abspath(start / folder)
    raise MissingDataError(f"{what} {folder} do not exist")


def _join(container: str, group: str) -> str:
    return f"{container.rstrip('/')}/{group.lstrip('/')}"


def _cut(path: str) -> tuple[str, str]:
    """Divide the path of a group into its container, which ends with .zarr, and what is inside."""
    container, found, group = path.rpartition(".zarr/")
    return (container + ".zarr", group) if found else (os.path.dirname(path), os.path.basename(path))
