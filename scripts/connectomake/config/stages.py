"""The stages that have settings, in the order of the flow; a preset of a stage lies in config/<stage>/."""

from __future__ import annotations

from connectomake.config.augment import AugmentConfig
from connectomake.config.data import DataConfig
from connectomake.config.decode import DecodeConfig
from connectomake.config.measure import MeasureConfig
from connectomake.config.phantom import PhantomConfig
from connectomake.config.predict import PredictConfig
from connectomake.config.section import Section
from connectomake.config.split import SplitConfig
from connectomake.config.submit import SubmitConfig
from connectomake.config.synth import SynthConfig
from connectomake.config.train import TrainConfig

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
