"""The table of a split, `split.tsv`: one row per box of voxels, with what it is used for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectomake.errors import DataError, MissingDataError
from connectomake.geometry import Box, Triple, to_triple
from connectomake.tables import QUOTED, read_table, write_table

COLUMNS = ("volume", "role", "volume_json", "box_start_zyx_vx", "box_stop_zyx_vx", "weight")
MIX_COLUMNS = ("source", "share")  # absent in tables of earlier versions
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
        How often training draws from it, per voxel, relative to the others of its source.
    source
        The kind of data it is, such as real or synthetic.
    share
        How often training draws from that source, relative to the other sources; None where nothing is mixed, and of
        boxes that are not trained on.
    """

    volume: str
    role: str
    volume_json: Path
    box: Box
    weight: float = 1.0
    source: str = ""
    share: float | None = None

    def as_settings(self) -> list[Any]:
        """Return all that decides which patches are drawn from it, as plain data."""
        corners = [list(self.box.start_zyx), list(self.box.stop_zyx)]
        return [self.volume, self.role, *corners, self.weight, self.source, self.share]


def write_split(path: Path, rows: Sequence[SplitRow]) -> None:
    """Write a split as a tab-separated table, atomically."""
    write_table(path, COLUMNS + MIX_COLUMNS, map(_list_fields, rows), QUOTED)


def read_split(path: Path) -> list[SplitRow]:
    """Read a split.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        A column is missing, a row cannot be read, or the shares of sources make no sense; names the row or source.
    """
    if not path.is_file():
        raise MissingDataError(f"no split {path}", hint="run make_datasplit first")
    found = read_table(path, COLUMNS, "boxes of a split", QUOTED)
    rows = [_read_row(row, f"{path}, row {number}") for number, row in enumerate(found, 1)]
    check_shares(rows, str(path))
    return rows


def _list_fields(row: SplitRow) -> list[Any]:
    start, stop = (",".join(map(str, corner)) for corner in (row.box.start_zyx, row.box.stop_zyx))
    return [row.volume, row.role, row.volume_json, start, stop, row.weight, row.source, row.share]


def _read_row(row: dict[str, str], where: str) -> SplitRow:
    try:
        box = Box(_read_corner(row["box_start_zyx_vx"]), _read_corner(row["box_stop_zyx_vx"]))
        weight, share = float(row["weight"]), float(row["share"]) if row.get("share") else None
    except (ValueError, AttributeError) as error:
        raise DataError(f"{where} cannot be read ({error})", hint="make the split again") from error
    numbers = 0 < weight < float("inf") and (share is None or 0 <= share < float("inf"))
    if row["role"] not in ROLES or box.size == 0 or not numbers:
        raise DataError(
            f"{where} makes no sense",
            expected=f"a role of {', '.join(ROLES)}, a box with voxels, a weight above 0, a share of 0 or above",
            got=dict(row),
        )
    return SplitRow(row["volume"], row["role"], Path(row["volume_json"]), box, weight, row.get("source") or "", share)


def check_shares(rows: Sequence[SplitRow], where: str) -> None:
    """Reject shares that sources cannot be mixed by.

    Raises
    ------
    DataError
        Train boxes of one source differ in their share, only some sources have one, or the shares sum to 0.
    """
    shares: dict[str, float | None] = {}
    for row in rows:
        if row.role == "train" and shares.setdefault(row.source, row.share) != row.share:
            raise DataError(
                f"{where}: volume {row.volume!r} has another share than its source {row.source!r}",
                expected=shares[row.source],
                got=row.share,
                hint="make the split again",
            )
    given = [share for share in shares.values() if share is not None]
    if given and (len(given) < len(shares) or not sum(given) > 0):
        raise DataError(
            f"{where}: the sources cannot be mixed",
            expected="a share for each source that is trained on, with a positive sum",
            got=shares,
            hint="correct `mix` in the data config, and make the split again",
        )


def _read_corner(text: str) -> Triple:
    return to_triple([int(part) for part in text.split(",")])
