"""From the names in a config to the settings of every variant: the one door between Snakemake and the settings.

A variant is one point of an experiment's sweep (the only one, where there is no sweep). It has an id per stage, and its
results lie under the chain of these ids: variants that differ in decoding alone share one model and one prediction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connectomake.config.checks import CHECKS
from connectomake.config.compose import Presets
from connectomake.config.expand import Expansion, Source, Variant, check_changes_are_read
from connectomake.config.experiment import Experiment, RunConfig, experiment_file
from connectomake.config.explain import Layer, explain
from connectomake.config.keys import Change, parse_overrides, split_key
from connectomake.config.yaml_files import read_yaml, shorten
from connectomake.errors import ConfigError

_CALL = "config.yaml or --config"  # Snakemake has merged them, --configfile too: which one said it is not known


def read_run(config: Mapping[str, Any]) -> RunConfig:
    """Check Snakemake's merged config.

    Raises
    ------
    ConfigError
        Where it holds an unknown key or a wrong type.
    """
    try:
        return RunConfig.model_validate(dict(config))
    except ValidationError as error:
        raise explain(error, RunConfig, [Layer(_CALL, config)]) from None


def load_run(config: Mapping[str, Any], root: Path) -> list[Variant]:
    """Compose and check the settings of everything that a call of snakemake is to run.

    Parameters
    ----------
    config
        Snakemake's ``config``; its keys are those of `RunConfig`.
    root
        The project: the folder that holds config/.

    Returns
    -------
    list of Variant
        In the order of the experiments and, within one, of its sweep.

    Raises
    ------
    ConfigError
        Anything in a config file that cannot be meant, in one line.
    """
    run = read_run(config)
    presets = Presets(root)
    overrides = [
        Change(*split_key(key, f"{_CALL}: override"), (value,), f"{_CALL}: override")
        for key, value in sorted(parse_overrides(run.override, f"{_CALL}: override").items())
    ]
    variants: list[Variant] = []
    for source in _experiments(run, presets):
        if any(source.name == other.experiment for other in variants):
            raise ConfigError(
                f"{source.shown}: a second experiment {source.name!r} in one run", hint="rename one of them"
            )
        found = Expansion(source, _read_experiment(source), presets, overrides).variants()
        for check in CHECKS:
            for variant in found:
                check(variant)
        variants += found
    check_changes_are_read(overrides, variants)
    return variants


def index_variants(variants: Iterable[Variant]) -> dict[tuple[str, str], Variant]:
    """Find variants by the id of a stage: (stage, id) -> the first variant that has it.

    An id tells all settings of its stage (of train: those of augment too; of data: those of its phantoms too), so any
    variant with the id will do to look them up: ``index["train", wildcards.train].settings["train"]``.
    """
    index: dict[tuple[str, str], Variant] = {}
    for variant in variants:
        for item in variant.ids.items():
            index.setdefault(item, variant)
    return index


def _experiments(run: RunConfig, presets: Presets) -> list[Source]:
    """Find what the config names: names of files, paths of files, or whole experiments."""
    named: Iterable[Any] = [run.experiments] if isinstance(run.experiments, str) else run.experiments
    inline = run.experiments if isinstance(run.experiments, dict) else {}
    sources = []
    for name in named:
        if inline.get(name) is not None:
            sources.append(Source(name, inline[name], f"{_CALL}: experiments.{name}"))
            continue
        path = experiment_file(name, presets.root)
        file, shown = (path, str(path)) if path else presets.find("experiments", name, f"{_CALL}: experiments")
        sources.append(Source(file.stem, read_yaml(file, shown), shown, file))
    if not sources:
        raise ConfigError(f"{_CALL}: no experiment to run", hint="name one: --config experiments=phantom")
    return sources


def _read_experiment(source: Source) -> Experiment:
    """Check what one experiment says."""
    if not isinstance(source.values, Mapping):
        raise ConfigError(source.shown, expected="key: value pairs", got=shorten(source.values))
    try:
        return Experiment.model_validate(dict(source.values))
    except ValidationError as error:
        raise explain(error, Experiment, [Layer(source.shown, source.values, source.file)]) from None
