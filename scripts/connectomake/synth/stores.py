"""Generated volumes on disk: OME-Zarr that says what made it, and from what that has learnt; and NIfTI."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.errors import MissingDataError
from connectomake.files import replacing
from connectomake.geometry import Box, TripleNm
from connectomake.split.datasplit import join_boxes
from connectomake.synth.examples import Example
from connectomake.volumes.ingested import LABELS_STORE, RAW_STORE, IngestedVolume, SeenBox
from connectomake.volumes.store import read_attributes, remove_store, write_store

NIFTI = "raw.nii.gz"
LARGEST_MICROSCOPIC_NM = 1e4  # voxels below that are written in micrometres, those of CT and MRI in millimetres


def describe_seen(learnt: Sequence[Example]) -> list[dict[str, Any]]:
    """Return which voxels a generator has learnt from, for the leak check of the split.

    Parameters
    ----------
    learnt
        The examples that it learns from.

    Returns
    -------
    list of dict
        ``source``, the array's absolute path or URL; ``start`` and ``stop``, a box of its voxels (z, y, x). Boxes that
        lie side by side are joined. What the generators of learnt volumes have learnt from counts, too.
    """
    boxes: dict[str, set[Box]] = {}
    for source in {example.source for example in learnt}:
        own = [example.box for example in learnt if example.source == source]
        if source.suffix == ".json":
            volume = IngestedVolume.read(source)
            located = [
                *map(volume.find_in_file, own),
                *((box.source, box.box_zyx_vx) for box in volume.seen or ()),
            ]
        else:
            located = [(os.path.realpath(source), box) for box in own]
        for file, box in located:
            boxes.setdefault(file, set()).add(box)
    return [SeenBox(file, box).as_plain() for file in sorted(boxes) for box in join_boxes(boxes[file])]


def is_finished(folder: Path, notes: Mapping[str, Any], formats: Sequence[str], has_labels: bool) -> bool:
    """Return whether a volume was written whole, with these notes."""
    if "nifti" in formats and not (folder / NIFTI).is_file():
        return False
    wanted = json.loads(json.dumps(notes))
    try:
        return all(read_attributes(folder / name) == wanted for name in (RAW_STORE, LABELS_STORE)[: 1 + has_labels])
    except MissingDataError:
        return False


def write_volume(
    folder: Path,
    image: np.ndarray,
    labels: np.ndarray | None,
    voxel_size_zyx_nm: TripleNm,
    notes: Mapping[str, Any],
    formats: Sequence[str],
) -> None:
    """Write a volume, its image last: where that is, the volume is whole. What lay there is replaced.

    Parameters
    ----------
    folder
        Where ``raw.zarr``, ``labels.zarr`` and ``raw.nii.gz`` are put.
    image
        (Z, Y, X) grey values.
    labels
        (Z, Y, X) integers, or None.
    voxel_size_zyx_nm
        In nm.
    notes
        Attributes of the stores, plain data.
    formats
        zarr, and maybe nifti.

    Raises
    ------
    DataError
        The disk refuses.
    """
    for name in (RAW_STORE, LABELS_STORE):
        remove_store(folder / name)
    (folder / NIFTI).unlink(missing_ok=True)
    if labels is not None:
        write_store(folder / LABELS_STORE, labels, voxel_size_zyx_nm=voxel_size_zyx_nm, attributes=notes)
    if "nifti" in formats:
        write_nifti(folder / NIFTI, image, voxel_size_zyx_nm)
    write_store(folder / RAW_STORE, image, voxel_size_zyx_nm=voxel_size_zyx_nm, attributes=notes)


def write_nifti(path: Path, image: np.ndarray, voxel_size_zyx_nm: TripleNm) -> None:
    """Write (Z, Y, X) grey values as ``.nii.gz``, in the order x, y, z, atomically; the same bytes each time."""
    import nibabel

    if image.dtype == np.float16:  # which NIfTI does not know
        image = image.astype(np.float32)
    is_microscopic = max(voxel_size_zyx_nm) < LARGEST_MICROSCOPIC_NM
    sizes = np.array(voxel_size_zyx_nm[::-1]) / (1e3 if is_microscopic else 1e6)
    volume = nibabel.Nifti1Image(image.transpose(2, 1, 0), np.diag([*sizes, 1.0]), dtype=image.dtype)
    volume.header.set_xyzt_units("micron" if is_microscopic else "mm")
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(volume.to_bytes(), 1, mtime=0))
