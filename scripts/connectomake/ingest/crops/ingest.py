"""Bring a crop into the workflow: its images and its ground truth on one set of voxels, described in volume.json.

Everything after this reads a crop as any other volume. Its labels are codes, see `connectomake.ingest.crops.codes`.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from connectomake.cellmap.classes import read_class_table
from connectomake.cellmap.manifest import CropGrid, group_by_crop, read_manifest
from connectomake.config.engine.explain import nearest
from connectomake.config.settings.data import VolumeSource
from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.ingest.checks import find_groups
from connectomake.ingest.crops.codes import write_codes
from connectomake.ingest.crops.em_level import open_images
from connectomake.ingest.crops.ground_truth import GroundTruth, find_ground_truth, warn_of_unknown
from connectomake.ingest.crops.write_blocks import choose_blocks, write_blocks
from connectomake.ingest.ingest import describe
from connectomake.volumes.ingested import LABELS_STORE, RAW_STORE, StoredArray
from connectomake.volumes.ingested_crop import CodeTable, IngestedCrop
from connectomake.volumes.store import remove_store
from connectomake.volumes.volume import Readable, Volume

log = logging.getLogger(__name__)


def ingest_crop(
    source: VolumeSource,
    cfg: CellmapConfig,
    *,
    name: str,
    volume_json: Path,
    folder: str = "",
    manifest: Path | None = None,
    class_table: Path | None = None,
    threads: int = 1,
) -> None:
    """Lay a crop's images and labels on voxels of the size that networks see, and write its volume.json, last.

    The images are linked where a level has such voxels from the crop's corner on, else resampled to ``raw.zarr``;
    labels become codes in ``labels.zarr``. The volume reaches from corner to corner of the crop; its last voxels may
    reach beyond by a part. Of the images nothing else is read.

    Parameters
    ----------
    source
        The crop, as `connectomake.config.engine.fill_crops.fill_crops` gives it.
    cfg
        Voxel size, classes, and which labels are too coarse.
    name
        Its name in the data config.
    volume_json
        The description to write; stores lie beside it.
    folder
        What relative paths of `source` start from: the tree of a generated challenge. What lies there is linked by a
        relative path.
    manifest
        The crops to submit: whose voxels and classes a crop to predict has.
    class_table
        What classes are made of.
    threads
        Blocks at a time; memory is about 400 MiB for each.

    Raises
    ------
    MissingDataError
        The images or labels do not exist, or no level of the images was downloaded wholly.
    DataError
        They cannot be read, the crop does not lie in them, or the manifest has no such crop.
    """
    volume_json.unlink(missing_ok=True)
    raw_group, labels_group = find_groups(source, folder)
    dataset, _, crop = (source.crop or name).rpartition("/")
    table = read_class_table(class_table) if class_table is not None else {}
    truth: GroundTruth | None = None
    if source.role == "predict":
        grid, classes = _find_in_manifest(manifest, dataset, crop)
        warn_of_unknown(classes if table else (), table)
    elif labels_group is not None:
        truth = find_ground_truth(labels_group, cfg, table)
        grid, classes = truth.grid, truth.annotated
    else:
        raise DataError(
            f"the crop {name} has no labels", hint="set its role to predict, or give the path of its labels"
        )
    level, images = open_images(raw_group, grid, cfg.voxel_size_zyx_nm, f"{dataset}/{crop}")
    log.info("%s is read from the level %s", name, level.describe())
    raw = _bring_in(images, volume_json, folder, threads)
    labels, codes, voxels = _bring_in_labels(truth, images, volume_json, threads)
    raw_link, labels_link = (
        None if path is None else _link(str(path), volume_json, folder) for path in (raw_group, labels_group)
    )
    described = IngestedCrop(
        dataset=dataset,
        crop=crop,
        grid=grid,
        classes=tuple(classes),
        voxels=voxels,
        raw_group=raw_link,
        labels_group=labels_link,
        level=level.name,
        is_resampled=not isinstance(images, Volume),
    )
    volume = describe(source, name, folder, images, volume_json=volume_json, raw=raw, labels=labels)
    replace(volume, crop=described, codes=codes).write()


def _find_in_manifest(manifest: Path | None, dataset: str, crop: str) -> tuple[CropGrid, tuple[str, ...]]:
    """Return the voxels and the classes of a crop to submit."""
    if manifest is None:
        hint = "give test_crop_manifest.csv of the challenge's toolbox"
        raise DataError(f"no manifest says which voxels and classes {dataset}/{crop} has", hint=hint)
    crops = group_by_crop(read_manifest(manifest))
    if crop not in crops:
        raise DataError(f"{manifest} has no {crop}", hint=nearest(crop, crops))
    rows = crops[crop]
    if rows[0].dataset != dataset:
        raise DataError(f"{manifest} has {crop} in another dataset", expected=dataset, got=rows[0].dataset)
    return rows[0].grid, tuple(row.label for row in rows)


def _bring_in(images: Readable, volume_json: Path, folder: str, threads: int) -> StoredArray:
    """Read all images once, to find damage, write them where they are not linked; return where they lie."""
    ends: list[tuple[int, int]] = []

    def look(box: Box) -> np.ndarray:
        values = images.read(box)
        ends.append((int(values.min()), int(values.max())))
        return values

    store = volume_json.with_name(RAW_STORE)
    if isinstance(images, Volume):
        remove_store(store)  # of an earlier run with another voxel size
        with ThreadPoolExecutor(max(1, threads)) as pool:
            for _ in pool.map(look, choose_blocks(images.shape_zyx)):
                pass
        link = _link(images.source, volume_json, folder)
        entry = StoredArray(link, images.axes, images.box, images.dtype.name)
    else:
        write_blocks(store, images, images.dtype, look, threads=threads)
        entry = StoredArray(RAW_STORE, "zyx", Box.of_shape(images.shape_zyx), images.dtype.name)
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    if lowest == highest:
        log.warning("all voxels of %s in this crop are %d: is that right?", images.source, lowest)
    return entry


def _bring_in_labels(
    truth: GroundTruth | None, images: Readable, volume_json: Path, threads: int
) -> tuple[StoredArray | None, CodeTable | None, dict[str, dict[str, int]]]:
    """Write the codes; return where they lie, what they mean, and the voxels of each class."""
    store = volume_json.with_name(LABELS_STORE)
    if truth is None:
        remove_store(store)
        return None, None, {}
    if not truth.annotated:
        log.warning("none of the classes asked for is annotated in %s", volume_json.parent.name)
    codes, voxels, dtype = write_codes(truth, images, store, threads)
    lies = StoredArray(store.name, "zyx", Box.of_shape(images.shape_zyx), dtype.name)
    return lies, codes.as_table(), voxels


def _link(path: str, volume_json: Path, folder: str) -> str:
    """Return the path to what is not copied: absolute, except in a generated tree, which may move with the results."""
    return os.path.relpath(path, volume_json.parent) if folder else os.path.abspath(path)
