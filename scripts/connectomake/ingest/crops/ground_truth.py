"""What is annotated in a crop: a Zarr group for each class, or classes that are made up of others.

In an array of the challenge 0 means absent, and what means unknown stands in its annotation; ids of objects, and 1,
mean present. A class without a group is not annotated: unknown, not absent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from connectomake.cellmap.classes import find_parts
from connectomake.cellmap.manifest import CropGrid
from connectomake.config.engine.explain import nearest
from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.errors import DataError, MissingDataError
from connectomake.ingest.crops.chunks import check_chunks
from connectomake.ingest.crops.multiscale import Level, read_group, read_levels
from connectomake.volumes.volume import Volume

log = logging.getLogger(__name__)

MERGED = "all"  # the group of a map of all classes, which says less than they do
USUAL_UNKNOWN = 255
_ROUNDING = 1e-3


@dataclass(frozen=True)
class ClassLabels:
    """The labels of one class.

    Parameters
    ----------
    name
        The class.
    volume
        (Z, Y, X) integers at the level that is read.
    absent, unknown
        The values that mean so; no value means unknown where `unknown` is None. All others mean present.
    """

    name: str
    volume: Volume
    absent: int
    unknown: int | None


@dataclass(frozen=True)
class GroundTruth:
    """What is annotated in a crop.

    Parameters
    ----------
    grid
        The crop's own voxels: those of the finest labels of any class.
    arrays
        The labels that are needed, by class.
    parts
        Each class asked for -> those of `arrays` whose union it is; none where it is not annotated.
    """

    grid: CropGrid
    arrays: dict[str, ClassLabels]
    parts: dict[str, tuple[str, ...]]

    @property
    def annotated(self) -> tuple[str, ...]:
        """The classes asked for that are annotated."""
        return tuple(name for name, parts in self.parts.items() if parts)


def find_ground_truth(group: Path, cfg: CellmapConfig, table: Mapping[str, frozenset[int]]) -> GroundTruth:
    """Find the labels of a crop for the classes that are asked for; only headers are read.

    Parameters
    ----------
    group
        The crop's Zarr group.
    cfg
        The classes, the voxel size that they are wanted on, and the coarsest labels that are taken.
    table
        What classes are made of, see `read_class_table`; {} = each of itself alone.

    Raises
    ------
    MissingDataError
        The crop has no classes, or the labels of one have no level.
    DataError
        A group is no Zarr 2 multiscale group, or labels are not integers.
    """
    found = {name: _list_levels(group / name) for name in list_classes(group)}
    if not found:
        raise MissingDataError(f"there are no labels in {group}", expected="a Zarr group for each class")
    limit = cfg.coarsest_labels_nm
    usable = [n for n, levels in found.items() if limit is None or not levels[0].is_coarser(limit, _ROUNDING)]
    if len(usable) < len(found):
        left_out = ", ".join(sorted(set(found) - set(usable)))
        log.info("%s: labels coarser than coarsest_labels_nm are left out: %s", group, left_out)
    warn_of_unknown(cfg.classes, table, group.parent)
    parts = {name: find_parts(name, usable, table) for name in cfg.classes}
    needed = sorted({part for names in parts.values() for part in names})
    arrays = {name: open_class(group / name, cfg.voxel_size_zyx_nm) for name in needed}
    return GroundTruth(_find_grid(found), arrays, parts)


def list_classes(group: Path) -> list[str]:
    """List the classes that have a group in a crop, by name."""
    return sorted(p.name for p in group.iterdir() if p.is_dir() and p.name != MERGED and not p.name.startswith("."))


def open_class(group: Path, wanted_zyx_nm: Sequence[float]) -> ClassLabels:
    """Open the labels of a class at the level nearest to a voxel size, one that is not coarser where there is one.

    Raises
    ------
    DataError
        It holds no integers, a chunk was cut short, or its annotation cannot be read.
    """

    def badness(level: Level) -> tuple[bool, bool, float]:
        return not level.fits(wanted_zyx_nm), level.is_coarser(wanted_zyx_nm), level.distance(wanted_zyx_nm)

    volume = min(_list_levels(group), key=badness).open()
    if volume.dtype.kind not in "iub":
        raise DataError(f"the labels {volume.source} are not integers", expected="0, 1, ids", got=volume.dtype.name)
    check_chunks(volume, volume.box)  # missing ones are 0: where nothing is, none are written
    return ClassLabels(group.name, volume, *_read_encoding(group, volume))


def warn_of_unknown(names: Sequence[str], table: Mapping[str, frozenset[int]], crops: Path | None = None) -> None:
    """Warn of classes that neither a table nor a crop of the dataset has: a slip of the pen, perhaps.

    Parameters
    ----------
    names
        The classes.
    table
        What `read_class_table` gives, or {}.
    crops
        The folder of the dataset's crops.
    """
    unknown = [name for name in names if name not in table]
    if not unknown:
        return
    beside = [crop for crop in crops.iterdir() if crop.is_dir()] if crops is not None else []
    known = {name for crop in beside for name in list_classes(crop)} | set(table)
    for name in unknown:
        if name not in known:
            places = ["in the table of classes"] * bool(table) + [f"in any crop in {crops}"] * bool(crops)
            log.warning("no class is called %r %s; %s", name, " or ".join(places), nearest(name, known))


def _list_levels(group: Path) -> list[Level]:
    """Return the levels of a class that are there, the finest first."""
    listed = read_levels(group)
    there = [level for level in listed if level.exists]
    if not there:
        names = ", ".join(level.name for level in listed)
        hint = "download the crop again: `csc fetch-data` of the challenge's toolbox"
        raise MissingDataError(f"none of the levels that {group / '.zattrs'} lists is there", got=names, hint=hint)
    if not listed[0].exists:
        log.warning("the finest level %s of %s is not there; %s is taken for it", listed[0].name, group, there[0].name)
    return there


def _find_grid(found: Mapping[str, Sequence[Level]]) -> CropGrid:
    """Return the voxels of the finest labels; of several, of the class that is first by name."""
    finest = min((levels[0] for levels in found.values()), key=lambda level: prod(level.voxel_size_zyx_nm))
    volume = finest.open()
    return CropGrid(volume.shape_zyx, volume.voxel_size_zyx_nm, volume.offset_zyx_nm)


def _read_encoding(group: Path, volume: Volume) -> tuple[int, int | None]:
    """Read which values mean absent and unknown.

    Where no encoding says, 255 is unknown in uint8 labels that are said to be semantic; otherwise it may be an object.
    """
    annotation = read_group(group)
    for key in ("cellmap", "annotation", "annotation_type"):
        annotation = annotation.get(key) or {}
        if not isinstance(annotation, dict):
            raise DataError(f"{group / '.zattrs'}: {key} cannot be read", got=annotation)
    encoding = annotation.get("encoding")
    if not encoding:
        is_semantic = annotation.get("type") == "semantic_segmentation" and volume.dtype.name == "uint8"
        return 0, USUAL_UNKNOWN if is_semantic else None
    try:
        unknown = encoding.get("unknown")
        return int(encoding.get("absent", 0)), None if unknown is None else int(unknown)
    except (AttributeError, TypeError, ValueError):
        raise DataError(f"{group / '.zattrs'}: the encoding cannot be read", got=encoding) from None
