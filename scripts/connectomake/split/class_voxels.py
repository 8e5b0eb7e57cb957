"""The annotated crops that a split is made of, and the table of the voxels that each class has in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from connectomake.cellmap.manifest import CropGrid
from connectomake.errors import DataError
from connectomake.tables import QUOTED, write_table
from connectomake.volumes.files import read_json

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
    voxels: dict[str, dict[str, int]]
    grid: CropGrid


def read_crop(volume_json: Path) -> AnnotatedCrop | None:
    """Read what an ingested volume tells of the crop that it is; None where that is not to be learnt from.

    Raises
    ------
    DataError
        The volume is no crop of a challenge.
    """
    told = read_json(volume_json)
    try:
        crop = told["crop"]
        if told["role"] not in LEARNT:
            return None
        raw, labels = (os.path.abspath(volume_json.parent / crop[key]) for key in ("raw_group", "labels_group"))
        names = (told["name"], told["role"], crop["dataset"], crop["crop"])
        return AnnotatedCrop(*names, raw, labels, tuple(crop["classes"]), crop["voxels"], CropGrid.of_crop(crop))
    except (KeyError, TypeError) as error:
        hint = "ingest it again as a crop; of other volumes split.method is role, slab or blocks"
        raise DataError(f"{volume_json} describes no annotated crop of a challenge", hint=hint) from error


def write_class_voxels(path: Path, crops: Iterable[AnnotatedCrop]) -> None:
    """Write how many voxels each class has in each crop, as a tab-separated table: one row per crop and class."""
    rows = (
        [crop.dataset, crop.crop, crop.role, name, *(voxels[state] for state in COLUMNS[4:])]
        for crop in crops
        for name, voxels in crop.voxels.items()
    )
    write_table(path, COLUMNS, rows, QUOTED)
