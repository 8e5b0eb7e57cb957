"""What one experiment file says, and what config.yaml says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt

from connectomake.config.section import Section


class Experiment(Section):
    """One experiment: which data, one preset per stage, and what differs from the presets."""

    data: str = Field(description="volumes to use: a file of config/data, without .yaml")
    split: str = Field("default", description="preset of config/split")
    train: str = Field("default", description="preset of config/train")
    augment: str = Field("default", description="preset of config/augment")
    predict: str = Field("default", description="preset of config/predict")
    decode: str = Field("default", description="preset of config/decode")
    measure: str = Field("default", description="preset of config/measure")
    submit: str = Field("default", description="preset of config/submit; read where the data are a challenge's")
    synth: str | None = Field(
        None,
        description="preset of config/synth: the experiment makes volumes like those of its data, and segments none",
    )
    description: str = Field("", description="what the experiment is for; shown in the report")
    override: dict[str, Any] = Field(
        default_factory=dict, description="single values that differ from the presets: stage.key -> value"
    )
    sweep: dict[str, list[Any]] | None = Field(
        None, description="values to try: stage.key -> list of values; several keys give every combination"
    )


class RunConfig(Section):
    """What one call of snakemake runs: config/config.yaml, changed by --configfile and --config."""

    experiments: str | list[str] | dict[str, Any] = Field(
        "phantom",
        description="experiments to run: a name of config/experiments, a path of such a file, a list of these, "
        "or whole experiments by name",
    )
    synthesise: str | list[str] = Field(
        "synth_tiny",
        description="experiments whose volumes `snakemake synthesise` makes where `experiments` need none",
    )
    results: str = Field("results", description="folder that everything is written to")
    purge: str = Field("", description="stages whose results `snakemake purge` removes, as in predict,decode")
    plan_gpus: NonNegativeInt = Field(1, description="GPUs at a time that `snakemake plan` reckons with (GPUs)")
    plan_cores: PositiveInt = Field(16, description="cores at a time that it reckons with (cores)")
    override: dict[str, Any] | list[str] | str | None = Field(
        None, description="single values that differ from every experiment: stage.key -> value, or text stage.key=value"
    )


def experiment_file(name: str, root: Path) -> Path | None:
    """Return the file of an experiment that was named by its path; None where it was named by its name."""
    if not name.endswith((".yaml", ".yml")):
        return None
    return next((path for path in (Path(name), root / name) if path.is_file()), Path(name))
