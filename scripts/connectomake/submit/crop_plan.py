"""What becomes of a crop: its voxels, the channel and the threshold of each class, and where things lie.

- `crop.json`: the result; written last
- `cropN/CLASS`: one array for each class
- `parts/ledger`: which blocks of the masks, and then objects of which classes, are done
- `parts/CLASS`: the mask of a class that is told object by object, until its objects are found
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from connectomake.cellmap.manifest import CropGrid
from connectomake.config.settings.submit import ObjectsConfig, SubmitConfig
from connectomake.errors import DataError
from connectomake.files import explain_write_failure
from connectomake.geometry import BlockGrid, to_triple
from connectomake.submit.arrays import create_array, fit_chunk
from connectomake.submit.class_grid import check_covers
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.volume import Volume, open_volume

BLOCK_VX = 128  # a block has about so many voxels a side, and whole chunks


@dataclass(frozen=True)
class CropPlan:
    """How the classes of one crop are decoded.

    Parameters
    ----------
    crop, dataset
        Such as ``crop557`` and ``jrc_ctl-id8-1``.
    grid
        The crop's own voxels.
    classes
        Those to submit.
    channels
        The channel of each of them that was predicted.
    prediction
        (C, Z, Y, X) probabilities.
    cfg
        The settings of the stage.
    settings
        All that decides the result, as plain data.
    out
        crop.json.
    """

    crop: str
    dataset: str
    grid: CropGrid
    classes: tuple[str, ...]
    channels: Mapping[str, int]
    prediction: Volume
    cfg: SubmitConfig
    settings: dict[str, Any]
    out: Path

    @property
    def folder(self) -> Path:
        """Where the arrays lie."""
        return self.out.with_name(self.crop)

    @property
    def parts(self) -> Path:
        """Where lies what is needed until the crop is done."""
        return self.out.with_name("parts")

    @property
    def instances(self) -> list[str]:
        """The classes that were predicted and are told object by object."""
        return [name for name in self.channels if name in self.cfg.instance_classes]

    @cached_property
    def blocks(self) -> BlockGrid:
        """The blocks that are cut at a time: whole chunks of the arrays."""
        chunk = fit_chunk(self.grid, self.cfg.chunk_zyx_vx)
        return BlockGrid(self.grid.shape_zyx, to_triple([c * max(1, BLOCK_VX // c) for c in chunk]))

    def array_of(self, name: str) -> Path:
        """Return the folder of a class's array."""
        return self.folder / name

    def mask_of(self, name: str) -> Path:
        """Return folder of what is cut at the threshold: the array itself where there are no objects to be found."""
        return self.parts / name if name in self.instances else self.array_of(name)

    def create_arrays(self) -> dict[str, Any]:
        """Make, or open, what is cut at the threshold, and all-empty arrays of the classes that were not predicted.

        Returns
        -------
        dict
            The arrays of the former, by class.
        """
        made = {
            name: create_array(self.mask_of(name), self.grid, chunk_zyx=self.cfg.chunk_zyx_vx) for name in self.classes
        }
        return {name: made[name] for name in self.channels}

    def remove_all(self) -> None:
        """Remove all that lies there of this crop."""
        for folder in (self.parts, self.folder):
            remove_folder(folder)


def plan_crop(affinities: Path, volume_json: Path, cfg: SubmitConfig, out: Path, *, code: str = "") -> CropPlan:
    """Work out how the classes of a crop are decoded.

    Parameters are those of `decode_crop`.

    Raises
    ------
    DataError
        The volume is no crop of a challenge, or the prediction does not cover it or is no probability.
    """
    crop = IngestedVolume.read(volume_json).crop
    if crop is None:
        raise DataError(
            f"{volume_json} is no crop of a challenge", hint="give the key cellmap in its data config, and ingest it"
        )
    grid, described, prediction = crop.grid, Prediction.read(affinities), open_volume(affinities)
    check_covers(prediction, grid)
    classes = tuple(dict.fromkeys(crop.classes))
    channels = _find_channels(described, classes)
    settings = {
        "affinities": described.settings_hash,
        "crop": {
            "crop": crop.crop,
            "dataset": crop.dataset,
            "shape_zyx": grid.shape_zyx,
            "voxel_size_zyx_nm": grid.voxel_size_zyx_nm,
            "offset_zyx_nm": grid.offset_zyx_nm,
        },
        "classes": {name: _settings_of(name, channels.get(name), cfg) for name in classes},
        "chunk_zyx_vx": cfg.chunk_zyx_vx,
        "code": code,
    }
    return CropPlan(crop.crop, crop.dataset, grid, classes, channels, prediction, cfg, settings, out)


def threshold_of(name: str, cfg: SubmitConfig) -> float:
    """Return the probability above which a voxel is of a class."""
    if name in cfg.instance_classes:
        return cfg.objects_of(name).threshold
    return cfg.class_threshold.get(name, cfg.threshold)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if there is one."""
    if folder.exists():
        with explain_write_failure(folder):
            shutil.rmtree(folder)


def _find_channels(prediction: Prediction, classes: tuple[str, ...]) -> dict[str, int]:
    names = prediction.channels
    channels = {name: names.index(name) for name in classes if name in names}
    for name, channel in channels.items():
        if prediction.activations[channel] == "tanh":
            raise DataError(
                f"{prediction.source}: the channel {name} is no probability",
                expected="one that went through sigmoid or softmax",
                got="tanh",
            )
    return channels


def _settings_of(name: str, channel: int | None, cfg: SubmitConfig) -> dict[str, Any]:
    objects: ObjectsConfig | None = cfg.objects_of(name) if name in cfg.instance_classes else None
    return {
        "channel": channel,
        "threshold": threshold_of(name, cfg),
        "objects": objects and objects.model_dump(mode="json"),
    }
