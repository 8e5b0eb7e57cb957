"""Turn the crops of a CellMap tree, of a split of the user's or of a generated challenge into volumes of a data config.

Only names of folders and tables are looked at: a tree of 300 crops takes a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from connectomake.cellmap.datasplit import read_datasplit
from connectomake.cellmap.manifest import group_by_crop, read_manifest
from connectomake.cellmap.tree import labels_group, list_crops, raw_group
from connectomake.config.engine.explain import nearest
from connectomake.config.settings.data import DataConfig, VolumeSource
from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.errors import ConfigError, ConnectomakeError, MissingDataError
from connectomake.sources import locate


def fill_crops(data: DataConfig, where: str) -> DataConfig:
    """Return a data config with a volume for each crop, called DATASET.cropN; one without a challenge as it is.

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
    cfg = data.cellmap
    try:
        annotated, submitted = dict(_annotated(cfg, data.folder)), dict(_submitted(cfg, data.folder))
    except ConnectomakeError as error:
        is_away = isinstance(error, MissingDataError)
        raise ConfigError(f"{where}: cellmap: {error}", hint=data.missing if is_away else "") from error
    _check_names(cfg, annotated, where)
    learnt = {name: volume for name, volume in annotated.items() if cfg.learns_from(*_split(name))}
    submitted = {name: volume for name, volume in submitted.items() if _split(name)[1] not in cfg.skip_crops}
    both = sorted(set(learnt) & set(submitted))
    if both:
        raise ConfigError(f"{where}: cellmap: {both[0]} is learnt from and submitted", hint="add it to skip_crops")
    if not learnt and not submitted:
        raise ConfigError(f"{where}: cellmap: no crop is left", hint="leave fewer of them out")
    values = data.model_dump() | {"volumes": {name: v.model_dump() for name, v in (learnt | submitted).items()}}
    return DataConfig.model_validate(values)


def _annotated(cfg: CellmapConfig, folder: str) -> Iterator[tuple[str, VolumeSource]]:
    """Return the crops with labels."""
    for dataset, made in cfg.generate.items():
        for crop in (name for name, crop in made.crops.items() if not crop.test):
            raw, labels = raw_group(Path(), dataset), labels_group(Path(), dataset, crop)
            yield _volume("train", dataset, crop, str(raw), str(labels))
    if cfg.datasplit is not None:
        for entry in read_datasplit(Path(locate(cfg.datasplit, folder))):
            yield _volume(entry.usage, entry.dataset or "data", entry.crop, entry.raw, entry.labels)
    elif cfg.tree is not None:
        for found in list_crops(Path(locate(cfg.tree, folder))):
            yield _volume("train", found.dataset, found.crop, found.raw, found.labels)


def _submitted(cfg: CellmapConfig, folder: str) -> Iterator[tuple[str, VolumeSource]]:
    """Return the crops of the manifest."""
    for dataset, made in cfg.generate.items():
        for crop in (name for name, crop in made.crops.items() if crop.test):
            yield _volume("predict", dataset, crop, str(raw_group(Path(), dataset)))
    if cfg.manifest is not None and cfg.tree is not None:
        tree = Path(locate(cfg.tree, folder))
        for crop, rows in group_by_crop(read_manifest(Path(locate(cfg.manifest, folder)))).items():
            yield _volume("predict", rows[0].dataset, crop, str(raw_group(tree, rows[0].dataset)))


def _volume(role: str, dataset: str, crop: str, raw: str, labels: str | None = None) -> tuple[str, VolumeSource]:
    values = {"role": role, "raw": raw, "labels": labels, "crop": f"{dataset}/{crop}", "source": dataset}
    return f"{dataset}.{crop}", VolumeSource.model_validate(values)


def _split(name: str) -> tuple[str, str]:
    """Divide the name of a crop's volume into those of its dataset and of the crop."""
    dataset, _, crop = name.rpartition(".")
    return dataset, crop


def _check_names(cfg: CellmapConfig, annotated: Iterable[str], where: str) -> None:
    """Reject datasets and crops to learn from that are not there."""
    datasets, crops = (set(names) for names in zip(*map(_split, annotated), strict=True))
    for key, asked, there in (("datasets", cfg.datasets, datasets), ("crops", cfg.crops, crops)):
        for name in asked:
            if name not in there:
                raise ConfigError(f"{where}: cellmap.{key}: there is no {name!r}: {nearest(name, there)}")
