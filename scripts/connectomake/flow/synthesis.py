"""What the rules of synth read, are told and ask for; and where generated volumes lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connectomake.config.engine.variant import Variant
from connectomake.flow.paths import Wildcards
from connectomake.flow.study import Study

# What each part of synth depends on: another sampler must not make it train again.
_LOOKS = ("examples", "labels", "autoencoder")
_READS = {
    "list_examples": _LOOKS,
    "stage1": (*_LOOKS, "discriminator", "perceptual", "weights", "stage1"),
    "stage2": (*_LOOKS, "discriminator", "perceptual", "weights", "stage2"),
    "encode_latents": (*_LOOKS, "denoiser", "latents"),
    "diffusion": (*_LOOKS, "latents", "denoiser", "diffusion"),
    "generate": (*_LOOKS, "latents", "denoiser", "diffusion", "generate"),
    "metrics": (*_LOOKS, "stage2", "generate", "diffusion", "metrics"),
}
_EFFORT: Mapping[str, Any] = {"latents": {"jobs"}, "generate": {"jobs"}}
_READ_LATER: Mapping[str, Any] = {"labels": {"decoder", "min_size_vx", "given", "phantom", "warp_nm"}}
ENDS_IN = ("metrics.tsv", "metrics.html", "synthesis.png", "reconstruction.png", "training.png")
"""The numbers and pictures of generated volumes."""


@dataclass(frozen=True)
class Synthesis:
    """The generators of a study; functions of a rule's wildcards."""

    study: Study

    def settings(self, part: str) -> Callable[[Wildcards], dict[str, Any]]:
        """Return a function that returns the settings that a part of synth depends on, as plain values."""

        def of(wildcards: Wildcards) -> dict[str, Any]:
            own, read = self.study.at("synth", wildcards).synth, set(_READS[part])
            if "generate" in read:
                return own.model_dump(mode="json", include=read, exclude=_EFFORT)
            values = own.model_dump(mode="json", include=read, exclude={**_EFFORT, **_READ_LATER})
            return values | {"generate": {"sampler": "ddpm"}}  # which goes with any number of steps

        return of

    def part(self, part: str, wildcards: Wildcards) -> Any:
        """Return the settings of a part of synth, such as one of its trainings."""
        return getattr(self.study.at("synth", wildcards).synth, part)

    def device(self, wildcards: Wildcards) -> str:
        """Return where the parts of synth that do not train compute."""
        return self.study.at("synth", wildcards).synth.generate.device

    def gpus_to_fit(self, part: str) -> Callable[[Wildcards], int]:
        """Return a function that asks for the GPUs of a training."""
        return lambda wildcards: count_gpus(self.part(part, wildcards))

    def memory_to_fit(self, part: str) -> Callable[[Wildcards, int], int]:
        """Return a function that asks for the memory of a training, in MB."""
        return lambda wildcards, attempt: 16000 * attempt * self.part(part, wildcards).devices

    def gpu_to_compute(self, wildcards: Wildcards) -> int:
        """Return the GPUs that the parts of synth that do not train ask for."""
        return int(self.device(wildcards) != "cpu")

    def split(self, wildcards: Wildcards) -> dict[str, str]:
        """Return the split that examples are cut from; none where a collection brings files of its own."""
        if self.study.at("data", wildcards).data.collection is not None:
            return {}
        return {"split": self.study.paths.fill(self.study.paths.split_table, wildcards)}

    def collection(self, wildcards: Wildcards) -> dict[str, Any] | None:
        """Return the collection of a data config as plain values; None where there is none."""
        collection = self.study.at("data", wildcards).data.collection
        return None if collection is None else collection.model_dump(mode="json")

    def markers(self, part: str, folder: str) -> Callable[[Wildcards], list[str]]:
        """Return a function that returns what the jobs of a part write into a folder when they are done."""

        def of(wildcards: Wildcards) -> list[str]:
            paths, jobs = self.study.paths, self.part(part, wildcards).jobs
            place = paths.fill(paths.synth(folder), wildcards)
            return [f"{place}/{job}-of-{jobs}.json" for job in range(jobs)]

        return of

    def given_phantom(self, wildcards: Wildcards) -> dict[str, Any] | None:
        """Return the settings of the phantoms whose labels images are made for; None where there are none."""
        variant = self.study.at("synth", wildcards)
        labels = variant.synth.labels
        if (labels.kind, labels.given) != ("conditional", "phantom"):
            return None
        return variant.phantoms[labels.phantom].settings.model_dump(mode="json")

    def markers_of_generator(self, wildcards: Wildcards) -> list[str]:
        """Return what says that the volumes of a data config's generator are made."""
        generator = self._generator(wildcards)
        jobs = generator.synth.generate.jobs
        return [f"{self._own(generator)}/volumes/{job}-of-{jobs}.json" for job in range(jobs)]

    def folder_of_generated(self, wildcards: Wildcards) -> str | None:
        """Return the folder of the stores of a volume that a generator makes; None for all others."""
        name = self.study.at("data", wildcards).data.volumes[wildcards["volume"]].generated
        return None if name is None else f"{self._own(self._generator(wildcards))}/volumes/{name}"

    def results_of(self, variant: Variant) -> list[str]:
        """Return what a variant that makes volumes ends in."""
        return [f"{self._own(variant)}/{name}" for name in ENDS_IN]

    def goal(self) -> list[str]:
        """Return what `snakemake synthesise` makes."""
        return [path for variant in self.study.syntheses for path in self.results_of(variant)]

    def _own(self, generator: Variant) -> str:
        return f"{self.study.paths.results}/synth/{generator.chain('synth')}"

    def _generator(self, wildcards: Wildcards) -> Variant:
        generator = self.study.at("data", wildcards).generator
        assert generator is not None
        return generator


def count_gpus(training: Any) -> int:
    """Return how many GPUs a training asks for on each node."""
    return int(training.devices * (training.device != "cpu"))
