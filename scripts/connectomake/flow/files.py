"""Which files a rule reads where that depends on the settings: sources, truth, networks, what decoding is tuned on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connectomake.config.engine.variant import Variant
from connectomake.config.settings.data import FROM_LABELS, SkeletonConfig, VolumeSource
from connectomake.config.settings.predict import TRAINED
from connectomake.flow.paths import Wildcards
from connectomake.flow.study import Study
from connectomake.flow.synthesis import Synthesis
from connectomake.sources import is_remote, locate

Files = dict[str, str]
"""Name of an input -> its path; empty where there is none."""


@dataclass(frozen=True)
class Inputs:
    """The files that the stages of a study read; functions of a rule's wildcards."""

    study: Study

    def source(self, wildcards: Wildcards) -> VolumeSource:
        """Return what the config says of the volume that `data` and `volume` name."""
        return self.study.at("data", wildcards).data.volumes[wildcards["volume"]]

    def plain_source(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the same as plain values."""
        return self.source(wildcards).model_dump(mode="json")

    def folder(self, wildcards: Wildcards) -> str:
        """Return the folder that the paths of a data config start from."""
        return self.study.at("data", wildcards).data.folder

    def sources(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the sources of a data config's volumes and how they are mixed, as plain values."""
        return self.study.at("data", wildcards).data.model_dump(mode="json", include={"volumes", "mix"})

    def volumes(self, wildcards: Wildcards) -> list[str]:
        """Return the descriptions of all volumes of a data config."""
        names = self.study.at("data", wildcards).data.volumes
        return [self.study.paths.volume_json(wildcards["data"], name) for name in names]

    def phantom(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the settings of a generated volume by its id, as plain values."""
        phantoms = (phantom for variant in self.study.index.values() for phantom in variant.phantoms.values())
        return next(p.settings.model_dump(mode="json") for p in phantoms if p.id == wildcards["phantom"])

    def ingest(self, wildcards: Wildcards) -> dict[str, str | list[str]]:
        """Return the files of a volume, so that a changed file is ingested again; a change behind a URL is not seen."""
        source = self.source(wildcards)
        if source.phantom is not None:
            stores = self._phantom_folder(wildcards)
            return {name: f"{stores}/{name}.zarr/zarr.json" for name in ("raw", "labels")}
        if source.generated is not None:
            return {"generated": Synthesis(self.study).markers_of_generator(wildcards)}
        named = {"raw_file": source.raw, "labels_file": source.labels}
        files = {name: self._file(path, wildcards) for name, path in named.items() if path is not None}
        return {name: file for name, file in files.items() if not is_remote(file)}

    def skeleton_source(self, wildcards: Wildcards) -> Files:
        """Return the file that a volume's skeletons are read from; none where they are traced in its labels."""
        source = self.source(wildcards)
        if source.phantom is not None:
            return {"source": f"{self._phantom_folder(wildcards)}/skeletons.npz"}
        if source.skeletons in (None, FROM_LABELS):
            return {}
        return {"source": self._file(source.skeletons, wildcards)}

    def tracing(self, wildcards: Wildcards) -> SkeletonConfig:
        """Return the settings for skeletons traced in labels."""
        return self.study.at("data", wildcards).data.skeletonize

    def is_traced(self, wildcards: Wildcards) -> bool:
        """Return whether a volume's skeletons are traced in its labels."""
        return self.source(wildcards).skeletons == FROM_LABELS

    def skeletons(self, wildcards: Wildcards) -> Files:
        """Return the skeletons of a volume that has some."""
        if not self.source(wildcards).has_skeletons:
            return {}
        return {"skeletons": self.study.paths.skeletons(wildcards["data"], wildcards["volume"])}

    def validation_skeletons(self, wildcards: Wildcards) -> list[str]:
        """Return the skeletons by which a training measures its segmentation of the volumes that it validates on."""
        asked = self.study.at("train", wildcards).train.validate_segmentation
        if asked is None or asked.criterion != "nerl":
            return []
        volumes = self.study.at("data", wildcards).data.volumes
        roles = {source.role for source in volumes.values()}
        role = "validate" if "validate" in roles else "train"  # of which the split cuts a part
        names = [name for name, source in volumes.items() if source.role == role and source.has_skeletons]
        return [self.study.paths.skeletons(wildcards["data"], name) for name in names]

    def networks(self, wildcards: Wildcards) -> list[str]:
        """Return the checkpoints that predict: that of the train stage, or files of the user."""
        trained = self.study.paths.fill(self.study.paths.checkpoint, wildcards)
        named = self.study.at("predict", wildcards).predict.checkpoints
        return [trained if name == TRAINED else locate(name) for name in named]

    def tuned(self, wildcards: Wildcards) -> Files:
        """Return the settings that tuning chose, where a decode preset tunes."""
        if self.study.at("decode", wildcards).decode.tune is None:
            return {}
        return {"best": self.study.paths.fill(self.study.paths.best_decoding, wildcards)}

    def tuning(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Return what a decoder is tuned on: predictions and truth of the validation volumes."""
        data, paths = self.study.at("data", wildcards), self.study.paths
        sources = data.data.volumes
        names = [name for name in list_measured(data) if sources[name].role == "validate"]
        return {
            "affinities": [paths.fill(paths.affinities, wildcards, volume=name) for name in names],
            "volumes": [paths.volume_json(wildcards["data"], name) for name in names],
            "skeletons": [paths.skeletons(wildcards["data"], name) for name in names if sources[name].has_skeletons],
        }

    def _file(self, path: str, wildcards: Wildcards) -> str:
        """Return the file or folder of a `file::dataset`."""
        return locate(path, self.folder(wildcards)).partition("::")[0]

    def _phantom_folder(self, wildcards: Wildcards) -> str:
        """Return the folder of the generated volume that `data` and `volume` name."""
        source = self.source(wildcards)
        assert source.phantom is not None
        phantom = self.study.at("data", wildcards).phantoms[source.phantom]
        return f"{self.study.paths.results}/phantom/{phantom.id}/seed{source.seed}"


def list_segmented(variant: Variant) -> list[str]:
    """Return the volumes that are segmented: those not trained on, or all where there are no others."""
    return [] if variant.makes_volumes else variant.data.segmented


def list_measured(variant: Variant) -> list[str]:
    """Return the segmented volumes of a variant that have truth to be measured against."""
    sources = variant.data.volumes
    return [name for name in list_segmented(variant) if sources[name].has_skeletons or sources[name].has_labels]
