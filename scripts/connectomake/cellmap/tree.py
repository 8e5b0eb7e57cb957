"""Where the challenge's data lie: one folder for each dataset, as `csc fetch-data` makes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from connectomake.errors import MissingDataError

RAW_GROUP = "recon-1/em/fibsem-uint8"
LABELS_GROUP = "recon-1/labels/groundtruth"
_CROP = re.compile(r"crop\d+")


@dataclass(frozen=True)
class TreeCrop:
    """An annotated crop: its dataset, its name as in ``crop234``, and the Zarr groups of its images and labels."""

    dataset: str
    crop: str
    raw: str
    labels: str


def raw_group(tree: Path, dataset: str) -> Path:
    """Return the group of a dataset's images."""
    return tree / dataset / f"{dataset}.zarr" / RAW_GROUP


def labels_group(tree: Path, dataset: str, crop: str) -> Path:
    """Return the group of a crop's labels, which has a group for each class."""
    return tree / dataset / f"{dataset}.zarr" / LABELS_GROUP / crop


def list_crops(tree: Path) -> list[TreeCrop]:
    """List the annotated crops, by dataset and number; only names of folders are looked at.

    Raises
    ------
    MissingDataError
        There is no such folder, or no crop in it.
    """
    found = [
        TreeCrop(dataset.name, crop.name, str(raw_group(tree, dataset.name)), str(crop))
        for dataset in (sorted(tree.iterdir()) if tree.is_dir() else ())
        for crop in sorted(_crops_of(tree, dataset.name), key=lambda path: int(path.name.removeprefix("crop")))
    ]
    if not found:
        layout = f"{tree}/DATASET/DATASET.zarr/{LABELS_GROUP}/cropN"
        raise MissingDataError(
            f"no crops in {tree}", expected=layout, hint="download them with `csc fetch-data` of the toolbox"
        )
    return found


def _crops_of(tree: Path, dataset: str) -> list[Path]:
    folder = labels_group(tree, dataset, "")
    return (
        [path for path in folder.iterdir() if _CROP.fullmatch(path.name) and path.is_dir()] if folder.is_dir() else []
    )
