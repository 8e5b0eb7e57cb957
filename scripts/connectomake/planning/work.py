"""What is to be done, as the Snakefile tells it: variants, their settings, and the volumes they go through."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.predict import PredictConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.geometry import Triple, to_triple, to_triple_nm
from connectomake.volumes.ingested import IngestedVolume

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extent:
    """How large a volume is.

    Parameters
    ----------
    shape_zyx, voxel_size_zyx_nm
        In voxels, and nm.
    dtype, channels
        Of its values.
    source
        What tells it.
    is_linked
        Whether ingesting leaves the voxels where they are, since their format is fast.
    """

    shape_zyx: Triple
    voxel_size_zyx_nm: tuple[float, float, float]
    dtype: str = "uint8"
    channels: int = 1
    source: str = "header"
    is_linked: bool = True


@dataclass(frozen=True)
class Work:
    """One variant, on paper.

    Parameters
    ----------
    chains
        Stage -> the ids that its results lie under.
    train, predict, decode
        The settings.
    is_trained
        Whether its network is made here.
    extents
        Volume -> how large it is; of volumes that are segmented or learnt from. A crop of a challenge that is not
        ingested yet is left out.
    segmented, trained_on, measured
        Which of them are.
    jobs
        Volume -> stage -> number of jobs.
    is_challenge
        Whether labels are made by the submit stage.
    """

    chains: Mapping[str, str]
    train: TrainConfig
    predict: PredictConfig
    decode: DecodeConfig
    is_trained: bool
    extents: Mapping[str, Extent]
    segmented: tuple[str, ...]
    trained_on: tuple[str, ...]
    measured: tuple[str, ...]
    jobs: Mapping[str, Mapping[str, int]]
    is_challenge: bool

    @cached_property
    def voxel_size_trained_nm(self) -> tuple[float, float, float] | None:
        """Voxel size of what is learnt from; None where that is not known, and prediction takes voxels as they are."""
        known = [self.extents[name].voxel_size_zyx_nm for name in self.trained_on if name in self.extents]
        return known[0] if known and self.is_trained and self.predict.scale != "as_is" else None


def read_work(values: Mapping[str, Any]) -> Iterator[Work]:
    """Read what the rule `plan` was given, one variant after the other.

    Volumes of which only the ingest stage can tell the size are read from its results, where these are there.
    """
    for variant in values["variants"]:
        extents = {name: found for name, told in variant["volumes"].items() if (found := _read_extent(told))}
        unknown = len(variant["volumes"]) - len(extents)
        if unknown:
            log.warning("%s: %d crops are not counted: they are not ingested yet", variant["name"], unknown)
        yield Work(
            chains=variant["chains"],
            train=TrainConfig.model_validate(variant["train"]),
            predict=PredictConfig.model_validate(variant["predict"]),
            decode=DecodeConfig.model_validate(variant["decode"]),
            is_trained=variant["is_trained"],
            extents=extents,
            **{key: tuple(n for n in variant[key] if n in extents) for key in ("segmented", "trained_on", "measured")},
            jobs=variant["jobs"],
            is_challenge=variant["is_challenge"],
        )


def _read_extent(told: Mapping[str, Any]) -> Extent | None:
    """Return a volume's size; None where nobody knows it yet."""
    if "shape_zyx" in told:
        return Extent(
            to_triple(told["shape_zyx"]),
            to_triple_nm(told["voxel_size_zyx_nm"]),
            told["dtype"],
            told["channels"],
            told["source"],
            told["is_linked"],
        )
    path = Path(told["volume_json"])
    if not path.is_file():
        return None
    raw = IngestedVolume.read(path).open_raw()
    return Extent(raw.shape_zyx, to_triple_nm(raw.voxel_size_zyx_nm), raw.dtype.name, raw.channels, "volume.json")
