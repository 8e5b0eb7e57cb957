"""Expand one experiment into its variants: every combination of what its sweeps give, checked and named.

Each stage's settings are composed once for each point of the sweep that concerns it, so a thousand variants in decoding
cost one reading of the training settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any, cast

from connectomake.config.engine.compose import Preset, Presets, resolve
from connectomake.config.engine.experiment import Experiment
from connectomake.config.engine.fill_crops import fill_crops
from connectomake.config.engine.fill_generated import fill_synthetic
from connectomake.config.engine.ids import join_names, name_settings
from connectomake.config.engine.keys import Change, check_named, read_values, split_key
from connectomake.config.engine.layers import check_sweep
from connectomake.config.engine.variant import CHAIN, FORKS, Phantom, Variant, stages_to
from connectomake.config.engine.yaml_files import shorten
from connectomake.config.section import Section
from connectomake.config.settings.data import DataConfig
from connectomake.config.settings.synth import SynthConfig
from connectomake.config.stages import STAGES
from connectomake.errors import ConfigError

Point = tuple[tuple[Change, int], ...]


@dataclass(frozen=True)
class Source:
    """An experiment as it is written, and where."""

    name: str
    values: Any
    shown: str
    file: Path | None = None


class Expansion:
    """One experiment on its way to its variants.

    Parameters
    ----------
    source, experiment
        As written, and as read.
    presets
        The presets of the project.
    overrides
        Changes that come from outside the experiment and are stronger than its own.
    find_generator
        Gives the variant of an experiment that makes volumes for this one, by its name and the place that names it.
    """

    def __init__(
        self,
        source: Source,
        experiment: Experiment,
        presets: Presets,
        overrides: Sequence[Change],
        find_generator: Callable[[str, str], Variant],
    ) -> None:
        self.source = source
        self.experiment = experiment
        self.presets = presets
        self.find_generator = find_generator
        named = {stage: getattr(experiment, stage) for stage in STAGES if stage != "phantom"}
        self.names: dict[str, str] = {stage: name for stage, name in named.items() if name is not None}
        self.own = self._changes("override")
        self.overrides = [*self.own, *overrides]
        self.sweeps = self._changes("sweep")
        swept = {change.stage for change in self.sweeps if not change.keys}
        plain = [self._preset(*item) for item in self.names.items() if item[0] not in swept]
        self.sweeps += [change for preset in plain for change in self._sweep_of(preset)]
        self._known: dict[Any, tuple[Section, str]] = {}
        self._filled: dict[int, tuple[DataConfig, Variant | None]] = {}  # by identity: `_known` keeps what was read

    def variants(self) -> list[Variant]:
        """Compose every point of the sweep.

        Raises
        ------
        ConfigError
            Where a setting does not fit, sweeps contradict overrides or one another, or two points are the same.
        """
        self._check_overlaps()
        ranges = [range(len(sweep.values)) for sweep in self.sweeps]
        found: dict[tuple[str, ...], Variant] = {}
        for indices in product(*ranges):
            variant = self._variant(tuple(zip(self.sweeps, indices, strict=True)))
            ids = tuple(variant.ids.values())
            if ids in found:
                raise ConfigError(
                    f"{self.source.shown}: two points of the sweep have the same settings",
                    got=f"{found[ids].name} and {variant.name}",
                )
            found[ids] = variant
        check_changes_are_read([*self.sweeps, *self.own], list(found.values()))
        return list(found.values())

    def _variant(self, point: Point) -> Variant:
        presets = self.names | {change.stage: change.values[index] for change, index in point if not change.keys}
        settings: dict[str, Section] = {}
        names: dict[str, str] = {}
        for stage, name in presets.items():
            settings[stage], names[stage] = self._settle(self._preset(stage, name), point)
        data, generator = self._fill(cast(DataConfig, settings["data"]))
        settings["data"] = data
        phantoms = self._settle_phantoms(data.phantoms | drawn_for(settings), point)
        ids = {stage: names[stage] for stage in (*CHAIN, *FORKS) if stage in names}
        own = [p.id for name, p in phantoms.items() if p.id != name]
        ids["data"] = join_names(names["data"], [*own, *changed_ids(generator)])
        ids["train"] = join_names(names["train"], [names["augment"]] if names["augment"] != "default" else [])
        values = {change.dotted: change.values[index] for change, index in point}
        description = self.experiment.description
        return Variant(self.source.name, description, values, presets, settings, phantoms, ids, generator)

    def _settle_phantoms(self, names: Iterable[str], point: Point) -> dict[str, Phantom]:
        """Return ids and settings of phantoms by their presets."""
        phantoms = {}
        for name in sorted(names):
            preset = self.presets.get("phantom", name, f"config/data/{self.names['data']}.yaml: phantom")
            if preset.sweep:
                raise ConfigError(
                    f"config/phantom/{name}.yaml: a phantom cannot sweep", hint="sweep phantom.KEY in the experiment"
                )
            phantom, phantom_id = self._settle(preset, point)
            phantoms[name] = Phantom(phantom_id, phantom)
        return phantoms

    def _fill(self, data: DataConfig) -> tuple[DataConfig, Variant | None]:
        """Return data with the crops of their challenge and the volumes of their generator, looked up once."""
        if id(data) not in self._filled:
            where = f"config/data/{self.names['data']}.yaml"
            filled, generator = fill_crops(data, where), None
            if data.synthetic is not None:
                generator = self.find_generator(data.synthetic.generator, f"{where}: synthetic.generator")
                filled = fill_synthetic(filled, generator.synth, where)
            self._filled[id(data)] = filled, generator
        return self._filled[id(data)]

    def _preset(self, stage: str, name: str) -> Preset:
        return self.presets.get(stage, name, f"{self.source.shown}: {stage}")

    def _settle(self, preset: Preset, point: Point) -> tuple[Section, str]:
        """Return a stage's settings at a point of the sweep, and their id."""
        here = [(change, index) for change, index in point if change.stage == preset.stage and change.keys]
        key = (preset.stage, preset.name, tuple(index for _, index in here))
        if key not in self._known:
            own = [(change, 0) for change in self.overrides if change.stage == preset.stage]
            for change, _ in [*own, *here]:
                check_named(preset.settings, change.keys, change.source, preset.stage)
            settings = resolve(
                preset.stage, [*preset.layers, *(change.layer(index) for change, index in [*own, *here])]
            )
            self._known[key] = settings, name_settings(preset, settings)
        return self._known[key]

    def _changes(self, kind: str) -> list[Change]:
        """Read the experiment's overrides (each one value) or its sweep (each several)."""
        written: Mapping[str, Any] | None = getattr(self.experiment, kind)
        if written is None:
            return []
        source = self.source.shown
        if self.source.file is None:  # from --config, maybe: all values are text
            written = cast(dict[str, Any], read_values(written, source))
        several = check_sweep(written, source) if kind == "sweep" else {key: [written[key]] for key in sorted(written)}
        found = []
        for key, values in several.items():
            stage_and_keys = (key, ()) if kind == "sweep" and key in STAGES else split_key(key, source)
            found.append(Change(*stage_and_keys, tuple(values), source, self.source.file, (kind, key)))
            if not stage_and_keys[1]:
                self._check_presets(found[-1])
        return found

    def _check_presets(self, sweep: Change) -> None:
        """Reject a sweep of presets where the experiment names one, and values that name no plain preset."""
        where = f"{sweep.source}: sweep of {sweep.stage!r}"
        if sweep.stage in ("data", "phantom"):
            hint = "write one experiment for each" if sweep.stage == "data" else "sweep phantom.KEY"
            raise ConfigError(f"{where} compares results on different volumes", hint=hint)
        if self.names[sweep.stage] != "default":
            raise ConfigError(
                f"{where}: the experiment names a preset as well",
                got=self.names[sweep.stage],
                hint="remove one of them",
            )
        for name in sweep.values:
            if not isinstance(name, str):
                raise ConfigError(where, expected=f"names of presets in config/{sweep.stage}", got=shorten(name))
            if self._preset(sweep.stage, name).sweep:
                raise ConfigError(f"{where}: the preset {name!r} has a sweep of its own", hint="name others")

    def _sweep_of(self, preset: Preset) -> list[Change]:
        """Read the sweep of a preset, whose keys start inside the stage."""
        source = preset.layers[-1].source
        return [
            Change(*split_key(f"{preset.stage}.{key}", source), tuple(values), source)
            for key, values in preset.sweep.items()
        ]

    def _check_overlaps(self) -> None:
        """Reject two sweeps of one setting, and a sweep of a setting that is overridden."""
        sweeps = [sweep for sweep in self.sweeps if sweep.keys]  # a preset may be swept, and keys over it
        for sweep, other in combinations(sweeps, 2):
            if sweep.overlaps(other):
                raise ConfigError(
                    f"{sweep.source}: {sweep.dotted} is swept twice", got=f"{other.dotted} in {other.source}"
                )
        for sweep, other in product(sweeps, self.overrides):
            if sweep.overlaps(other):
                raise ConfigError(
                    f"{sweep.source}: {sweep.dotted} is swept and overridden",
                    got=f"{other.dotted} in {other.source}",
                    hint="remove one of them",
                )


def drawn_for(settings: Mapping[str, Section]) -> set[str]:
    """Return the presets of phantoms that a generator makes images for."""
    synth = cast(SynthConfig | None, settings.get("synth"))
    given = synth is not None and (synth.labels.kind, synth.labels.given) == ("conditional", "phantom")
    return {synth.labels.phantom} if synth is not None and given else set()


def changed_ids(generator: Variant | None) -> list[str]:
    """Return the ids of a generator's stages that are not just their presets' names."""
    if generator is None:
        return []
    return [generator.ids[stage] for stage in stages_to("synth") if generator.ids[stage] != generator.presets[stage]]


def check_changes_are_read(changes: Iterable[Change], variants: Sequence[Variant]) -> None:
    """Reject changes of stages that none of some variants goes through: they would change nothing.

    Raises
    ------
    ConfigError
        With the key, and why nothing reads it.
    """
    challenges = [variant.is_challenge for variant in variants]
    data = " and ".join(dict.fromkeys(f"config/data/{variant.presets['data']}.yaml" for variant in variants))
    unread = {}
    made = [variant for variant in variants if variant.makes_volumes]
    if not made:
        unread["synth"] = "no experiment names a preset of synth"
    elif len(made) == len(variants):
        unread |= dict.fromkeys(
            ("train", "augment", "predict", "decode", "measure"), "only volumes are made, see synth"
        )
    if not any(variant.phantoms for variant in variants):
        unread["phantom"] = f"no volume of {data} is a phantom"
    if not any(challenges):
        unread["submit"] = f"{data} has no crops of a challenge"
    if all(challenges):
        unread |= dict.fromkeys(("decode", "measure"), f"{data} has crops of a challenge: see submit")
    for change in changes:
        if change.stage in unread:
            raise ConfigError(f"{change.source}: {change.dotted} changes nothing: {unread[change.stage]}")
