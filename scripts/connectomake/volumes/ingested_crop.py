"""What volume.json says of a crop of the CellMap challenge, besides what it says of every volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectomake.cellmap.manifest import CropGrid
from connectomake.errors import DataError
from connectomake.volumes.contract import Record


@dataclass(frozen=True)
class IngestedCrop:
    """What is known of a volume that is a crop of the CellMap challenge.

    Parameters
    ----------
    dataset, crop
        Such as ``jrc_cos7-1a`` and ``crop234``.
    grid
        The crop's own voxels, which may be finer than those of the volume.
    classes
        Those asked for that are annotated in it, or are to be submitted.
    voxels
        Class -> how many voxels are present, absent and unknown; nothing where there are no labels.
    raw_group, labels_group
        The Zarr groups that it was ingested from, as `StoredArray.source`; None where there is none.
    level
        Name of the level of the images that was read.
    is_resampled
        Whether that was resampled.
    """

    dataset: str
    crop: str
    grid: CropGrid
    classes: tuple[str, ...]
    voxels: Mapping[str, Mapping[str, int]]
    raw_group: str | None
    labels_group: str | None
    level: str
    is_resampled: bool

    @classmethod
    def of_record(cls, record: Record) -> IngestedCrop:
        """Take it out of a file."""
        voxels = record.section("voxels")
        return cls(
            dataset=record.text("dataset"),
            crop=record.text("crop"),
            grid=CropGrid(
                record.triple("shape_zyx"), record.triple_nm("voxel_size_zyx_nm"), record.triple_nm("offset_zyx_nm")
            ),
            classes=record.texts("classes"),
            voxels={label: _read_counts(voxels.section(label)) for label in voxels.values},
            raw_group=record.optional(record.text, "raw_group"),
            labels_group=record.optional(record.text, "labels_group"),
            level=record.text("level"),
            is_resampled=record.flag("resampled"),
        )

    def as_plain(self) -> dict[str, Any]:
        """Return plain data for a file."""
        return {
            "dataset": self.dataset,
            "crop": self.crop,
            "shape_zyx": self.grid.shape_zyx,
            "voxel_size_zyx_nm": self.grid.voxel_size_zyx_nm,
            "offset_zyx_nm": self.grid.offset_zyx_nm,
            "classes": self.classes,
            "raw_group": self.raw_group,
            "labels_group": self.labels_group,
            "level": self.level,
            "resampled": self.is_resampled,
            "voxels": self.voxels,
        }


@dataclass(frozen=True)
class CodeTable:
    """What the codes in the labels of a crop mean.

    Parameters
    ----------
    classes
        Names of the classes.
    states
        For each code, from 1 on, one letter per class: 1 present, 0 absent, u unknown.
    """

    classes: tuple[str, ...]
    states: tuple[str, ...]

    @classmethod
    def of_record(cls, record: Record) -> CodeTable:
        """Take it out of a file.

        Raises
        ------
        DataError
            A code has another number of letters, or other ones.
        """
        classes, states = record.texts("classes"), record.texts("states")
        if any(len(row) != len(classes) or set(row) - set("01u") for row in states):
            raise DataError(
                f"the codes in {record.where} are damaged", expected="1, 0 or u per class", hint=record.hint
            )
        return cls(classes, states)

    def as_plain(self) -> dict[str, Any]:
        """Return plain data for a file."""
        return {"classes": list(self.classes), "states": list(self.states)}


def _read_counts(record: Record) -> dict[str, int]:
    return {state: record.whole(state) for state in record.values}
