"""Bring a volume into the workflow: check it, convert it once where its format is slow, describe it in volume.json.

Everything after ingest reads volumes through `open_raw` and `open_labels` and knows no format. Zarr arrays in z, y, x
order with chunks in three dimensions are linked, not copied. Intensities are not changed: uint8, uint16 and float
stay what they are, and to normalise them is the network's affair.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.config.data import VolumeSource
from connectomake.errors import DataError
from connectomake.geometry import Box, to_triple, to_triple_nm
from connectomake.sources import is_remote, locate, make_absolute
from connectomake.volumes.checks import open_pair
from connectomake.volumes.convert import LABELS, RAW, Kind, check_values, convert
from connectomake.volumes.files import read_json, write_json
from connectomake.volumes.formats.array import SPATIAL
from connectomake.volumes.store import read_attributes
from connectomake.volumes.volume import Readable, Volume, open_volume

log = logging.getLogger(__name__)

LARGEST_LINKED_CHUNK_VX = 2**24
SMALLEST_LINKED_SIDE_VX = 16
RAW_STORE, LABELS_STORE = "raw.zarr", "labels.zarr"

SEEN = "seen"
"""Attribute of a generated volume: the boxes that its generator has learnt from, as `find_in_file` gives them."""


def ingest_volume(
    source: VolumeSource,
    *,
    name: str,
    volume_json: Path,
    folder: str = "",
    raw: Path | None = None,
    labels: Path | None = None,
    threads: int = 1,
) -> None:
    """Check a volume, convert it if need be, and write its volume.json, last.

    Parameters
    ----------
    source
        The volume as its data config describes it.
    name
        Its name there.
    volume_json
        The description to write; converted stores (``raw.zarr``, ``labels.zarr``) lie beside it.
    folder
        Where relative paths of `source` start.
    raw, labels
        Stores of a generated volume, used instead of the paths in `source`. What its generator has learnt from stands
        in the attributes of the first, and in volume.json: see `connectomake.split.leaks`.
    threads
        Blocks read at a time; memory is up to 1 GiB for each.

    Raises
    ------
    MissingDataError
        A file, or an array in it, does not exist.
    DataError
        Headers or values are not those of raw data and labels. Nothing is left that could be taken as finished.
    """
    volume_json.unlink(missing_ok=True)
    images, objects = open_pair(source, folder, raw=raw, labels=labels)
    generated = raw is not None
    entries = {"raw": _bring_in(images, RAW, volume_json.with_name(RAW_STORE), threads, generated), "labels": None}
    if objects is not None:
        entries["labels"] = _bring_in(objects, LABELS, volume_json.with_name(LABELS_STORE), threads, generated)
    noted = read_attributes(raw) if raw is not None else {}
    if SEEN in noted:
        entries[SEEN] = noted[SEEN]
    write_json(volume_json, describe(source, name, folder, images, entries))


def describe(
    source: VolumeSource, name: str, folder: str, images: Readable, parts: Mapping[str, Any]
) -> dict[str, Any]:
    """Give what volume.json tells of a volume.

    Parameters
    ----------
    source, name, folder
        Those of `ingest_volume`.
    images
        The raw data; labels lie on the same voxels.
    parts
        The entries ``raw`` and ``labels``, each as `describe_array` gives it or None, and what else there is to tell.
    """
    return {
        "name": name,
        "role": source.role,
        "weight": source.weight,
        "shape_zyx": images.shape_zyx,
        "voxel_size_zyx_nm": images.voxel_size_zyx_nm,
        "offset_zyx_nm": images.offset_zyx_nm,
        **parts,
        "settings": {"folder": folder, **source.model_dump(mode="json")},
    }


def describe_array(source: str, axes: str, box: Box, dtype: np.dtype) -> dict[str, Any]:
    """Give the entry of volume.json for the box of an array, which lies at `source`."""
    return {"source": source, "axes": axes, "box_zyx_vx": [box.start_zyx, box.stop_zyx], "dtype": dtype.name}


def open_raw(volume_json: Path) -> Volume:
    """Open the raw data of an ingested volume: (Z, Y, X), or (C, Z, Y, X) where there are several channels.

    Raises
    ------
    MissingDataError
        The volume is not ingested, or its file was moved since.
    """
    return _open_described(volume_json, "raw")


def open_labels(volume_json: Path) -> Volume:
    """Open the labels of an ingested volume: (Z, Y, X) integers, 0 = background, -1 (in signed types) = unknown.

    Raises
    ------
    DataError
        The volume has no labels.
    MissingDataError
        The volume is not ingested, or its file was moved since.
    """
    return _open_described(volume_json, "labels")


def find_source(volume_json: Path) -> tuple[str, str | None]:
    """Give the array that the raw data of an ingested volume were read from, and the axes that the config says it has.

    It is the array itself where that is linked; what was converted may have been removed since.
    """
    description = read_json(volume_json)
    source, said = description["raw"]["source"], description["settings"]
    if source == RAW_STORE and said["raw"] is not None:
        return locate(said["raw"], said["folder"]), said["axes"]
    return _resolve(volume_json, source), said["axes"]


def find_in_file(volume_json: Path, box: Box) -> tuple[str, Box]:
    """Give the array that a box of an ingested volume was read from, and the box in that array's voxels.

    Two volumes of one file, also of two data configs, are told apart or found to overlap by it. A crop whose images
    were resampled counts as an array of its own.
    """
    description, (source, _) = read_json(volume_json), find_source(volume_json)
    start_zyx, said = description["raw"]["box_zyx_vx"][0], description["settings"]
    if description["raw"]["source"] == RAW_STORE:  # a copy, which begins where the box that was asked for does
        start_zyx = (said["box_zyx_vx"] or [(0, 0, 0)])[0]
        source += f"::{said['crop']}" if said["crop"] else ""
    file, separator, name = source.partition("::")
    return (file if is_remote(file) else os.path.realpath(file)) + separator + name, box.shift(start_zyx)


def is_fast(volume: Volume) -> bool:
    """Tell whether a volume can be read in boxes as it lies: Zarr, z, y, x, chunks neither flat nor huge."""
    chunks = volume.file_chunks_zyx
    if volume.array.kind != "Zarr" or volume.is_turned or chunks is None:
        return False
    sides = [volume.array.shape[volume.axes.index(a)] for a in SPATIAL]
    thick = all(c >= min(SMALLEST_LINKED_SIDE_VX, n) for c, n in zip(chunks, sides, strict=True))
    return thick and prod(min(c, n) for c, n in zip(chunks, sides, strict=True)) <= LARGEST_LINKED_CHUNK_VX


def _bring_in(volume: Volume, kind: Kind, store: Path, threads: int, generated: bool) -> dict[str, Any]:
    """Check a volume's values, convert it where needed, and give its entry in volume.json."""
    if is_fast(volume):
        log.info("%s is linked: it can be read in boxes as it is", volume.source)
        check_values(volume, kind, threads)
        return describe_array(_link(volume.source, store.parent, generated), volume.axes, volume.box, volume.dtype)
    log.info("%s is converted to %s", volume.source, store)
    convert(volume, store, kind, threads)
    axes = "czyx" if volume.has_channels else "zyx"
    return describe_array(store.name, axes, Box.of_shape(volume.shape_zyx), volume.dtype)


def _link(source: str, folder: Path, generated: bool) -> str:
    """Give the path to what is not copied: absolute, except for results of the workflow, which may move together."""
    if not generated:
        return make_absolute(source)
    file, separator, name = source.partition("::")
    return os.path.relpath(file, folder) + separator + name


def _open_described(volume_json: Path, part: str) -> Volume:
    description = read_json(volume_json)
    entry = description[part]
    if entry is None:
        raise DataError(
            f"the volume {description['name']} has no {part}",
            hint=f"give their path as the key {part} of this volume in its file in config/data/",
        )
    volume = open_volume(
        _resolve(volume_json, entry["source"]), axes=entry["axes"], voxel_size_zyx_nm=description["voxel_size_zyx_nm"]
    )
    cropped = volume.crop(Box(*(to_triple(corner) for corner in entry["box_zyx_vx"]))).drop_single_channel()
    return replace(cropped, offset_zyx_nm=to_triple_nm(description["offset_zyx_nm"]))


def _resolve(volume_json: Path, source: str) -> str:
    """Give the path of an array; a relative one starts at volume.json, and joining leaves an absolute one as it is."""
    if is_remote(source):
        return source
    return os.path.normpath(os.path.join(Path(volume_json).parent, source))
