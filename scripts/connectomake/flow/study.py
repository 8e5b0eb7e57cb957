"""What one call of snakemake is about: the variants of its experiments, and their settings by the ids in a path."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from connectomake.config.checks.stages import check_patch_fits
from connectomake.config.engine.experiment import RunConfig
from connectomake.config.engine.variant import Variant
from connectomake.config.engine.variants import index_variants, load_run, load_synthesis, read_run
from connectomake.flow.paths import Paths, Wildcards

EFFORT = frozenset({"jobs", "mvoxel_per_job", "threads"})
"""Settings that change how long a result takes, and not the result: rules are not told them."""


@dataclass(frozen=True, eq=False)
class Study:
    """The experiments of one call.

    Parameters
    ----------
    run
        The settings of the call itself.
    variants
        Of the experiments that were asked for, in their order.
    syntheses
        Those that make volumes: what `snakemake synthesise` runs.
    """

    run: RunConfig
    variants: tuple[Variant, ...]
    syntheses: tuple[Variant, ...]

    @cached_property
    def paths(self) -> Paths:
        """Where its results lie."""
        return Paths(self.run.results.rstrip("/"))

    @cached_property
    def index(self) -> Mapping[tuple[str, str], Variant]:
        """(stage, id) -> a variant with that id, which tells all settings of the stage."""
        generators = [variant.generator for variant in self.variants if variant.generator]
        return index_variants([*self.variants, *self.syntheses, *generators])

    @property
    def experiments(self) -> list[str]:
        """Names of the experiments, in their order."""
        return list(dict.fromkeys(variant.experiment for variant in self.variants))

    def variants_of(self, experiment: str) -> list[Variant]:
        """Return the variants of one experiment, in the order of its sweep."""
        return [variant for variant in self.variants if variant.experiment == experiment]

    def at(self, stage: str, wildcards: Wildcards) -> Variant:
        """Return a variant that has the id of a stage in `wildcards`."""
        return self.index[stage, wildcards[stage]]

    def settings(self, stage: str, part: str | None = None) -> Callable[[Wildcards], dict[str, Any]]:
        """Return a function of a rule's wildcards that returns settings as plain values, without `EFFORT`.

        Parameters
        ----------
        stage
            Its id is a wildcard of the rule.
        part
            The stage whose settings are meant, where it is another one: augment's go with the id of train.
        """
        return lambda wildcards: _plain_settings(self, stage, wildcards[stage], part or stage)

    def ids_where(self, stage: str, condition: Callable[[Any], bool]) -> str:
        """Return a regular expression of the ids whose settings meet a condition; of none, one that nothing matches."""
        known = {i: variant.settings[stage] for (name, i), variant in self.index.items() if name == stage}
        return "|".join(re.escape(i) for i in sorted(known) if condition(known[i])) or "(?!)"


@cache  # rules ask for each of thousands of jobs
def _plain_settings(study: Study, stage: str, stage_id: str, part: str) -> dict[str, Any]:
    return study.index[stage, stage_id].settings[part].model_dump(mode="json", exclude=set(EFFORT))


def load_study(config: Mapping[str, Any], project: Path, *, check_sources: bool = True) -> Study:
    """Compose and check all settings of a call.

    Parameters
    ----------
    config
        Snakemake's ``config``.
    project
        The folder that holds config/.
    check_sources
        Whether to look at the headers of the files that the volumes come from, too.

    Raises
    ------
    ConnectomakeError
        What cannot be meant, in one line.
    """
    variants = load_run(config, project)
    syntheses = load_synthesis(config, project, variants)
    if check_sources:
        for variant in variants:
            check_volumes(variant)
    return Study(read_run(config), tuple(variants), tuple(syntheses))


def check_volumes(variant: Variant) -> None:
    """Check the headers of the files that a variant reads; those of a generated challenge are not there yet.

    Raises
    ------
    ConnectomakeError
        A file is missing, is not what the config says, or is smaller than the patch that is trained on.
    """
    data = variant.data
    if data.cellmap is not None and data.cellmap.generate:
        return
    from connectomake.ingest.checks import check_source  # loads numpy, which no job needs to start

    for name, source in data.volumes.items():
        key = f"config/data/{variant.presets['data']}.yaml: volumes.{name}"
        shape_zyx = check_source(source, data.folder, key, missing=data.missing)
        if shape_zyx is not None:
            check_patch_fits(variant, name, shape_zyx)


def check_backends(study: Study) -> None:
    """Check that funlib.evaluate is installed where a measure preset asks for it.

    Raises
    ------
    ConnectomakeError
        It is not.
    """
    if any(variant.measure.backend != "own" for variant in study.variants):
        from connectomake.measure.funlib_backend import require_funlib  # slow, and seldom asked for

        require_funlib()
