"""An ingested volume: what volume.json holds, read and written here alone, and its voxels, opened on demand.

A job reads the file once, by `IngestedVolume.read`, and hands the volume on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from connectomake.errors import DataError
from connectomake.files import write_json
from connectomake.geometry import Box, Triple, TripleNm
from connectomake.sources import is_remote, locate
from connectomake.volumes.contract import Record, mark_version, read_record
from connectomake.volumes.ingested_crop import CodeTable, IngestedCrop
from connectomake.volumes.volume import Volume, open_volume

SCHEMA_VERSION = 1
AGAIN = "delete it and ingest the volume again"

RAW_STORE, LABELS_STORE, SKELETONS = "raw.zarr", "labels.zarr", "skeletons.npz"
SEEN = "seen"
"""What a generator has learnt from, in volume.json and in the attributes of the stores that it writes."""


@dataclass(frozen=True)
class StoredArray:
    """Where the voxels of a volume lie.

    Parameters
    ----------
    source
        Path or URL of the array; a relative path starts at the folder of volume.json.
    axes
        One letter for each of its axes.
    box_zyx_vx
        The part of it that is the volume.
    dtype
        Type of the values, as numpy names it.
    """

    source: str
    axes: str
    box_zyx_vx: Box
    dtype: str

    @classmethod
    def of_record(cls, record: Record) -> StoredArray:
        """Take it out of a file."""
        return cls(record.text("source"), record.text("axes"), record.box("box_zyx_vx"), record.text("dtype"))

    def as_plain(self) -> dict[str, Any]:
        """Return plain data for a file."""
        corners = [self.box_zyx_vx.start_zyx, self.box_zyx_vx.stop_zyx]
        return {"source": self.source, "axes": self.axes, "box_zyx_vx": corners, "dtype": self.dtype}


@dataclass(frozen=True)
class SeenBox:
    """A box of voxels that the generator of a volume has learnt from.

    Parameters
    ----------
    source
        The array, by absolute path or URL.
    box_zyx_vx
        In voxels of that array.
    """

    source: str
    box_zyx_vx: Box

    @classmethod
    def of_record(cls, record: Record) -> SeenBox:
        """Take it out of a file."""
        return cls(record.text("source"), Box(record.triple("start"), record.triple("stop")))

    def as_plain(self) -> dict[str, Any]:
        """Return plain data for a file."""
        return {
            "source": self.source,
            "start": list(self.box_zyx_vx.start_zyx),
            "stop": list(self.box_zyx_vx.stop_zyx),
        }


@dataclass(frozen=True)
class Origin:
    """What the data config said of a volume, as far as results depend on it after ingest.

    Parameters
    ----------
    folder
        Where relative paths start.
    raw
        Path of the images; None of volumes that are made here.
    axes
        Order of the array's axes; None = what the file says.
    box_zyx_vx
        The part that was asked for, in voxels of the file; None = all.
    crop
        DATASET/cropN of the crops of a challenge.
    swc_unit_nm
        nm per unit of length in SWC files.
    settings
        All that the config said, with the folder, as it is kept in volume.json for whoever looks there.
    """

    folder: str = ""
    raw: str | None = None
    axes: str | None = None
    box_zyx_vx: Box | None = None
    crop: str | None = None
    swc_unit_nm: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_record(cls, record: Record) -> Origin:
        """Take it out of a file; what an older one does not have is as it was then."""
        unit = record.optional(record.number, "swc_unit_nm")
        return cls(
            folder=record.optional(record.text, "folder") or "",
            raw=record.optional(record.text, "raw"),
            axes=record.optional(record.text, "axes"),
            box_zyx_vx=record.optional(record.box, "box_zyx_vx"),
            crop=record.optional(record.text, "crop"),
            swc_unit_nm=1.0 if unit is None else unit,
            settings=dict(record.values),
        )


@dataclass(frozen=True)
class IngestedVolume:
    """A volume after ingest.

    Parameters
    ----------
    path
        Its volume.json.
    name
        Its name in the data config.
    role
        What it is used for: train, validate, test or predict.
    weight
        How often training draws from one of its voxels.
    shape_zyx, voxel_size_zyx_nm, offset_zyx_nm
        In voxels, and nm; the offset is the centre of the first voxel.
    raw, labels
        Where the images and the labels lie; None without labels.
    origin
        What the data config said.
    seen
        What its generator has learnt from; None of volumes that no generator made.
    crop
        What is known of a crop of the CellMap challenge; None of other volumes.
    codes
        What the labels of a crop mean; None without.
    """

    path: Path
    name: str
    role: str
    weight: float
    shape_zyx: Triple
    voxel_size_zyx_nm: TripleNm
    offset_zyx_nm: TripleNm
    raw: StoredArray
    labels: StoredArray | None
    origin: Origin
    seen: tuple[SeenBox, ...] | None = None
    crop: IngestedCrop | None = None
    codes: CodeTable | None = None

    @classmethod
    def read(cls, path: Path) -> IngestedVolume:
        """Read a volume.json.

        Raises
        ------
        MissingDataError
            The volume is not ingested.
        DataError
            The file is of a version that is not known, damaged, or lacks something; the line says what.
        """
        record = read_record(path, SCHEMA_VERSION, AGAIN)
        labels = record.section("labels") if record.optional(record.section, "labels") else None
        return cls(
            path=Path(path),
            name=record.text("name"),
            role=record.text("role"),
            weight=record.number("weight"),
            shape_zyx=record.triple("shape_zyx"),
            voxel_size_zyx_nm=record.triple_nm("voxel_size_zyx_nm"),
            offset_zyx_nm=record.triple_nm("offset_zyx_nm"),
            raw=StoredArray.of_record(record.section("raw")),
            labels=None if labels is None else StoredArray.of_record(labels),
            origin=Origin.of_record(record.section("settings")),
            seen=tuple(map(SeenBox.of_record, record.sections(SEEN))) if SEEN in record.values else None,
            crop=IngestedCrop.of_record(record.section("crop")) if "crop" in record.values else None,
            codes=_read_codes(record),
        )

    def write(self) -> None:
        """Write volume.json, whole or not at all.

        Raises
        ------
        DataError
            The disk refuses.
        """
        content: dict[str, Any] = {
            "name": self.name,
            "role": self.role,
            "weight": self.weight,
            "shape_zyx": self.shape_zyx,
            "voxel_size_zyx_nm": self.voxel_size_zyx_nm,
            "offset_zyx_nm": self.offset_zyx_nm,
            "raw": self.raw.as_plain(),
            "labels": self.labels and self.labels.as_plain(),
        }
        if self.seen is not None:
            content[SEEN] = [box.as_plain() for box in self.seen]
        if self.crop is not None:
            content |= {"crop": self.crop.as_plain(), "codes": self.codes and self.codes.as_plain()}
        write_json(self.path, mark_version({**content, "settings": dict(self.origin.settings)}, SCHEMA_VERSION))

    @property
    def is_generated(self) -> bool:
        """Whether a generator made it that has learnt from other volumes."""
        return self.seen is not None

    @property
    def skeletons(self) -> Path:
        """The file of its skeletons, which the rule skeletonize makes beside volume.json where there are any."""
        return self.path.with_name(SKELETONS)

    def open_raw(self) -> Volume:
        """Open the raw data, once: (Z, Y, X), or (C, Z, Y, X) where there are several channels.

        Raises
        ------
        MissingDataError
            The file was moved since.
        """
        return self._raw

    def open_labels(self) -> Volume:
        """Open the labels, once: (Z, Y, X) integers, 0 = background, -1 (in signed types) = unknown.

        Raises
        ------
        DataError
            The volume has no labels.
        MissingDataError
            The file was moved since.
        """
        return self._labels

    def find_source(self) -> tuple[str, str | None]:
        """Return the array that the raw data were read from, and the axes that the config says it has.

        It is the array itself where that is linked; what was converted may have been removed since.
        """
        if self._is_copied and self.origin.raw is not None:
            return locate(self.origin.raw, self.origin.folder), self.origin.axes
        return self._resolve(self.raw.source), self.origin.axes

    def find_in_file(self, box: Box) -> tuple[str, Box]:
        """Return the array that a box of this volume was read from, and the box in that array's voxels.

        Two volumes of one file, also of two data configs, are told apart or found to overlap by it. A crop whose images
        were resampled counts as an array of its own.
        """
        source, _ = self.find_source()
        start_zyx = self.raw.box_zyx_vx.start_zyx
        if self._is_copied:  # it begins where the box that was asked for does
            start_zyx = (0, 0, 0) if self.origin.box_zyx_vx is None else self.origin.box_zyx_vx.start_zyx
            source += f"::{self.origin.crop}" if self.origin.crop else ""
        file, separator, name = source.partition("::")
        return (file if is_remote(file) else os.path.realpath(file)) + separator + name, box.shift(start_zyx)

    @cached_property
    def _raw(self) -> Volume:
        return self._open(self.raw)

    @cached_property
    def _labels(self) -> Volume:
        if self.labels is None:
            raise DataError(
                f"the volume {self.name} has no labels",
                hint="give their path as the key labels of this volume in its file in config/data/",
            )
        return self._open(self.labels)

    @property
    def _is_copied(self) -> bool:
        return self.raw.source == RAW_STORE

    def _open(self, array: StoredArray) -> Volume:
        source = self._resolve(array.source)
        volume = open_volume(source, axes=array.axes, voxel_size_zyx_nm=self.voxel_size_zyx_nm)
        return replace(volume.crop(array.box_zyx_vx).drop_single_channel(), offset_zyx_nm=self.offset_zyx_nm)

    def _resolve(self, source: str) -> str:
        """Return the path of an array; joining leaves an absolute one as it is."""
        return source if is_remote(source) else os.path.normpath(os.path.join(self.path.parent, source))


def _read_codes(record: Record) -> CodeTable | None:
    found = record.optional(record.section, "codes")
    return None if found is None else CodeTable.of_record(found)
