"""The stages that have settings, in the order of the flow; a preset of a stage lies in config/<stage>/."""

from __future__ import annotations

from connectomake.config.section import Section
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.data import DataConfig
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.measure import MeasureConfig
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.config.settings.predict import PredictConfig
from connectomake.config.settings.split import SplitConfig
from connectomake.config.settings.submit import SubmitConfig
from connectomake.config.settings.synth import SynthConfig
from connectomake.config.settings.train import TrainConfig

STAGES: dict[str, type[Section]] = {
    "data": DataConfig,
    "phantom": PhantomConfig,
    "split": SplitConfig,
    "train": TrainConfig,
    "augment": AugmentConfig,
    "predict": PredictConfig,
    "decode": DecodeConfig,
    "measure": MeasureConfig,
    "submit": SubmitConfig,
    "synth": SynthConfig,
}
