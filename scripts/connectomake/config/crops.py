"""Turn the crops of a CellMap tree, of a split of the user's or of a generated challenge into volumes of a data config.

Only names of folders and tables are looked at: a tree of 300 crops takes a few milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from connectomake.cellmap.datasplit import read_datasplit
from connectomake.cellmap.manifest import group_by_crop, read_manifest
from connectomake.cellmap.tree import labels_group, list_crops, raw_group
from connectomake.config.cellmap import CellmapConfig
from connectomake.config.data import DataConfig, VolumeSource
from connectomake.config.explain import nearest
from connectomake.errors import ConfigError, ConnectomakeError, MissingDataError


def fill_crops(data: DataConfig, where: str) -> DataConfig:
    """Give a data config with a volume for each crop, called DATASET.cropN; one without a challenge as it is.

    Crops to learn from have the role train, or what the user's split says; those to submit have the role predict. Paths
    of a generated challenge are relative to its tree.

    Raises
    ------
    ConfigError
        Files or folders that the config names do not exist or cannot be read, hold none of the crops asked for, or a
        crop is both learnt from and submitted. With the place in the config.
    """
    if data.cellmap is None:
        return data
    try:
        learnt = dict(_learnt(data.cellmap, data.folder))
        submitted = dict(_submitted(data.cellmap, data.folder))
    except ConnectomakeError as error:
        is_away = isinstance(error, MissingDataError)
        raise ConfigError(f"{where}: cellmap: {error}", hint=data.missing if is_away else "") from error
    both = sorted(set(learnt) & set(submitted))
    if both:
        raise ConfigError(f"{where}: cellmap: {both[0]} is learnt from and submitted", hint="add it to skip_crops")
    _check_names(data.cellmap, [*learnt, *submitted], where)
    values = data.model_dump() | {"volumes": {name: v.model_dump() for name, v in (learnt | submitted).items()}}
    return DataConfig.model_validate(values)


def place(path: str, folder: str) -> Path:
    """Give a path of the config; a relative one starts at the config's folder."""
    return Path(os.path.expandvars(os.path.expanduser(folder))) / os.path.expandvars(os.path.expanduser(path))


def _learnt(cfg: CellmapConfig, folder: str) -> Iterator[tuple[str, VolumeSource]]:
    """Give the crops with labels."""
    for dataset, made in cfg.generate.items():
        for crop, crop_cfg in made.crops.items():
            if not crop_cfg.test and cfg.takes(dataset, crop):
                raw, labels = raw_group(Path(), dataset), labels_group(Path(), dataset, crop)
                yield _volume("train", dataset, crop, str(raw), str(labels))
    if cfg.datasplit is not None:
        for entry in read_datasplit(place(cfg.datasplit, folder)):
            dataset = entry.dataset or "data"
            if cfg.takes(dataset, entry.crop):
                yield _volume(entry.usage, dataset, entry.crop, entry.raw, entry.labels)
    elif cfg.tree is not None:
        for found in list_crops(place(cfg.tree, folder)):
            if cfg.takes(found.dataset, found.crop):
                yield _volume("train", found.dataset, found.crop, found.raw, found.labels)


def _submitted(cfg: CellmapConfig, folder: str) -> Iterator[tuple[str, VolumeSource]]:
    """Give the crops of the manifest."""
    for dataset, made in cfg.generate.items():
        for crop, crop_cfg in made.crops.items():
            if crop_cfg.test and cfg.takes(dataset, crop):
                yield _volume("predict", dataset, crop, str(raw_group(Path(), dataset)), None)
    if cfg.manifest is not None and cfg.tree is not None:
        for crop, rows in group_by_crop(read_manifest(place(cfg.manifest, folder))).items():
            if cfg.takes(rows[0].dataset, crop):
                yield _volume(
                    "predict", rows[0].dataset, crop, str(raw_group(place(cfg.tree, folder), rows[0].dataset))
                )


def _volume(role: str, dataset: str, crop: str, raw: str, labels: str | None = None) -> tuple[str, VolumeSource]:
    values = {"role": role, "raw": raw, "labels": labels, "crop": f"{dataset}/{crop}", "source": dataset}
    return f"{dataset}.{crop}", VolumeSource.model_validate(values)


def _check_names(cfg: CellmapConfig, found: list[str], where: str) -> None:
    """Refuse datasets and crops that are asked for and are not there."""
    datasets, crops = {name.rpartition(".")[0] for name in found}, {name.rpartition(".")[2] for name in found}
    for key, asked, there in (("datasets", cfg.datasets, datasets), ("crops", cfg.crops, crops)):
        for name in asked:
            if name not in there:
                raise ConfigError(f"{where}: cellmap.{key}: there is no {name!r}: {nearest(name, there)}")
    if not found:
        raise ConfigError(f"{where}: cellmap: no crop is left", hint="ask for fewer datasets or crops to be left out")
