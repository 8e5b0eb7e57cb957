"""Generated volumes are trained on only where their generator has seen nothing of what is held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connectomake.errors import DataError
from connectomake.geometry import Box, to_triple
from connectomake.split.table import SplitRow
from connectomake.volumes.files import read_json
from connectomake.volumes.ingest import SEEN, find_in_file

HELD_OUT = ("validate", "test")


def is_generated(row: SplitRow) -> bool:
    """Tell whether a volume was made by a generator that has learnt from other volumes."""
    return SEEN in read_json(row.volume_json)


def list_seen(volume_json: Path) -> list[tuple[str, Box]]:
    """List what the generator of a volume has learnt from: array and box in its voxels; nothing of other volumes."""
    entries = read_json(volume_json).get(SEEN, ())
    return [(entry["source"], Box(to_triple(entry["start"]), to_triple(entry["stop"]))) for entry in entries]


def refuse_leaks(rows: Sequence[SplitRow]) -> None:
    """Refuse generated volumes whose generator has learnt from voxels that validate or test.

    Files are compared by their paths: those of the generator's training, and those of this split.

    Raises
    ------
    DataError
        There is such a volume; names it, and the volume whose voxels leak.
    """
    generated = [row for row in rows if is_generated(row)]
    if not generated:
        return
    seen = {entry: row for row in generated for entry in list_seen(row.volume_json)}
    for held in rows:
        if held.role not in HELD_OUT:
            continue
        file, box = find_in_file(held.volume_json, held.box)
        for (source, learnt), row in seen.items():
            common = learnt.intersect(box)
            if source == file and common.size:
                raise DataError(
                    f"the generator of volume {row.volume!r} has learnt from voxels of {held.volume!r}, whose role is "
                    f"{held.role}",
                    expected="generators that have seen nothing of what is held out",
                    got=f"voxels {list(common.start_zyx)} to {list(common.stop_zyx)} of {file} in both",
                    hint="train the generator with the same split, or hold out other voxels",
                )
