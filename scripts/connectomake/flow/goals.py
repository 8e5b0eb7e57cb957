"""What the targets, the report and a table over variants ask for, of each experiment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from connectomake.config.engine.listing import list_variants
from connectomake.config.engine.variant import Variant
from connectomake.flow.challenge import Challenge, list_scored
from connectomake.flow.files import list_measured, list_segmented
from connectomake.flow.paths import Paths, Wildcards
from connectomake.flow.study import Study
from connectomake.flow.synthesis import Synthesis

TABLES = ("metrics.tsv", "metrics.html", "metrics.png")
MEASURED_FIGURES = ("errors.html", "overview.png")


@dataclass(frozen=True)
class Goals:
    """What the experiments of a study end in."""

    study: Study
    challenge: Challenge
    synthesis: Synthesis

    @property
    def paths(self) -> Paths:
        """Where results lie."""
        return self.study.paths

    def labels(self) -> list[str]:
        """Return the segmentation of every volume of every variant; of a challenge, that of every crop to submit."""
        return [path for variant in self.study.variants for path in self._labels(variant)]

    def tables(self) -> list[str]:
        """Return the table of numbers of every experiment: metrics, or the scores of a challenge."""
        experiments = (variant.experiment for variant in self.study.variants if self._numbers(variant))
        return [self.paths.report(experiment, "metrics.tsv") for experiment in dict.fromkeys(experiments)]

    def page(self, wildcards: Wildcards) -> str:
        """Return the page of the demo; it is the experiment `phantom` that makes it.

        Raises
        ------
        ValueError
            Other experiments were asked for.
        """
        if "phantom" not in self.study.experiments:
            raise ValueError("snakemake demo runs the experiment phantom: leave out --config experiments=...")
        return f"{self.paths.results}/report/report.html"

    def figures(self) -> list[str]:
        """Return everything that the page shows of all experiments."""
        shown = self.study.variants
        files = [self.paths.report(v.experiment, name) for v in shown if self._numbers(v) for name in TABLES]
        files += [self.paths.report(v.experiment, name) for v in shown if list_measured(v) for name in MEASURED_FIGURES]
        files += [self.paths.report(variant.experiment, "settings.yaml") for variant in shown]
        files += [path for variant in shown for path in self._training_figures(variant)]
        files += [path for variant in shown for path in self._volume_figures(variant)]
        files += [path for v in shown if v.makes_volumes for path in self.synthesis.results_of(v)]
        files += [path for v in shown if v.is_challenge for path in self._challenge_files(v)]
        return list(dict.fromkeys(files))

    def numbers(self, experiment: str) -> list[tuple[Variant, str]]:
        """Return every variant of an experiment with each of the files that hold its numbers."""
        return [(v, path) for v in self.study.variants_of(experiment) for path in self._numbers(v)]

    def number_files(self, wildcards: Wildcards) -> list[str]:
        """Return the files that hold the numbers of an experiment."""
        return [path for _, path in self.numbers(wildcards["experiment"])]

    def number_variants(self, wildcards: Wildcards) -> list[str]:
        """Return the name of the variant of each of these files."""
        return [variant.name for variant, _ in self.numbers(wildcards["experiment"])]

    def measurements(self, experiment: str) -> list[tuple[Variant, str]]:
        """Return every variant of an experiment with every volume that it is measured on."""
        return [(v, volume) for v in self.study.variants_of(experiment) for volume in list_measured(v)]

    def measured_files(self, top: str, name: str, wildcards: Wildcards) -> list[str]:
        """Return the path of a file that each measurement of an experiment has in a folder of its own below `top`."""
        return [
            f"{self.paths.results}/{top}/{variant.chain('measure')}/{volume}/{name}"
            for variant, volume in self.measurements(wildcards["experiment"])
        ]

    def measured_variants(self, wildcards: Wildcards) -> list[str]:
        """Return the name of the variant of each measurement of an experiment."""
        return [variant.name for variant, _ in self.measurements(wildcards["experiment"])]

    def measured_volumes(self, wildcards: Wildcards) -> list[str]:
        """Return the volume of each measurement of an experiment."""
        return [volume for _, volume in self.measurements(wildcards["experiment"])]

    def overview(self, wildcards: Wildcards) -> dict[str, str]:
        """Return what the overview shows: the last measured volume of the experiment's first variant."""
        variant = self.study.variants_of(wildcards["experiment"])[0]
        volume = list_measured(variant)[-1]
        return {
            "volume": self.paths.volume_json(variant.ids["data"], volume),
            "affinities": self.paths.fill(self.paths.affinities, variant.ids, volume=volume),
            "labels": self.paths.fill(self.paths.labels, variant.ids, volume=volume),
            "metrics": self.paths.fill(self.paths.metrics, variant.ids, volume=volume),
        }

    def describe(self) -> list[str]:
        """Return lines that say which variants there are, what they share, and what is new."""

        def is_there(stage: str, variant: Variant) -> bool | None:
            files = self._stage_files(stage, variant)
            return all(map(os.path.exists, files)) if files else None

        return list_variants(self.study.variants, is_there)

    def _labels(self, variant: Variant) -> list[str]:
        pattern = self.paths.crop_json if variant.is_challenge else self.paths.labels
        return [self.paths.fill(pattern, variant.ids, volume=volume) for volume in list_segmented(variant)]

    def _numbers(self, variant: Variant) -> list[str]:
        """Return the files with the numbers of a variant: those of each volume, or the scores of a challenge."""
        if variant.is_challenge:
            own = f"{self.paths.results}/submit/{variant.chain('submit')}"
            return [f"{own}/{part}.score.json" for part in list_scored(variant)]
        return [self.paths.fill(self.paths.metrics, variant.ids, volume=volume) for volume in list_measured(variant)]

    def _training_figures(self, variant: Variant) -> list[str]:
        """Return the pictures of a training and of its augmentations; none where nothing is trained here."""
        if not variant.is_trained:
            return []
        top, own = f"{self.paths.results}/report", variant.chain("train")
        pictures = [f"{top}/curves/{own}/curves.png"]
        return pictures + [f"{top}/augmentations/{own}/augmentations.png"] * bool(variant.augment.names)

    def _volume_figures(self, variant: Variant) -> list[str]:
        """Return the pictures of each segmented volume of a variant, and of the tuning of its decoder."""
        volumes, top = list_segmented(variant), f"{self.paths.results}/report"
        check = f"{self.paths.folder('predict')}/check.png"
        files = [self.paths.fill(check, variant.ids, volume=volume) for volume in volumes]
        if not variant.makes_volumes and variant.decode.tune:
            files.append(f"{self.paths.results}/decode/{variant.chain('decode')}/tune.png")
        if not variant.is_challenge:
            files += [f"{top}/slices/{variant.chain('decode')}/{volume}/slices.png" for volume in volumes]
        measured = list_measured(variant)
        return files + [f"{top}/errors/{variant.chain('measure')}/{volume}/errors.png" for volume in measured]

    def _challenge_files(self, variant: Variant) -> list[str]:
        """Return the picture of how a variant's crops are split, and its submission."""
        split = f"{self.paths.results}/split/{variant.chain('split')}/class_voxels.png"
        return [split, *self.challenge.submitted(variant)]

    def _stage_files(self, stage: str, variant: Variant) -> list[str]:
        """Return what is there once a variant has been through a stage; nothing where it does not go through it."""
        if stage == "predict":
            affinities = self.paths.affinities
            return [self.paths.fill(affinities, variant.ids, volume=volume) for volume in list_segmented(variant)]
        if stage == "decode" and not variant.is_challenge:
            return self._labels(variant)
        if stage == "data":
            return [self.paths.volume_json(variant.ids["data"], volume) for volume in variant.data.volumes]
        if stage == "synth":
            return self.synthesis.results_of(variant) if variant.makes_volumes else []
        if stage == "train":
            return [self.paths.fill(self.paths.checkpoint, variant.ids)] * variant.is_trained
        if stage == "measure" and not variant.is_challenge:
            return self._numbers(variant)
        return self.challenge.submitted(variant) if stage == "submit" and variant.is_challenge else []
