"""What the rules of the CellMap challenge read: its tree or a generated one, and the crops of a submission."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectomake.cellmap.manifest import read_manifest
from connectomake.config.engine.variant import Variant
from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.flow.paths import Wildcards
from connectomake.flow.study import Study
from connectomake.sources import locate

PAGES = ("score.json", "scores.png", "examples.png", "scores.html")


@dataclass(frozen=True)
class Challenge:
    """The challenges of a study; functions of a rule's wildcards.

    Parameters
    ----------
    study
        What runs.
    kept_back
        Returns the manifest of the crops that are kept back to be scored, of which Snakemake says when it is there: a
        checkpoint makes it.
    """

    study: Study
    kept_back: Callable[[Wildcards], str]

    def settings(self, wildcards: Wildcards) -> CellmapConfig:
        """Return what a data config says of its challenge."""
        settings = self.study.at("data", wildcards).data.cellmap
        assert settings is not None
        return settings

    def plain_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the same as plain values."""
        return self.settings(wildcards).model_dump(mode="json")

    def phantoms(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the settings of the phantoms that a generated challenge is made of, by preset."""
        phantoms = self.study.at("data", wildcards).phantoms
        return {name: phantom.settings.model_dump(mode="json") for name, phantom in phantoms.items()}

    def tree(self, wildcards: Wildcards) -> str | None:
        """Return the folder of the challenge's data."""
        return self._file(wildcards, "tree", self.settings(wildcards).tree)

    def generated_tree(self, wildcards: Wildcards) -> str:
        """Return the folder that paths of crops start from: that of a generated challenge, else none."""
        return self._generated(wildcards, "tree") if self.settings(wildcards).generate else ""

    def manifest(self, wildcards: Wildcards) -> str | None:
        """Return the list of crops to submit."""
        return self._file(wildcards, "test_crop_manifest.csv", self.settings(wildcards).manifest)

    def class_table(self, wildcards: Wildcards) -> str | None:
        """Return the table of classes."""
        return self._file(wildcards, "classes.csv", self.settings(wildcards).class_table)

    def generated(self, wildcards: Wildcards) -> dict[str, str]:
        """Return what is written last of a generated challenge; nothing where the tree is the user's."""
        return {"challenge": self._generated(wildcards, "challenge.json")} if self.settings(wildcards).generate else {}

    def crop(self, wildcards: Wildcards) -> dict[str, str]:
        """Return the files that decide what a crop is: a changed manifest or table is read again."""
        if self.settings(wildcards).generate:
            return self.generated(wildcards)
        source = self.study.at("data", wildcards).data.volumes[wildcards["volume"]]
        manifest = self.manifest(wildcards) if source.role == "predict" else None
        named = {"manifest_file": manifest, "table": self.class_table(wildcards)}
        return {name: path for name, path in named.items() if path}

    def annotated_crops(self, wildcards: Wildcards) -> list[str]:
        """Return the descriptions of all crops with labels."""
        names = list_crops(self.study.at("data", wildcards), "train", "validate")
        return [self.study.paths.volume_json(wildcards["data"], name) for name in names]

    def datasplit(self, wildcards: Wildcards) -> dict[str, str]:
        """Return the table of crops to learn from, where the data are a challenge's."""
        if not self.study.at("data", wildcards).is_challenge:
            return {}
        return {"datasplit": self.study.paths.fill(self.study.paths.datasplit, wildcards)}

    def part_manifest(self, wildcards: Wildcards) -> str | None:
        """Return the manifest of a part: of the submission, or of what is kept back to score it."""
        return self.manifest(wildcards) if wildcards["part"] == "submission" else self.kept_back(wildcards)

    def part_truth(self, wildcards: Wildcards) -> str | None:
        """Return where the labels of a part lie: in the tree, or, of crops to submit, with the generated challenge."""
        return self.tree(wildcards) if wildcards["part"] == "validation" else self._generated(wildcards, "truth.zarr")

    def part_volumes(self, wildcards: Wildcards) -> list[str]:
        """Return the descriptions of the crops of a part."""
        return [self.study.paths.volume_json(wildcards["data"], name) for name in self._part(wildcards)]

    def part_decoded(self, wildcards: Wildcards) -> list[str]:
        """Return what says where the arrays of each crop of a part lie."""
        paths = self.study.paths
        return [paths.fill(paths.crop_json, wildcards, volume=name) for name in self._part(wildcards)]

    def submitted(self, variant: Variant) -> list[str]:
        """Return everything that a variant's submission consists of: the zip, its check, its scores, their pages."""
        own = f"{self.study.paths.results}/submit/{variant.chain('submit')}"
        files = ["submission.zip", "submission.check.json"] if list_crops(variant, "predict") else []
        kinds = [*PAGES, *["official.json"] * variant.submit.second_opinion]
        files += [f"{part}.{kind}" for part in list_scored(variant) for kind in kinds]
        return [f"{own}/{name}" for name in files]

    def goal(self) -> list[str]:
        """Return what `snakemake submit` makes.

        Raises
        ------
        ValueError
            No experiment has a challenge's data.
        """
        found = [path for variant in self.study.variants if variant.is_challenge for path in self.submitted(variant)]
        if not found:
            raise ValueError(
                "snakemake submit: no experiment here has a challenge's data; try experiments=cellmap_mini"
            )
        return found

    def _part(self, wildcards: Wildcards) -> list[str]:
        """Return the volumes of a part; of what is kept back they are known once crops are split."""
        if wildcards["part"] == "submission":
            return list_crops(self.study.at("data", wildcards), "predict")
        rows = read_manifest(Path(self.kept_back(wildcards)))
        return list(dict.fromkeys(f"{row.dataset}.{row.crop}" for row in rows))

    def _generated(self, wildcards: Wildcards, name: str) -> str:
        return f"{self.study.paths.results}/phantom/challenge/{wildcards['data']}/{name}"

    def _file(self, wildcards: Wildcards, name: str, path: str | None) -> str | None:
        """Return a file of the generated challenge, or that of the config; None where it names none."""
        if self.settings(wildcards).generate:
            return self._generated(wildcards, name)
        return path and str(Path(locate(path, self.study.at("data", wildcards).data.folder)))


def list_crops(variant: Variant, *roles: str) -> list[str]:
    """Return the volumes of a variant's challenge that have one of some roles."""
    return [name for name, source in variant.data.volumes.items() if source.role in roles]


def list_scored(variant: Variant) -> list[str]:
    """Return the parts that can be scored here.

    Crops are kept back where there are two or more; labels of what is submitted are known where they are generated.
    """
    by_dataset, learnt = variant.split.unit == "dataset", list_crops(variant, "train", "validate")
    units = {name.rpartition(".")[0] if by_dataset else name for name in learnt}
    cellmap = variant.data.cellmap
    generated = cellmap is not None and cellmap.generate and bool(list_crops(variant, "predict"))
    return ["validation"] * (len(units) > 1) + ["submission"] * bool(generated)
