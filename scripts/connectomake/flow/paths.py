"""Where results lie: the folders of every stage, as patterns for rules and as paths of one variant."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from connectomake.config.engine.variant import CHAIN, FORKS, stages_to

WILDCARDS: Mapping[str, str] = {
    **dict.fromkeys([*CHAIN, *FORKS, "phantom", "volume", "experiment"], "[^/]+"),
    **dict.fromkeys(["seed", "job", "jobs"], r"\d+"),
    "part": "submission|validation",
}
"""Name of a wildcard -> the regular expression of its values."""


class Wildcards(Protocol):
    """What a rule's pattern stands for, by name: Snakemake's wildcards, or a dict."""

    def keys(self) -> Iterable[str]:
        """Return the names."""

    def __getitem__(self, name: str, /) -> str:
        """Return the value of a name."""


@dataclass(frozen=True)
class Paths:
    """The layout of the results folder.

    Parameters
    ----------
    results
        The folder that everything is written to, without a slash at its end.
    """

    results: str

    def folder(self, stage: str, volume: bool = True, top: str | None = None) -> str:
        """Return the pattern of a stage's folder: the ids up to the stage, and the volume.

        Parameters
        ----------
        stage
            A stage of the chain or one of its forks.
        volume
            Whether each volume has a folder of its own.
        top
            The folder below `results`, where it is not that of the stage.
        """
        names = stages_to(stage) + ("volume",) * volume
        return os.path.join(self.results, top or stage, *(f"{{{name}}}" for name in names))

    def log_of(self, rule: str, stage: str, volume: bool = True) -> str:
        """Return the pattern of a rule's log: the wildcards of the stage's folder, in a folder of the rule's own."""
        return f"{self.folder(stage, volume, top=os.path.join('log', rule))}.log"

    @property
    def volume(self) -> str:
        """The pattern of the description of an ingested volume."""
        return self.volume_json("{data}", "{volume}")

    @property
    def traced(self) -> str:
        """The pattern of the skeletons of an ingested volume."""
        return self.skeletons("{data}", "{volume}")

    @property
    def split_table(self) -> str:
        """The pattern of the split of a data config."""
        return f"{self.folder('split', volume=False)}/split.tsv"

    @property
    def datasplit(self) -> str:
        """The pattern of the crops of a challenge to learn from."""
        return f"{self.folder('split', volume=False)}/datasplit.csv"

    @property
    def checkpoint(self) -> str:
        """The pattern of a trained network."""
        return f"{self.folder('train', volume=False)}/model.ckpt"

    @property
    def training_metrics(self) -> str:
        """The pattern of the course of a training."""
        return f"{self.folder('train', volume=False)}/metrics.csv"

    @property
    def affinities(self) -> str:
        """The pattern of what is written last of a prediction."""
        return f"{self.folder('predict')}/affinities.zarr/zarr.json"

    @property
    def best_decoding(self) -> str:
        """The pattern of the settings that tuning chose."""
        return f"{self.folder('decode', volume=False)}/best.yaml"

    @property
    def labels(self) -> str:
        """The pattern of what is written last of a segmentation."""
        return f"{self.folder('decode')}/labels.zarr/zarr.json"

    @property
    def metrics(self) -> str:
        """The pattern of the numbers of a segmentation."""
        return f"{self.folder('measure')}/metrics.json"

    @property
    def worst_errors(self) -> str:
        """The pattern of the worst errors of a segmentation."""
        return f"{self.folder('measure')}/errors.tsv"

    @property
    def crop_json(self) -> str:
        """The pattern of the description of a crop's decoded classes."""
        return f"{self.folder('submit')}/crop.json"

    @property
    def packed(self) -> str:
        """The pattern of a part of a submission, packed."""
        return f"{self.folder('submit', volume=False)}/{{part}}.zip"

    @property
    def examples(self) -> str:
        """The pattern of what a generator learns from."""
        return self.synth("examples.tsv")

    def synth(self, name: str) -> str:
        """Return the pattern of a file or folder of a generator; `name` may hold wildcards of its own."""
        return f"{self.folder('synth', volume=False)}/{name}"

    def benchmark_of(self, rule: str, stage: str, volume: bool = True, jobs: bool = False) -> str:
        """Return the pattern of what Snakemake measures of a long rule: seconds, memory, input and output.

        Parameters
        ----------
        rule, stage, volume
            As of `log_of`.
        jobs
            Whether several jobs share the work.
        """
        own = self.folder(stage, volume, top=os.path.join("benchmark", rule))
        return f"{own}/{{job}}-of-{{jobs}}.tsv" if jobs else f"{own}.tsv"

    def fill(self, pattern: str, wildcards: Wildcards, **others: str) -> str:
        """Return the path that a pattern means for some wildcards, of which `others` may replace some."""
        return pattern.format_map({**wildcards, **others})

    def volume_json(self, data: str, volume: str) -> str:
        """Return the path of the description of an ingested volume."""
        return f"{self.results}/ingest/{data}/{volume}/volume.json"

    def skeletons(self, data: str, volume: str) -> str:
        """Return the path of the skeletons of an ingested volume."""
        return f"{self.results}/ingest/{data}/{volume}/skeletons.npz"

    def report(self, experiment: str, name: str) -> str:
        """Return the path of a table or figure over all variants of an experiment."""
        return f"{self.results}/report/{experiment}/{name}"
