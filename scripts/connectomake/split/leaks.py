"""Generated volumes are trained on only where their generator has seen nothing of what is held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from connectomake.errors import DataError
from connectomake.split.table import SplitRow
from connectomake.volumes.ingested import IngestedVolume

HELD_OUT = ("validate", "test")


def refuse_leaks(rows: Sequence[SplitRow], volumes: Mapping[Path, IngestedVolume]) -> None:
    """Reject generated volumes whose generator has learnt from voxels that validate or test.

    Files are compared by their paths: those of the generator's training, and those of this split.

    Parameters
    ----------
    rows
        The boxes and their roles.
    volumes
        The volumes by the path of their volume.json.

    Raises
    ------
    DataError
        There is such a volume; names it, and the volume whose voxels leak.
    """
    generated = [row for row in rows if volumes[row.volume_json].is_generated]
    if not generated:
        return
    seen = {entry: row for row in generated for entry in volumes[row.volume_json].seen or ()}
    for held in rows:
        if held.role not in HELD_OUT:
            continue
        file, box = volumes[held.volume_json].find_in_file(held.box)
        for learnt, row in seen.items():
            common = learnt.box_zyx_vx.intersect(box)
            if learnt.source == file and common.size:
                raise DataError(
                    f"the generator of volume {row.volume!r} has learnt from voxels of {held.volume!r}, whose role is "
                    f"{held.role}",
                    expected="generators that have seen nothing of what is held out",
                    got=f"voxels {list(common.start_zyx)} to {list(common.stop_zyx)} of {file} in both",
                    hint="train the generator with the same split, or hold out other voxels",
                )
