"""From the names in a config to the settings of every variant: the one door between Snakemake and the settings.

A variant is one point of an experiment's sweep (the only one, where there is no sweep). It has an id per stage, and its
results lie under the chain of these ids: variants that differ in decoding alone share one model and one prediction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connectomake.config.checks.stages import CHECKS
from connectomake.config.checks.synthesis import SYNTH_CHECKS, check_makes_volumes
from connectomake.config.engine.compose import Presets
from connectomake.config.engine.expand import Expansion, Source, check_changes_are_read
from connectomake.config.engine.experiment import Experiment, RunConfig, experiment_file
from connectomake.config.engine.explain import Layer, explain
from connectomake.config.engine.keys import Change, parse_overrides, split_key
from connectomake.config.engine.variant import Variant
from connectomake.config.engine.yaml_files import read_yaml, shorten
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
    loader = _Loader(Presets(root), _read_overrides(run))
    variants: list[Variant] = []
    for source in loader.find(run.experiments, "experiments"):
        if any(source.name == other.experiment for other in variants):
            raise ConfigError(
                f"{source.shown}: a second experiment {source.name!r} in one run", hint="rename one of them"
            )
        variants += loader.load(source, loader.overrides)
    # Those of synth may be meant for what `load_synthesis` gives.
    check_changes_are_read([change for change in loader.overrides if change.stage != "synth"], variants)
    return variants


def load_synthesis(config: Mapping[str, Any], root: Path, variants: Sequence[Variant]) -> list[Variant]:
    """Return what `snakemake synthesise` runs: the variants that make volumes, and those that make some for others.

    Where there are none, those of `synthesise`.

    Raises
    ------
    ConfigError
        As `load_run`; or an experiment of `synthesise` makes no volumes.
    """
    run = read_run(config)
    makers = [variant if variant.makes_volumes else variant.generator for variant in variants]
    made = list({maker.chain("synth"): maker for maker in makers if maker is not None}.values())
    if not made:
        loader = _Loader(Presets(root), _read_overrides(run))
        sources = loader.find(run.synthesise, "synthesise")
        made = [variant for source in sources for variant in loader.load(source, loader.overrides_of_makers)]
        for variant in made:
            check_makes_volumes(variant, f"{_CALL}: synthesise")
    check_changes_are_read([change for change in _read_overrides(run) if change.stage == "synth"], made)
    return made


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


def _read_overrides(run: RunConfig) -> list[Change]:
    """Return the changes that a call of snakemake asks for in all experiments."""
    where = f"{_CALL}: override"
    return [
        Change(*split_key(key, where), (value,), where)
        for key, value in sorted(parse_overrides(run.override, where).items())
    ]


class _Loader:
    """Loads experiments, and those that make volumes for them, each once.

    Parameters
    ----------
    presets
        The presets of the project.
    overrides
        Changes of all experiments.
    """

    def __init__(self, presets: Presets, overrides: Sequence[Change]) -> None:
        self.presets, self.overrides = presets, overrides
        # Other keys are meant for the experiments that were chosen: their volumes have other names.
        self.overrides_of_makers = [change for change in overrides if change.stage in ("synth", "phantom")]
        self._generators: dict[str, Variant | None] = {}

    def find(self, experiments: str | list[str] | dict[str, Any], key: str) -> list[Source]:
        """Find what the config names: names of files, paths of files, or whole experiments."""
        named: Iterable[Any] = [experiments] if isinstance(experiments, str) else experiments
        inline = experiments if isinstance(experiments, dict) else {}
        sources = []
        for name in named:
            if inline.get(name) is not None:
                sources.append(Source(name, inline[name], f"{_CALL}: {key}.{name}"))
                continue
            path = experiment_file(name, self.presets.root)
            file, shown = (path, str(path)) if path else self.presets.find("experiments", name, f"{_CALL}: {key}")
            sources.append(Source(file.stem, read_yaml(file, shown), shown, file))
        if not sources:
            raise ConfigError(f"{_CALL}: no experiment to run", hint="name one: --config experiments=phantom")
        return sources

    def load(self, source: Source, overrides: Sequence[Change]) -> list[Variant]:
        """Return the checked variants of an experiment."""
        experiment = _read_experiment(source)
        found = Expansion(source, experiment, self.presets, overrides, self.find_generator).variants()
        for check in CHECKS if experiment.synth is None else SYNTH_CHECKS:
            for variant in found:
                check(variant)
        return found

    def find_generator(self, name: str, asked_by: str) -> Variant:
        """Return the one variant of an experiment that makes volumes for another.

        Raises
        ------
        ConfigError
            It makes no volumes, has a sweep, or needs volumes that it makes itself.
        """
        if name not in self._generators:
            self._generators[name] = None
            file, shown = self.presets.find("experiments", name, asked_by)
            found = self.load(Source(name, read_yaml(file, shown), shown, file), self.overrides_of_makers)
            if len(found) > 1:
                raise ConfigError(
                    f"{asked_by}: {name} has a sweep", hint="write an experiment for the one that is meant"
                )
            check_makes_volumes(found[0], asked_by)
            self._generators[name] = found[0]
        generator = self._generators[name]
        if generator is None:
            raise ConfigError(f"{asked_by}: {name} needs volumes that it makes itself", hint="give it data of its own")
        return generator


def _read_experiment(source: Source) -> Experiment:
    """Check what one experiment says."""
    if not isinstance(source.values, Mapping):
        raise ConfigError(source.shown, expected="key: value pairs", got=shorten(source.values))
    try:
        return Experiment.model_validate(dict(source.values))
    except ValidationError as error:
        raise explain(error, Experiment, [Layer(source.shown, source.values, source.file)]) from None
