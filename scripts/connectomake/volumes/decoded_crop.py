"""A decoded crop of the CellMap challenge: what its crop.json holds, read and written here alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectomake.cellmap.manifest import CropGrid
from connectomake.files import write_json
from connectomake.volumes.contract import Record, mark_version, read_record

SCHEMA_VERSION = 1
AGAIN = "delete it and run decode_crop again"


@dataclass(frozen=True)
class DecodedClass:
    """What was made of one class.

    Parameters
    ----------
    is_predicted
        Whether there was a channel for it; else its array is all 0.
    has_instances
        Whether objects are told apart.
    dtype
        Of its array.
    voxels
        How many are not 0.
    objects
        How many there are; None where they are not told apart.
    """

    is_predicted: bool
    has_instances: bool
    dtype: str
    voxels: int
    objects: int | None

    @classmethod
    def of_record(cls, record: Record) -> DecodedClass:
        """Take it out of a file."""
        return cls(
            is_predicted=record.flag("predicted"),
            has_instances=record.flag("instances"),
            dtype=record.text("dtype"),
            voxels=record.whole("voxels"),
            objects=record.optional(record.whole, "objects"),
        )

    def as_plain(self) -> dict[str, Any]:
        """Return plain data for a file."""
        return {
            "predicted": self.is_predicted,
            "instances": self.has_instances,
            "dtype": self.dtype,
            "voxels": self.voxels,
            "objects": self.objects,
        }


@dataclass(frozen=True)
class DecodedCrop:
    """The arrays of one crop.

    Parameters
    ----------
    path
        Its crop.json.
    crop, dataset
        Such as ``crop234`` and ``jrc_cos7-1a``.
    folder
        Name of the folder of its arrays, beside crop.json.
    grid
        The crop's own voxels.
    classes
        What was made of each class.
    settings_hash
        What tells it from a crop that was decoded otherwise.
    """

    path: Path
    crop: str
    dataset: str
    folder: str
    grid: CropGrid
    classes: Mapping[str, DecodedClass]
    settings_hash: str

    @classmethod
    def read(cls, path: Path) -> DecodedCrop:
        """Read a crop.json.

        Raises
        ------
        MissingDataError
            The crop is not decoded.
        DataError
            The file is of a version that is not known, damaged, or lacks something; the line says what.
        """
        record = read_record(path, SCHEMA_VERSION, AGAIN)
        classes = record.section("classes")
        size, offset = (record.triple_nm(key) for key in ("voxel_size_zyx_nm", "offset_zyx_nm"))
        return cls(
            path=Path(path),
            crop=record.text("crop"),
            dataset=record.text("dataset"),
            folder=record.text("folder"),
            grid=CropGrid(record.triple("shape_zyx"), size, offset),
            classes={label: DecodedClass.of_record(classes.section(label)) for label in classes.values},
            settings_hash=record.optional(record.text, "settings_hash") or "",
        )

    def write(self) -> None:
        """Write crop.json, whole or not at all.

        Raises
        ------
        DataError
            The disk refuses.
        """
        content = {
            "crop": self.crop,
            "dataset": self.dataset,
            "folder": self.folder,
            "shape_zyx": self.grid.shape_zyx,
            "voxel_size_zyx_nm": self.grid.voxel_size_zyx_nm,
            "offset_zyx_nm": self.grid.offset_zyx_nm,
            "classes": {label: found.as_plain() for label, found in self.classes.items()},
            "settings_hash": self.settings_hash,
        }
        write_json(self.path, mark_version(content, SCHEMA_VERSION))

    @property
    def arrays(self) -> Path:
        """The folder of its arrays, one for each class."""
        return self.path.parent / self.folder

    def array_of(self, label: str) -> Path | None:
        """Return the folder of the array of a class; None where it has none."""
        return self.arrays / label if label in self.classes else None
