"""A variant: everything that one run through the stages needs to know, and the chain of stages that it follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from connectomake.config.engine.ids import name_point
from connectomake.config.section import Section
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.data import DataConfig
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.measure import MeasureConfig
from connectomake.config.settings.predict import TRAINED, PredictConfig
from connectomake.config.settings.split import SplitConfig
from connectomake.config.settings.submit import SubmitConfig
from connectomake.config.settings.synth import SynthConfig
from connectomake.config.settings.train import TrainConfig

CHAIN = ("data", "split", "train", "predict", "decode", "measure")
FORKS = {"submit": "predict", "synth": "split"}
"""Stages that follow another one beside the chain."""


@dataclass(frozen=True)
class Phantom:
    """A generated volume's settings, by the id that its results lie under: results/phantom/<id>/seed<seed>/."""

    id: str
    settings: Section


@dataclass(frozen=True)
class Variant:
    """Everything that one run through the stages needs to know.

    Parameters
    ----------
    experiment, description
        What it belongs to.
    point
        Dotted key -> value of the sweep, here; a stage alone -> its preset; empty where there is no sweep.
    presets
        Stage -> name of its preset.
    settings
        Stage -> checked settings; not of phantom, see `phantoms`.
    phantoms
        Preset of phantom -> its id and settings, for every phantom among the volumes.
    ids
        Stage of the chain -> id; see `chain`. That of data ends with the ids of its phantoms where they differ from
        their presets (``phantom+demo@...``), that of train with augment's unless it is ``default`` (``gpu+sections``).
        Of synth there is one only where the experiment names a preset.
    generator
        The experiment that makes volumes for its data; None where none are asked for.
    """

    experiment: str
    description: str
    point: Mapping[str, Any]
    presets: Mapping[str, str]
    settings: Mapping[str, Section]
    phantoms: Mapping[str, Phantom]
    ids: Mapping[str, str] = field(repr=False)
    generator: Variant | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What tells it from the other variants of its experiment, for tables and plots: the values of the sweep."""
        return name_point(self.point) or self.experiment

    @property
    def data(self) -> DataConfig:
        """The settings of data."""
        return cast(DataConfig, self.settings["data"])

    @property
    def split(self) -> SplitConfig:
        """The settings of split."""
        return cast(SplitConfig, self.settings["split"])

    @property
    def train(self) -> TrainConfig:
        """The settings of train."""
        return cast(TrainConfig, self.settings["train"])

    @property
    def augment(self) -> AugmentConfig:
        """The settings of augment."""
        return cast(AugmentConfig, self.settings["augment"])

    @property
    def predict(self) -> PredictConfig:
        """The settings of predict."""
        return cast(PredictConfig, self.settings["predict"])

    @property
    def decode(self) -> DecodeConfig:
        """The settings of decode."""
        return cast(DecodeConfig, self.settings["decode"])

    @property
    def measure(self) -> MeasureConfig:
        """The settings of measure."""
        return cast(MeasureConfig, self.settings["measure"])

    @property
    def tuning_modules(self) -> tuple[str, ...]:
        """Modules that tuning tries and counts with: decoders and voxel metrics; see `provenance.code_of`."""
        return self.decode.decoder_modules + self.measure.metric_modules

    @property
    def submit(self) -> SubmitConfig:
        """The settings of submit."""
        return cast(SubmitConfig, self.settings["submit"])

    @property
    def synth(self) -> SynthConfig:
        """The settings of synth."""
        return cast(SynthConfig, self.settings["synth"])

    @property
    def makes_volumes(self) -> bool:
        """Whether it ends with generated volumes, and segments none."""
        return "synth" in self.settings

    @property
    def is_challenge(self) -> bool:
        """Whether its data are crops of a challenge."""
        return self.data.cellmap is not None

    @property
    def is_trained(self) -> bool:
        """Whether it predicts with the network of its train stage, alone or among others."""
        return not self.makes_volumes and TRAINED in self.predict.checkpoints

    def chain(self, stage: str) -> str:
        """Return the ids up to a stage, as the folders that its results lie in.

        Examples
        --------
        ``variant.chain("train")`` is ``fib25/default/default``: data, split, train.
        """
        return "/".join(self.ids[name] for name in stages_to(stage))

    def resolved(self) -> dict[str, Any]:
        """Return every setting as plain data (numbers, text, lists, dicts), to be written beside the results."""
        return {
            "experiment": self.experiment,
            "sweep": dict(self.point),
            "presets": dict(self.presets),
            "ids": dict(self.ids),
            "phantom": {name: phantom.settings.model_dump(mode="json") for name, phantom in self.phantoms.items()},
            **{stage: settings.model_dump(mode="json") for stage, settings in self.settings.items()},
            **({"generator": self.generator.resolved()} if self.generator is not None else {}),
        }


def stages_to(stage: str) -> tuple[str, ...]:
    """Return the stages whose ids a stage's results lie under, its own last."""
    if stage in FORKS:
        return (*stages_to(FORKS[stage]), stage)
    return CHAIN[: CHAIN.index(stage) + 1]
