"""The annotated crops that a split is made of, and the table of the voxels that each class has in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from connectomake.cellmap.manifest import CropGrid
from connectomake.errors import DataError
from connectomake.tables import QUOTED, write_table
from connectomake.volumes.ingested import IngestedVolume

COLUMNS = ("dataset", "crop", "split", "class", "present", "absent", "unknown")
LEARNT = ("train", "validate")


@dataclass(frozen=True)
class AnnotatedCrop:
    """What a split has to know of a crop.

    Parameters
    ----------
    volume
        Name of the volume that the crop is.
    role
        train or validate.
    dataset, crop
        As in ``jrc_x`` and ``crop234``.
    raw, labels
        Zarr groups of the images and of the crop's labels, absolute.
    classes
        Those asked for that are annotated in it.
    voxels
        Class -> how many voxels are present, absent and unknown.
    grid
        The crop's own voxels.
    """

    volume: str
    role: str
    dataset: str
    crop: str
    raw: str
    labels: str
    classes: tuple[str, ...]
    voxels: Mapping[str, Mapping[str, int]]
    grid: CropGrid


def read_crop(volume: IngestedVolume) -> AnnotatedCrop | None:
    """Read what an ingested volume tells of the crop that it is; None where that is not to be learnt from.

    Raises
    ------
    DataError
        The volume is no crop of a challenge.
    """
    crop = volume.crop
    if crop is not None and volume.role not in LEARNT:
        return None
    if crop is None or crop.raw_group is None or crop.labels_group is None:
        hint = "ingest it again as a crop; of other volumes split.method is role, slab or blocks"
        raise DataError(f"{volume.path} describes no annotated crop of a challenge", hint=hint)
    raw, labels = (os.path.abspath(volume.path.parent / group) for group in (crop.raw_group, crop.labels_group))
    names = (volume.name, volume.role, crop.dataset, crop.crop)
    return AnnotatedCrop(*names, raw, labels, crop.classes, crop.voxels, crop.grid)


def write_class_voxels(path: Path, crops: Iterable[AnnotatedCrop]) -> None:
    """Write how many voxels each class has in each crop, as a tab-separated table: one row per crop and class."""
    rows = (
        [crop.dataset, crop.crop, crop.role, name, *(voxels[state] for state in COLUMNS[4:])]
        for crop in crops
        for name, voxels in crop.voxels.items()
    )
    write_table(path, COLUMNS, rows, QUOTED)
