"""Take the roles of crops from a `datasplit.csv`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from connectomake.cellmap.datasplit import SplitEntry, read_datasplit
from connectomake.errors import DataError
from connectomake.split.class_voxels import AnnotatedCrop, read_crop
from connectomake.split.table import SplitRow
from connectomake.volumes.ingested import IngestedVolume

log = logging.getLogger(__name__)


def take_roles(rows: Sequence[SplitRow], volumes: Mapping[Path, IngestedVolume], datasplit: Path) -> list[SplitRow]:
    """Assign each volume that is an annotated crop the role that the table has for it; others keep theirs.

    A row is a crop's by the group of its labels or, where the data were moved, by the names of dataset and crop.

    Parameters
    ----------
    rows
        One for each volume.
    volumes
        The volumes by the path of their volume.json.
    datasplit
        The table.

    Returns
    -------
    list of SplitRow
        Without crops in which no class asked for is annotated.

    Raises
    ------
    DataError
        A row of the table is no volume's, two rows are one volume's, or a volume has none.
    """
    crops = {row.volume: crop for row in rows if (crop := read_crop(volumes[row.volume_json])) is not None}
    found: dict[str, SplitEntry] = {}
    for entry in read_datasplit(datasplit):
        where = f"{datasplit}, row {entry.row}"
        crop = _find(entry, list(crops.values()))
        if crop is None:
            raise DataError(f"{where}: no volume is the crop {entry.labels}", hint="split the crops again")
        if crop.volume in found:
            raise DataError(f"{where}: the volume {crop.volume!r} is in row {found[crop.volume].row} already")
        found[crop.volume] = entry
    bare = {name for name, crop in crops.items() if not crop.classes} - set(found)
    for name, crop in crops.items():
        if name not in found and name not in bare:
            raise DataError(f"{datasplit} has no row for {crop.labels} (volume {name!r})", hint="split the crops again")
    if bare:
        log.info("left out, since none of the classes asked for is annotated in them: %s", ", ".join(sorted(bare)))
    kept = [row for row in rows if row.volume not in bare]
    return [replace(row, role=found[row.volume].usage) if row.volume in found else row for row in kept]


def _find(entry: SplitEntry, crops: Sequence[AnnotatedCrop]) -> AnnotatedCrop | None:
    """Return the crop that an entry speaks of."""
    same = [crop for crop in crops if crop.labels == entry.labels]
    named = [crop for crop in crops if (crop.dataset, crop.crop) == (entry.dataset, entry.crop)]
    return next(iter(same + named), None)
