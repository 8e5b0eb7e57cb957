"""What rules ask of a machine, where that depends on settings or on a plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from connectomake.flow.paths import Wildcards
from connectomake.flow.study import Study

if TYPE_CHECKING:
    from connectomake.volumes.prediction_needs import PredictionNeeds

SNAKEMAKE_MB = 300
"""A job on a cluster has two processes of Snakemake beside its own."""


class PlannedInput(Protocol):
    """The inputs of a rule that follows a plan."""

    plan: str


class CropInput(Protocol):
    """The inputs of a rule that reads a crop."""

    volume: str


def per_attempt(number: int) -> Callable[[Wildcards, int], int]:
    """Return a function that asks for as much again in each further attempt: megabytes, or minutes."""
    return lambda wildcards, attempt: number * attempt


@dataclass(frozen=True)
class JobResources:
    """What the rules of a study ask for: functions of the wildcards, inputs, threads and attempt of a job."""

    study: Study

    def decode_block_mb(self, wildcards: Wildcards, attempt: int) -> int:
        """Return the memory of decoding in blocks, in MB."""
        return attempt * (SNAKEMAKE_MB + self.study.at("decode", wildcards).decode.block_memory_mb)

    def measure_mb(self, wildcards: Wildcards, threads: int, attempt: int) -> int:
        """Return the memory of measuring: two blocks for each thread as they are read and counted, and skeletons."""
        block_vx = self.study.at("measure", wildcards).measure.block_vx
        return attempt * (2000 + threads * 40 * block_vx // 10**6)

    def decode_crop_mb(self, wildcards: Wildcards, input: CropInput, attempt: int) -> int:
        """Return the memory of decoding a crop: the objects of one class at a time, on the crop's own voxels."""
        os.stat(input.volume)  # of a crop that is not there yet Snakemake knows what the system's own error means
        from connectomake.submit.objects import estimate_mb  # slow, and needed where a challenge is submitted alone
        from connectomake.volumes.ingested import IngestedVolume

        crop = IngestedVolume.read(Path(input.volume)).crop
        assert crop is not None
        return int(attempt * (SNAKEMAKE_MB + estimate_mb(crop.grid.shape_zyx)))

    def trace_mb(self, wildcards: Wildcards, threads: int, attempt: int) -> int:
        """Return the memory of tracing skeletons: a block for each process."""
        return attempt * (1000 + threads * self.study.at("data", wildcards).data.skeletonize.block_mb)

    def predict_threads(self, wildcards: Wildcards) -> int:
        """Return the cores of a job of prediction."""
        return self.study.at("predict", wildcards).predict.threads

    def predict_mb(self, wildcards: Wildcards, input: PlannedInput, attempt: int) -> int:
        """Return the memory that the plan of a prediction expects, in MB; not known before the plan is made."""
        return attempt * (SNAKEMAKE_MB + read_needs(input.plan).mem_mb)

    def predict_min(self, wildcards: Wildcards, input: PlannedInput, attempt: int) -> int:
        """Return the minutes that a job's share takes at most."""
        needs, jobs = read_needs(input.plan), int(wildcards["jobs"])
        return attempt * ceil(needs.start_minutes + needs.most_minutes / jobs)

    def predict_gpu(self, wildcards: Wildcards) -> int:
        """Return the GPUs of a job of prediction."""
        return int(self.study.at("predict", wildcards).predict.device != "cpu")


def read_needs(plan: str) -> PredictionNeeds:
    """Return what the plan of a prediction says that it takes."""
    return _read_needs(plan, os.path.getmtime(plan))


@cache  # asked for each of thousands of jobs
def _read_needs(plan: str, changed: float) -> PredictionNeeds:
    from connectomake.volumes.prediction_needs import PredictionNeeds  # loads numpy, needed once there is a plan

    return PredictionNeeds.read(Path(plan))
