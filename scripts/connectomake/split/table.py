"""The table of a split, `split.tsv`: one row per box of voxels, with what it is used for."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from connectomake.errors import DataError, MissingDataError
from connectomake.geometry import Box, Triple, to_triple
from connectomake.volumes.files import replacing

COLUMNS = ("volume", "role", "volume_json", "box_start_zyx_vx", "box_stop_zyx_vx", "weight")
ROLES = ("train", "validate", "test", "predict")


@dataclass(frozen=True)
class SplitRow:
    """One box of a volume and its role.

    Parameters
    ----------
    volume
        Name of the volume.
    role
        train, validate, test or predict.
    volume_json
        Where the volume is described.
    box
        In voxels of the ingested volume.
    weight
        How often training draws from it, per voxel, relative to the others.
    """

    volume: str
    role: str
    volume_json: Path
    box: Box
    weight: float = 1.0


def write_split(path: Path, rows: Sequence[SplitRow]) -> None:
    """Write a split as a tab-separated table, atomically."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            start, stop = (",".join(map(str, corner)) for corner in (row.box.start_zyx, row.box.stop_zyx))
            writer.writerow([row.volume, row.role, row.volume_json, start, stop, f"{row.weight:g}"])


def read_split(path: Path) -> list[SplitRow]:
    """Read a split.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        A column is missing, or a row cannot be read; names the row.
    """
    if not path.is_file():
        raise MissingDataError(f"no split {path}", hint="run make_datasplit first")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{path} lacks columns", expected=", ".join(COLUMNS), got=", ".join(reader.fieldnames or ())
            )
        return [_read_row(row, f"{path}, row {number}") for number, row in enumerate(reader, 1)]


def _read_row(row: dict[str, str], where: str) -> SplitRow:
    try:
        box = Box(_read_corner(row["box_start_zyx_vx"]), _read_corner(row["box_stop_zyx_vx"]))
        weight = float(row["weight"])
    except (ValueError, AttributeError) as error:
        raise DataError(f"{where} cannot be read ({error})", hint="make the split again") from error
    if row["role"] not in ROLES or box.size == 0 or not 0 < weight < float("inf"):
        raise DataError(
            f"{where} makes no sense",
            expected=f"a role of {', '.join(ROLES)}, a box with voxels, a weight above 0",
            got=dict(row),
        )
    return SplitRow(row["volume"], row["role"], Path(row["volume_json"]), box, weight)


def _read_corner(text: str) -> Triple:
    return to_triple([int(part) for part in text.split(",")])
