"""How trainings are started: in the rule's own process, or by torchrun and srun in several that train together."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connectomake.config.engine.variant import Variant
from connectomake.config.settings.train import TrainConfig
from connectomake.flow.paths import Wildcards
from connectomake.flow.study import Study
from connectomake.flow.synthesis import Synthesis, count_gpus

# SIGUSR1 asks a training to stop, as SIGTERM does; torchrun has to pass it on.
_SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
# YAML that the script reads: a process that torchrun starts knows nothing of Snakemake.
_WRITE_SETTINGS = (
    "mkdir -p {params.run_folder:q} && "
    "printf %s {params.cfg:q} > {params.run_folder:q}/train.yaml && "
    "printf %s {params.augment:q} > {params.run_folder:q}/augment.yaml && "
)
_TORCHRUN = f"torchrun --nproc-per-node {{params.devices}} --signals-to-handle {_SIGNALS}"
_SRUN = (
    "{resources.mpi} --nodes {resources.nodes} --ntasks {resources.tasks} --kill-on-bad-exit=1 "
    "--cpus-per-task {threads} {params.gpus}"
)
_MEET = (
    "--nnodes {resources.tasks} --rdzv-backend c10d --rdzv-id $SLURM_JOB_ID "
    "--rdzv-endpoint $(hostname):$((20000 + SLURM_JOB_ID % 20000))"
)
_TRAIN_MODEL = (
    "-- {params.script:q} --split {input.split:q} --config {params.run_folder:q}/train.yaml "
    "--augment {params.run_folder:q}/augment.yaml --checkpoint {output.checkpoint:q} --metrics {output.metrics:q} "
    "--run-folder {params.run_folder:q} --threads {threads} --log {log:q} --record {output.checkpoint:q}"
)
ON_DEVICES = f"{_WRITE_SETTINGS} {_TORCHRUN} --standalone {_TRAIN_MODEL}"
"""The shell command of a training on several devices of one node, with the fields that Snakemake fills in."""
ON_NODES = f"{_WRITE_SETTINGS} {_SRUN} {_TORCHRUN} {_MEET} {_TRAIN_MODEL}"
"""The same on several nodes of Slurm: srun starts one torchrun on each, and they meet on the first."""
FIT = (
    "mkdir -p {params.run_folder:q} && printf %s {params.cfg:q} > {params.run_folder:q}/settings.yaml && "
    "{params.start} {params.script:q} --config {params.run_folder:q}/settings.yaml --examples {input.examples:q} "
    "--checkpoint {output.checkpoint:q} --metrics {output.metrics:q} --run-folder {params.run_folder:q} "
    "--threads {threads} --log {log:q} --record {output.checkpoint:q}"
)
"""The shell command of a training of synth."""


def find_torchrun() -> None:
    """Put the folder of this Python first on the path: `torchrun` is then its own.

    Where conda makes an environment for a rule, the environment's folder comes before it.
    """
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()])


@dataclass(frozen=True)
class Trainings:
    """The trainings of a study; functions of a rule's wildcards."""

    study: Study

    def settings_json(self, wildcards: Wildcards) -> str:
        """Return the settings of a training for a file that its processes read."""
        return json.dumps(self.study.settings("train")(wildcards))

    def augment_json(self, wildcards: Wildcards) -> str:
        """Return the settings of its augmentation, likewise."""
        return json.dumps(self.study.settings("train", "augment")(wildcards))

    def synth_json(self, part: str) -> Callable[[Wildcards], str]:
        """Return a function that returns the settings of a training of synth, likewise."""
        settings: Callable[[Wildcards], Mapping[str, Any]] = Synthesis(self.study).settings(part)
        return lambda wildcards: json.dumps(settings(wildcards))

    def synth_start(self, part: str) -> Callable[[Wildcards], str]:
        """Return a function that returns what starts a training of synth: Python, or torchrun for several processes."""
        synthesis = Synthesis(self.study)

        def of(wildcards: Wildcards) -> str:
            devices = synthesis.part(part, wildcards).devices
            together = f"torchrun --nproc-per-node {devices} --signals-to-handle {_SIGNALS} --standalone --"
            return together if devices > 1 else "python"

        return of

    def devices(self, wildcards: Wildcards) -> int:
        """Return the processes of a training on each node."""
        return self._train(wildcards).devices

    def nodes(self, wildcards: Wildcards) -> int:
        """Return the nodes of a training."""
        return self._train(wildcards).nodes

    def gpus(self, wildcards: Wildcards) -> int:
        """Return the GPUs that a training asks for on each node."""
        return count_gpus(self._train(wildcards))

    def gres(self, wildcards: Wildcards) -> str:
        """Return the same in the words of Slurm; nothing where it trains without."""
        return f"gpu:{self.devices(wildcards)}" * (self._train(wildcards).device != "cpu")

    def gres_flag(self, wildcards: Wildcards) -> str:
        """Return the same as an argument of srun."""
        gres = self.gres(wildcards)
        return f"--gres {gres}" if gres else ""

    def memory_mb(self, wildcards: Wildcards, attempt: int) -> int:
        """Return the memory of a training on each node, in MB."""
        return 16000 * attempt * self._train(wildcards).devices

    def first_with(self, preset: str) -> Variant:
        """Return the first variant that trains with a preset, or with what was measured for it."""
        return next(v for v in self.study.variants if v.presets["train"].removesuffix("_auto") == preset)

    def presets(self) -> list[str]:
        """Return the train presets that the variants use, without those that were measured for this machine."""
        return sorted({variant.presets["train"].removesuffix("_auto") for variant in self.study.variants})

    def _train(self, wildcards: Wildcards) -> TrainConfig:
        return self.study.at("train", wildcards).train
