"""The volumes that settings are tuned on: predictions, truth, and whether they may be used for that at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from connectomake.config.settings.decode_tune import VOXEL_CRITERIA, TuneConfig
from connectomake.errors import ConfigError
from connectomake.geometry import voxel_at
from connectomake.measure.coverage import Coverage, find_coverage
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.skeletons import Skeletons, load_skeletons
from connectomake.volumes.volume import Volume, open_volume

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningVolume:
    """A volume to tune on: the store of its affinities, the ingested volume, and its skeletons' file."""

    affinities: Path
    ingested: IngestedVolume
    skeleton_file: Path | None

    @property
    def name(self) -> str:
        """Its name in config/data."""
        return self.ingested.name

    @property
    def has_labels(self) -> bool:
        """Whether there are truth labels."""
        return self.ingested.labels is not None

    @cached_property
    def prediction(self) -> Prediction:
        """What the store of affinities says that it holds."""
        return Prediction.read(self.affinities)

    @cached_property
    def maps(self) -> Volume:
        """The store of affinities or other maps."""
        return open_volume(self.affinities)

    @cached_property
    def coverage(self) -> Coverage:
        """The part of the volume that the store covers."""
        return find_coverage(self.maps, self.prediction.region, self.ingested)

    @cached_property
    def skeletons(self) -> Skeletons | None:
        """The skeletons inside what was predicted; None where there are none."""
        if self.skeleton_file is None:
            return None
        skeletons = self.coverage.clip(load_skeletons(self.skeleton_file))
        return skeletons if len(skeletons.node_skeleton_id) else None

    @cached_property
    def nodes_zyx(self) -> np.ndarray:
        """(N, 3) int64, the voxel under each node of the skeletons."""
        if self.skeletons is None:
            return np.zeros((0, 3), np.int64)
        return voxel_at(self.skeletons.node_pos_nm, self.maps.voxel_size_zyx_nm, self.maps.offset_zyx_nm)

    @cached_property
    def truth(self) -> np.ndarray:
        """(Z, Y, X) truth labels of what the store covers, in memory; unknown (-1) where nothing was predicted."""
        return self.coverage.bring_truth(self.ingested.open_labels()).read()


def open_tuning_volumes(
    affinities: Sequence[Path], volumes: Sequence[Path], skeletons: Sequence[Path], tune: TuneConfig
) -> list[TuningVolume]:
    """Open the volumes to tune on, and refuse those that may not be tuned on.

    Parameters
    ----------
    affinities
        Folders of finished stores.
    volumes
        volume.json of each, in the same order.
    skeletons
        Files of skeletons, each in the folder of its volume.json; a volume may have none.
    tune
        The criterion decides which truth is needed.

    Raises
    ------
    ConfigError
        A volume is for testing, or has no truth; there is nothing to measure the criterion on; the lists do not fit
        together.
    DataError
        Affinities do not lie in their volume.
    """
    if not volumes or len(affinities) != len(volumes):
        raise ConfigError(
            "tuning needs volumes, and affinities for each",
            expected="as many stores as volume.json files, at least one",
            got=f"{len(affinities)} stores, {len(volumes)} volume.json",
            hint="give a volume in config/data the role validate",
        )
    beside = {file.parent: file for file in skeletons}
    strays = sorted(map(str, beside.keys() - {volume.parent for volume in volumes}))
    if strays:
        raise ConfigError("skeletons lie beside their volume.json", got=f"skeletons without one in {', '.join(strays)}")
    opened = [
        TuningVolume(store, IngestedVolume.read(volume), beside.get(volume.parent))
        for store, volume in zip(affinities, volumes, strict=True)
    ]
    for volume in opened:
        _check_role(volume)
        share = volume.coverage.measure_share()
        if share < 1:
            log.warning(
                "%s covers %.3g %% of %s: settings are tuned on that", volume.affinities, 100 * share, volume.name
            )
    _check_truth(opened, tune.criterion)
    return opened


def _check_role(volume: TuningVolume) -> None:
    role = volume.ingested.role
    if role in ("test", "predict"):
        reason = (
            "settings chosen on test data make its results worthless" if role == "test" else "there is no truth for it"
        )
        raise ConfigError(
            f"{volume.name} has the role {role} and cannot be tuned on: {reason}",
            expected="volumes of role validate",
            hint="give another volume in config/data the role validate, or set decode.tune: null",
        )
    if role == "train":
        log.warning(
            "%s was trained on: its affinities are better than those of new data, and the settings chosen on it may be "
            "wrong there; tune on volumes of role validate",
            volume.name,
        )


def _check_truth(volumes: Sequence[TuningVolume], criterion: str) -> None:
    needs_labels = criterion in VOXEL_CRITERIA
    if not any(v.has_labels if needs_labels else v.skeletons is not None for v in volumes):
        truth, other = ("truth labels", "nerl") if needs_labels else ("skeletons", "voxel_voi_sum")
        raise ConfigError(
            f"decode.tune.criterion: {criterion} is measured on {truth}, and there are none",
            got=", ".join(volume.name for volume in volumes),
            hint=f"name them in config/data, or take another criterion, such as {other}",
        )
