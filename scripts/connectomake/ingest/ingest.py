"""Bring a volume into the workflow: check it, convert it once where its format is slow, describe it in volume.json.

Everything after ingest reads volumes through `IngestedVolume` and knows no format. Zarr arrays in z, y, x
order with chunks in three dimensions are linked, not copied. Intensities are not changed: uint8, uint16 and float
stay what they are, and to normalise them is the network's affair.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from math import prod
from pathlib import Path

from connectomake.config.settings.data import VolumeSource
from connectomake.geometry import Box
from connectomake.ingest.checks import open_pair
from connectomake.ingest.convert import LABELS, RAW, Kind, check_values, convert
from connectomake.sources import make_absolute
from connectomake.volumes.formats.array import SPATIAL
from connectomake.volumes.generated import GeneratedStore
from connectomake.volumes.ingested import LABELS_STORE, RAW_STORE, IngestedVolume, Origin, StoredArray
from connectomake.volumes.volume import Readable, Volume

log = logging.getLogger(__name__)

LARGEST_LINKED_CHUNK_VX = 2**24
SMALLEST_LINKED_SIDE_VX = 16


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
    stored, truth = _bring_in(images, RAW, volume_json.with_name(RAW_STORE), threads, generated), None
    if objects is not None:
        truth = _bring_in(objects, LABELS, volume_json.with_name(LABELS_STORE), threads, generated)
    described = describe(source, name, folder, images, volume_json=volume_json, raw=stored, labels=truth)
    replace(described, seen=None if raw is None else GeneratedStore.read(raw).seen).write()


def describe(
    source: VolumeSource,
    name: str,
    folder: str,
    images: Readable,
    *,
    volume_json: Path,
    raw: StoredArray,
    labels: StoredArray | None,
) -> IngestedVolume:
    """Describe a volume that is ingested; `IngestedVolume.write` ends the work.

    Parameters
    ----------
    source, name, folder
        Those of `ingest_volume`.
    images
        The raw data; labels lie on the same voxels.
    volume_json
        The file that will be written.
    raw, labels
        Where they lie.
    """
    return IngestedVolume(
        path=volume_json,
        name=name,
        role=source.role,
        weight=source.weight,
        shape_zyx=images.shape_zyx,
        voxel_size_zyx_nm=images.voxel_size_zyx_nm,
        offset_zyx_nm=images.offset_zyx_nm,
        raw=raw,
        labels=labels,
        origin=Origin(
            folder=folder,
            raw=source.raw,
            axes=source.axes,
            box_zyx_vx=None if source.box_zyx_vx is None else Box(*source.box_zyx_vx),
            crop=source.crop,
            swc_unit_nm=source.swc_unit_nm,
            settings={"folder": folder, **source.model_dump(mode="json")},
        ),
    )


def is_fast(volume: Volume) -> bool:
    """Return whether a volume can be read in boxes as it lies: Zarr, z, y, x, chunks neither flat nor huge."""
    chunks = volume.file_chunks_zyx
    if volume.array.kind != "Zarr" or volume.is_turned or chunks is None:
        return False
    sides = [volume.array.shape[volume.axes.index(a)] for a in SPATIAL]
    thick = all(c >= min(SMALLEST_LINKED_SIDE_VX, n) for c, n in zip(chunks, sides, strict=True))
    return thick and prod(min(c, n) for c, n in zip(chunks, sides, strict=True)) <= LARGEST_LINKED_CHUNK_VX


def _bring_in(volume: Volume, kind: Kind, store: Path, threads: int, generated: bool) -> StoredArray:
    """Check a volume's values, convert it where needed, and return where it lies."""
    if is_fast(volume):
        log.info("%s is linked: it can be read in boxes as it is", volume.source)
        check_values(volume, kind, threads)
        source = _link(volume.source, store.parent, generated)
        return StoredArray(source, volume.axes, volume.box, volume.dtype.name)
    log.info("%s is converted to %s", volume.source, store)
    convert(volume, store, kind, threads)
    axes = "czyx" if volume.has_channels else "zyx"
    return StoredArray(store.name, axes, Box.of_shape(volume.shape_zyx), volume.dtype.name)


def _link(source: str, folder: Path, generated: bool) -> str:
    """Return the path to what is not copied: absolute, except for results of the workflow, which may move together."""
    if not generated:
        return make_absolute(source)
    file, separator, name = source.partition("::")
    return os.path.relpath(file, folder) + separator + name
