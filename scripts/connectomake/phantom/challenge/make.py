"""Make a miniature challenge: datasets with annotated crops, crops to submit, the tables, and the truth kept back.

::

    FOLDER/tree/DATASET/DATASET.zarr/recon-1/em/fibsem-uint8/sN
    FOLDER/tree/DATASET/DATASET.zarr/recon-1/labels/groundtruth/cropN/CLASS/sN
    FOLDER/truth.zarr/cropN/CLASS              of the crops to submit
    FOLDER/test_crop_manifest.csv, train_crop_manifest.csv, classes.csv
    FOLDER/challenge.json                      written last
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest
from connectomake.cellmap.tree import LABELS_GROUP, RAW_GROUP
from connectomake.config.checks.challenge import check_dataset
from connectomake.config.settings.data_cellmap import GENERATED_CLASSES, CellmapConfig, GeneratedCrop, GeneratedDataset
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.errors import DataError
from connectomake.files import explain_write_failure, read_json, write_json
from connectomake.geometry import Box, to_triple
from connectomake.phantom.challenge.images import write_images
from connectomake.phantom.challenge.labels import write_hidden, write_labels
from connectomake.phantom.challenge.truth import IDS, PARTS, find_truth
from connectomake.phantom.challenge.zarr2 import MARK, create_container, lay_grid
from connectomake.phantom.phantom import Phantom, make_phantom

if TYPE_CHECKING:
    import zarr

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Crop:
    """One crop: its names, its settings, its part of the phantom, the voxels of its labels, its annotated classes."""

    dataset: str
    name: str
    cfg: GeneratedCrop
    box: Box
    grid: CropGrid
    classes: tuple[str, ...]


def make_challenge(
    cfg: CellmapConfig, phantoms: Mapping[str, PhantomConfig], folder: Path, *, threads: int = 1
) -> None:
    """Generate data in the layout of the CellMap Segmentation Challenge; generated ones that lie there are replaced.

    Memory: that of the largest phantom (`make_phantom`), and on every thread about 50 bytes for each voxel of a crop,
    of the images or of the labels, whichever are finer.

    Parameters
    ----------
    cfg
        Its section `generate` says what to make.
    phantoms
        Preset -> settings of the phantoms.
    folder
        Where to write.
    threads
        Threads; the result does not depend on them.

    Raises
    ------
    ConfigError
        There is no such phantom, or a crop does not fit it.
    DataError
        The folder holds data that were not generated, or the disk refuses.
    """
    for name, made in cfg.generate.items():
        check_dataset(name, made, phantoms)
    _clear(folder)
    crops: list[_Crop] = []
    with explain_write_failure(folder):
        hidden = create_container(folder / "truth.zarr")
        for name, made in sorted(cfg.generate.items()):
            phantom = make_phantom(phantoms[made.phantom], made.seed, threads)
            own = [
                _lay_crop(name, *named, phantom.voxel_size_zyx_nm) for named in sorted(made.crops.items(), key=_number)
            ]
            _write_dataset(folder / "tree" / name / f"{name}.zarr", hidden, phantom, made, own, threads)
            crops += own
        _write_tables(folder, crops)
    write_json(folder / "challenge.json", _describe(cfg, phantoms, crops))
    log.info("made %d datasets with %d crops in %s", len(cfg.generate), len(crops), folder)


def _number(named: tuple[str, GeneratedCrop]) -> int:
    return int(named[0].removeprefix("crop"))


def _lay_crop(dataset: str, name: str, cfg: GeneratedCrop, voxel_size_zyx_nm: tuple[float, float, float]) -> _Crop:
    """Work out the voxels of a crop's labels, corner on corner with those of the images, whose first centre is 0."""
    shape = to_triple([int(n / cfg.label_scale) for n in cfg.shape_zyx_vx])
    corner = [(a - 0.5) * size for a, size in zip(cfg.start_zyx_vx, voxel_size_zyx_nm, strict=True)]
    grid = lay_grid(shape, [size * cfg.label_scale for size in voxel_size_zyx_nm], corner)
    box = Box.of_shape(cfg.shape_zyx_vx).shift(cfg.start_zyx_vx)
    return _Crop(dataset, name, cfg, box, grid, tuple(n for n in GENERATED_CLASSES if n not in cfg.not_annotated))


def _write_dataset(
    path: Path, hidden: zarr.Group, phantom: Phantom, cfg: GeneratedDataset, crops: list[_Crop], threads: int
) -> None:
    """Write the images and, crop by crop, the labels."""
    container = create_container(path)
    size = phantom.voxel_size_zyx_nm
    grid = lay_grid(phantom.raw.shape, size, [-side / 2 for side in size])
    write_images(container, RAW_GROUP, phantom.raw, grid, cfg.levels, cfg.first_level, [crop.box for crop in crops])
    container.create_group(LABELS_GROUP)

    def write(crop: _Crop) -> None:
        truth = find_truth(
            phantom.labels,
            phantom.organelles,
            crop.box,
            crop.cfg.label_scale,
            crop.grid.voxel_size_zyx_nm,
            crop.cfg.unknown_share,
        )
        if crop.cfg.test:
            write_hidden(hidden, crop.name, truth, crop.grid)
        else:
            write_labels(container, f"{LABELS_GROUP}/{crop.name}", truth, crop.grid, crop.classes, cfg.levels)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, crops))


def _write_tables(folder: Path, crops: Iterable[_Crop]) -> None:
    """Write what the challenge's toolbox brings: the manifests and the table of classes."""
    rows = [
        (crop.cfg.test, ManifestRow(crop.name, crop.dataset, name, crop.grid))
        for crop in crops
        for name in crop.classes
    ]
    write_manifest(folder / "test_crop_manifest.csv", [row for is_test, row in rows if is_test])
    write_manifest(folder / "train_crop_manifest.csv", [row for is_test, row in rows if not is_test])
    parts = {name: ",".join(str(IDS[part]) for part in PARTS.get(name, ())) for name in IDS}
    lines = [f'{name},{number},"{parts[name]}"\n' for name, number in IDS.items()]
    (folder / "classes.csv").write_text("".join(lines), encoding="utf-8")


def _describe(cfg: CellmapConfig, phantoms: Mapping[str, PhantomConfig], crops: Iterable[_Crop]) -> dict[str, Any]:
    """Return what was made."""
    datasets = {
        name: {
            "phantom": made.phantom,
            "seed": made.seed,
            "shape_zyx": phantoms[made.phantom].shape_zyx,
            "voxel_size_zyx_nm": phantoms[made.phantom].voxel_size_zyx_nm,
            "levels": made.levels,
            "first_level": made.first_level,
        }
        for name, made in sorted(cfg.generate.items())
    }
    listed = {
        crop.name: {
            "dataset": crop.dataset,
            "test": crop.cfg.test,
            "shape_zyx": crop.grid.shape_zyx,
            "voxel_size_zyx_nm": crop.grid.voxel_size_zyx_nm,
            "offset_zyx_nm": crop.grid.offset_zyx_nm,
            "classes": crop.classes,
        }
        for crop in crops
    }
    return {"datasets": datasets, "crops": listed}


def _clear(folder: Path) -> None:
    """Remove a challenge that was generated here before.

    Raises
    ------
    DataError
        It holds a container without the mark of a generated one: a download, maybe.
    """
    containers = [*(folder / "tree").glob("*/*.zarr"), *folder.glob("truth.zarr")]
    for path in containers:
        attributes = path / ".zattrs"
        if not attributes.is_file() or read_json(attributes).get("connectomake") != MARK:
            raise DataError(
                f"{path} was not generated, and is not overwritten", hint="name another folder, or delete it"
            )
    with explain_write_failure(folder):
        (folder / "challenge.json").unlink(missing_ok=True)
        for path in (folder / "tree", folder / "truth.zarr"):
            if path.exists():
                shutil.rmtree(path)
