"""Where examples may be taken from: boxes of the volumes of a split, or files of a collection, each with its class."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path

from connectomake.config.engine.fill_generated import ALL
from connectomake.config.settings.data import CollectionConfig
from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import ConfigError, DataError
from connectomake.geometry import Box
from connectomake.split.table import SplitRow, read_split
from connectomake.synth.collection import list_files
from connectomake.synth.examples import Role
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.volume import Volume, open_volume

log = logging.getLogger(__name__)

ROLE_OF: dict[str, Role] = {"train": "learn", "validate": "hold", "test": "hold"}
CLASS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")  # it becomes part of the names of files
SAME_VOXEL_SIZE = 0.05


@dataclass(frozen=True)
class Region:
    """A box of a volume, of one class and role.

    Parameters
    ----------
    volume
        Name of the volume, for people.
    class_name
        What kind of volume it is.
    role
        learn or hold.
    source
        Its volume.json, or the file.
    box
        In voxels of the volume.
    raw
        The volume, opened, without a channel axis.
    ingested
        The ingested volume; None of a file.
    """

    volume: str
    class_name: str
    role: Role
    source: Path
    box: Box
    raw: Volume
    ingested: IngestedVolume | None = None


def find_regions(
    cfg: SynthConfig, split: Path | None = None, collection: CollectionConfig | None = None, folder: str = ""
) -> list[Region]:
    """Find all that may be learnt from or measured by.

    Parameters
    ----------
    cfg
        Classes, and whether labels are needed.
    split
        split.tsv: train boxes are learnt from, validate and test boxes held out.
    collection
        Files, instead.
    folder
        Where a relative path of the collection starts.

    Raises
    ------
    ConfigError
        Classes that cannot be: patterns that match no volume, two classes with one volume, or names no file can have.
    DataError
        Volumes that cannot be learnt from together: see `_check_volume` and `_check_sizes`; or held-out boxes that
        overlap others.
    """
    if collection is not None:
        regions = _of_collection(cfg, collection, folder)
    elif split is not None:
        regions = _of_split(cfg, read_split(split))
    else:
        raise ConfigError("nothing to take examples from", expected="a split, or a collection of files")
    for name in {region.class_name for region in regions}:
        if not CLASS_NAME.fullmatch(name):
            raise ConfigError(f"class {name!r} cannot be part of a file's name", expected="letters, digits, _ . + -")
    for region in {region.source: region for region in regions}.values():
        _check_volume(region, cfg.labels.kind)
    _check_sizes(regions)
    return regions


def _of_collection(cfg: SynthConfig, collection: CollectionConfig, folder: str) -> list[Region]:
    if cfg.examples.classes:
        raise ConfigError(
            "examples.classes of the synth preset names volumes, and a collection has classes of its own",
            hint="remove examples.classes",
        )
    regions = []
    for path, name, role in list_files(collection, folder):
        raw = open_volume(path, voxel_size_zyx_nm=collection.voxel_size_zyx_nm).drop_single_channel()
        regions.append(Region(path.name, name, role, path, Box.of_shape(raw.shape_zyx), raw))
    return regions


def _of_split(cfg: SynthConfig, rows: Sequence[SplitRow]) -> list[Region]:
    used = [row for row in rows if row.role in ROLE_OF and row.share != 0]
    classes = _give_classes(cfg.examples.classes, sorted({row.volume for row in used}))
    left_out = sorted({row.volume for row in used} - classes.keys())
    if left_out:
        log.info("%d volumes are of no class and left out: %s", len(left_out), ", ".join(left_out[:10]))
    paths = dict.fromkeys(row.volume_json for row in used if row.volume in classes)
    volumes = {path: IngestedVolume.read(path) for path in paths}
    opened = {path: volume.open_raw() for path, volume in volumes.items()}
    regions = [
        Region(
            row.volume,
            classes[row.volume],
            ROLE_OF[row.role],
            row.volume_json,
            row.box,
            opened[row.volume_json],
            volumes[row.volume_json],
        )
        for row in used
        if row.volume in classes
    ]
    refuse_overlaps(regions)
    return regions


def _give_classes(patterns: Mapping[str, Sequence[str]], volumes: Sequence[str]) -> dict[str, str]:
    """Assign each volume its class.

    Raises
    ------
    ConfigError
        A pattern matches no volume, or a volume is of two classes.
    """
    if not patterns:
        return dict.fromkeys(volumes, ALL)
    classes: dict[str, str] = {}
    for name, wanted in patterns.items():
        if not wanted:
            raise ConfigError(f"examples.classes: class {name!r} names no volumes", expected="names or patterns")
        for pattern in wanted:
            matched = [volume for volume in volumes if fnmatchcase(volume, pattern)]
            if not matched:
                raise ConfigError(
                    f"examples.classes: {pattern!r} of class {name!r} matches no volume to learn from or measure by",
                    expected=f"one of {', '.join(volumes[:10])}" if volumes else "role train, validate or test",
                    hint="correct the pattern in the synth preset",
                )
            for volume in matched:
                if classes.setdefault(volume, name) != name:
                    raise ConfigError(
                        f"examples.classes: volume {volume!r} is of two classes, {classes[volume]!r} and {name!r}"
                    )
    return classes


def refuse_overlaps(regions: Sequence[Region]) -> None:
    """Reject held-out boxes that share voxels with those that are learnt from.

    Two volumes of a data config may be boxes of one file, which is what is compared.

    Raises
    ------
    DataError
        There are such; names them.
    """
    by_file: dict[str, list[tuple[Region, Box]]] = {}
    for region in regions:
        by_file.setdefault(region.raw.source, []).append((region, region.box.shift(region.raw.box.start_zyx)))
    for group in by_file.values():
        for (one, box), (other, other_box) in combinations(group, 2):
            if one.role != other.role and box.intersect(other_box).size:
                raise DataError(
                    f"voxels of volume {one.volume!r} are both learnt from and held out",
                    got=f"{one.role} {list(one.box.start_zyx)} to {list(one.box.stop_zyx)}, and {other.role} "
                    f"{list(other.box.start_zyx)} to {list(other.box.stop_zyx)} of {other.volume!r}",
                    hint="correct the data config, and make the split again",
                )


def _check_volume(region: Region, labels_kind: str) -> None:
    """Reject a volume of several channels, and one without the labels that are needed.

    Raises
    ------
    DataError
        It is such a volume.
    """
    if region.raw.has_channels:
        raise DataError(
            f"volume {region.volume!r} cannot be learnt by a generator",
            expected="one channel",
            got=f"{region.raw.channels}",
            hint="leave it out, or save each channel as a volume",
        )
    if labels_kind == "none":
        return
    if region.ingested is None:
        raise DataError(
            f"labels.kind {labels_kind} needs labels, and the files of a collection have none ({region.source})",
            hint="set labels.kind: none in the synth preset, or name raw and labels under volumes in the data config",
        )
    try:
        shape_zyx = region.ingested.open_labels().shape_zyx
    except DataError as error:
        raise DataError(f"labels.kind {labels_kind} needs labels of volume {region.volume!r}: {error}") from error
    if shape_zyx != region.raw.shape_zyx:
        raise DataError(
            f"raw and labels of {region.volume!r} differ in shape", expected=region.raw.shape_zyx, got=shape_zyx
        )


def _check_sizes(regions: Sequence[Region]) -> None:
    """Reject voxel sizes that differ by more than 5 % within a class.

    Raises
    ------
    DataError
        They do; names two volumes.
    """
    first: dict[str, Region] = {}
    for region in regions:
        known = first.setdefault(region.class_name, region)
        ours, theirs = region.raw.voxel_size_zyx_nm, known.raw.voxel_size_zyx_nm
        if any(abs(a / b - 1) > SAME_VOXEL_SIZE for a, b in zip(ours, theirs, strict=True)):
            raise DataError(
                f"volumes {known.volume!r} and {region.volume!r} of class {region.class_name!r} differ in voxel size",
                expected=f"{theirs} nm to 5 %",
                got=f"{ours} nm",
                hint="bring them to one voxel size, or give them classes of their own",
            )
