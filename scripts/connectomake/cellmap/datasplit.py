"""The challenge's table of crops to learn from: `datasplit.csv`, which its own loader reads too.

One line for each crop, all fields in double quotes, no header; lines that begin with # are passed over::

    "train","DIR/jrc_x.zarr","recon-1/em/fibsem-uint8","DIR/jrc_x.zarr","recon-1/labels/groundtruth/crop234/[mito,nuc]"
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from connectomake.errors import DataError, MissingDataError

USAGES = ("train", "validate")
_CLASSES = re.compile(r"/?\[(?P<names>[^\[\]]*)\]/?$")


@dataclass(frozen=True)
class SplitEntry:
    """One crop.

    Parameters
    ----------
    usage
        train or validate.
    raw, labels
        Zarr groups of the images and of the crop, each as ``container.zarr/group/...``; written as given.
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


def read_datasplit(path: Path) -> list[SplitEntry]:
    """Read a split of five columns (usage, container and group of the images, of the crop) or three (whole paths).

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
    with path.open(encoding="utf-8", newline="") as file:
        for row, fields in enumerate(csv.reader(file, skipinitialspace=True), 1):
            if not fields or fields[0].startswith("#"):
                continue
            entry = _read_row(fields, row, f"{path}, row {row}")
            before = seen.setdefault(entry.labels, row)
            if before != row:
                raise DataError(f"{path}, row {row}: the crop {entry.labels} is in row {before} already")
            entries.append(entry)
    if not entries:
        raise DataError(f"{path} has no rows")
    return entries


def write_datasplit(path: Path, entries: Iterable[SplitEntry]) -> None:
    """Write a split of five columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for entry in entries:
            inside = _cut(entry.labels)
            classes = f"{inside[1]}/[{','.join(entry.classes)}]"
            writer.writerow([entry.usage, *_cut(entry.raw), inside[0], classes])


def _read_row(fields: list[str], row: int, where: str) -> SplitEntry:
    if len(fields) == 5:
        usage, raw, labels = fields[0], f"{fields[1]}/{fields[2]}", f"{fields[3]}/{fields[4]}"
    elif len(fields) == 3:
        usage, raw, labels = fields
    else:
        raise DataError(where, expected="5 columns, or 3: usage, images, labels", got=f"{len(fields)} columns")
    if usage not in USAGES:
        raise DataError(f"{where}: the first column", expected=" or ".join(USAGES), got=repr(usage))
    found = _CLASSES.search(labels)
    names = tuple(name.strip() for name in found["names"].split(",") if name.strip()) if found else ()
    labels = _CLASSES.sub("", labels).rstrip("/")
    for what, folder in (("images", raw), ("labels", labels)):
        if "://" not in folder and not Path(folder).is_dir():
            raise MissingDataError(f"{where}: the {what} {folder} do not exist")
    return SplitEntry(usage, raw.rstrip("/"), labels, names, row)


def _cut(path: str) -> tuple[str, str]:
    """Divide the path of a group into its container, which ends with .zarr, and what is inside."""
    container, found, group = path.rpartition(".zarr/")
    return (container + ".zarr", group) if found else (str(Path(path).parent), Path(path).name)
