"""From the files that a rule names to the crops of a submission: images, truth and what was submitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.cellmap.manifest import CropGrid
from connectomake.errors import DataError
from connectomake.files import read_json
from connectomake.volumes.decoded_crop import DecodedCrop
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.resample import Resampled, lay_on, resample
from connectomake.volumes.volume import Lattice, Readable, Volume, open_volume

UNKNOWN = -1


@dataclass(frozen=True)
class SubmittedCrop:
    """One crop of a submission.

    Parameters
    ----------
    dataset, crop
        Such as ``jrc_cos7-1a`` and ``crop234``.
    grid
        The crop's own voxels.
    raw
        Images, on voxels of any size.
    truth
        The group of the crop's labels, with a group of levels or an array for each class; None where there is none.
    arrays
        The folder with the submitted array of each class.
    """

    dataset: str
    crop: str
    grid: CropGrid
    raw: Readable
    truth: Path | None
    arrays: Path

    @property
    def images(self) -> Resampled:
        """The images on the crop's own voxels."""
        return resample(self.raw, self.grid.voxel_size_zyx_nm, over=self.grid)

    def has_truth(self, label: str) -> bool:
        """Whether a class has labels of its own."""
        return self.truth is not None and (self.truth / label).is_dir()

    def read_truth(self, label: str, grid: Lattice) -> np.ndarray:
        """Read the truth of a class at the voxels of a grid: (Z, Y, X) int64, 0 = not of it, -1 = unknown.

        Raises
        ------
        DataError
            The class has no labels.
        """
        if not self.has_truth(label):
            raise DataError(f"{self.crop} has no labels of {label}", got=self.truth)
        volume, unknown = _open_labels(Path(self.truth or "", label), self.grid)
        ids = lay_on(volume, grid).read().astype(np.int64)
        if unknown is not None:
            ids[ids == unknown] = UNKNOWN
        if self.has_truth(f"{label}_mask"):
            mask, _ = _open_labels(Path(self.truth or "", f"{label}_mask"), self.grid)
            ids[lay_on(mask, grid).read() == 0] = UNKNOWN
        return ids

    def read_submitted(self, label: str, grid: Lattice) -> np.ndarray:
        """Read what was submitted of a class at the voxels of a grid: (Z, Y, X) int64; 0 without an array."""
        if not (self.arrays / label).is_dir():
            return np.zeros(grid.shape_zyx, np.int64)
        return lay_on(_open_array(self.arrays / label, self.grid), grid).read().astype(np.int64)


def open_crops(volumes: Sequence[Path], crops: Sequence[Path], truth: Path | None = None) -> dict[str, SubmittedCrop]:
    """Open the crops of a submission by their names; no voxels are read yet.

    Parameters
    ----------
    volumes
        volume.json of each crop.
    crops
        crop.json of each crop, in any order.
    truth
        Where the labels of crops lie whose volume.json names none, as ``cropN/CLASS`` in it.

    Raises
    ------
    MissingDataError
        A file is not there.
    DataError
        A crop has no volume, or a file is not what it should be.
    """
    described = {}
    for volume in map(IngestedVolume.read, volumes):
        if volume.crop is None:
            raise DataError(f"{volume.path} is no crop of a challenge", hint="give those of the submission")
        described[volume.crop.dataset, volume.crop.crop] = (volume, volume.crop)
    opened = {}
    for decoded in map(DecodedCrop.read, crops):
        name = (decoded.dataset, decoded.crop)
        if name not in described:
            known = ", ".join("/".join(key) for key in described) or "none"
            raise DataError(f"{decoded.path}: there is no volume of this crop", expected=known, got="/".join(name))
        volume, crop = described[name]
        own = volume.path.parent / crop.labels_group if crop.labels_group else truth and truth / decoded.crop
        opened[decoded.crop] = SubmittedCrop(*name, decoded.grid, volume.open_raw(), own or None, decoded.arrays)
    return opened


def submitted_classes(crops: Sequence[Path]) -> dict[str, bool]:
    """Return the classes of a submission, and whether each is told object by object, from its files crop.json."""
    found = {}
    for path in crops:
        for label, made in DecodedCrop.read(path).classes.items():
            found[label] = made.has_instances
    return found


def _open_array(path: Path, grid: CropGrid) -> Volume:
    return open_volume(path, voxel_size_zyx_nm=grid.voxel_size_zyx_nm, offset_zyx_nm=grid.offset_zyx_nm)


def _open_labels(group: Path, grid: CropGrid) -> tuple[Volume, int | None]:
    """Open a class, and give the value that means unknown by the encoding that it states; None where it states none.

    Of several levels, that whose voxels are most like the crop's is taken.
    """
    said: dict[str, Any] = read_json(group / ".zattrs") if (group / ".zattrs").is_file() else {}
    kind = said.get("cellmap", {}).get("annotation", {}).get("annotation_type", {})
    unknown = kind.get("encoding", {}).get("unknown")
    names = [level["path"] for image in said.get("multiscales", [])[:1] for level in image["datasets"]]
    there = [open_volume(group / name) for name in names if (group / name / ".zarray").is_file()]

    def unlike(volume: Volume) -> float:
        pairs = zip(volume.voxel_size_zyx_nm, grid.voxel_size_zyx_nm, strict=True)
        return sum(abs(log(own / wanted)) for own, wanted in pairs)

    return (min(there, key=unlike) if there else _open_array(group, grid)), unknown
