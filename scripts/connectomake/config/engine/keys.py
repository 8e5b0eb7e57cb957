"""Dotted keys, `stage.key` or `stage.key.key`: what overrides and sweeps are written with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from connectomake.config.engine.explain import Keys, Layer, nearest
from connectomake.config.engine.layers import nest
from connectomake.config.engine.yaml_files import parse_yaml, shorten
from connectomake.config.section import Section
from connectomake.config.stages import STAGES
from connectomake.errors import ConfigError

_ASSIGNMENT = re.compile(r"\s+(?=[A-Za-z_][\w.-]*=)")


@dataclass(frozen=True)
class Change:
    """A setting that is changed: to one value by an override, to each of several by a sweep.

    Parameters
    ----------
    stage, keys
        The dotted key, taken apart.
    values
        What it is set to.
    source, file, at
        Where this is written; see `Layer`.
    """

    stage: str
    keys: tuple[str, ...]
    values: tuple[Any, ...]
    source: str
    file: Path | None = None
    at: Keys = ()

    @property
    def dotted(self) -> str:
        """The key as it is written: ``decode.threshold``."""
        return ".".join((self.stage, *self.keys))

    def layer(self, index: int = 0) -> Layer:
        """Return one of its values as a layer of the stage's settings."""
        return Layer(self.source, nest(self.keys, self.values[index]), self.file, self.at, len(self.keys))

    def overlaps(self, other: Change) -> bool:
        """Return whether both change the same setting, or one a part of what the other changes."""
        return self.stage == other.stage and all(a == b for a, b in zip(self.keys, other.keys, strict=False))


def split_key(dotted: str, source: str) -> tuple[str, tuple[str, ...]]:
    """Take a dotted key apart into its stage and the keys inside the stage.

    Raises
    ------
    ConfigError
        Where it starts with no stage, or ends with it.

    Examples
    --------
    >>> split_key("train.model.filters", "config/experiments/mine.yaml")
    ('train', ('model', 'filters'))
    """
    stage, *keys = dotted.split(".")
    if stage not in STAGES:
        raise ConfigError(f"{source}: the key {dotted!r} starts with no stage", hint=nearest(stage, STAGES))
    if not keys or not all(keys):
        raise ConfigError(f"{source}: incomplete key", expected=f"{stage}.key", got=repr(dotted))
    if keys[0] in ("base", "sweep"):
        raise ConfigError(f"{source}: {dotted!r} is part of a preset file, not a setting", hint="name another preset")
    return stage, tuple(keys)


def check_named(settings: Section, keys: Sequence[str], source: str, stage: str) -> None:
    """Reject a key that would add a name to a free mapping (a volume, say) instead of changing one that is there.

    Keys of a model are not looked at here: the model itself refuses an unknown one.

    Raises
    ------
    ConfigError
        With the nearest name that is there.
    """
    value: Any = settings
    for depth, key in enumerate(keys):
        if isinstance(value, BaseModel):
            value = getattr(value, key, None) if key in type(value).model_fields else None
        elif isinstance(value, Mapping):
            if key not in value:
                where = ".".join([stage, *keys[:depth]])
                raise ConfigError(f"{source}: {where} has no {key!r}", hint=nearest(key, map(str, value)))
            value = value[key]
        else:
            return


def parse_overrides(value: Mapping[str, Any] | list[str] | str | None, source: str) -> dict[str, Any]:
    """Read single overridden values in any form that a command line or a config file can give them.

    Parameters
    ----------
    value
        ``{"train.max_steps": 100}``, ``["train.max_steps=100", ...]`` or ``"train.max_steps=100 train.seed=1"``.
        Snakemake hands every value of ``--config`` on as text, so text is read as YAML here.
    source
        Where it comes from, for the error.

    Returns
    -------
    dict
        Dotted key -> value.

    Raises
    ------
    ConfigError
        Where a part is no ``key=value``, or a key is given twice.

    Examples
    --------
    >>> parse_overrides("train.max_steps=100 split.block_zyx_vx=[8, 8, 8]", "--config override")
    {'train.max_steps': 100, 'split.block_zyx_vx': [8, 8, 8]}
    """
    if isinstance(value, Mapping):
        return {str(key): read_values(item, source) for key, item in value.items()}
    parts = _ASSIGNMENT.split(value.strip()) if isinstance(value, str) else value or []
    overrides: dict[str, Any] = {}
    for part in filter(None, parts):
        key, equals, text = part.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"{source}: no such form", expected="stage.key=value", got=shorten(part))
        if key in overrides:
            raise ConfigError(f"{source}: {key!r} is given twice")
        overrides[key] = parse_yaml(text, f"{source}: {key}")
    return overrides


def read_values(value: Any, source: str) -> Any:
    """Read text inside of a value as YAML, for ``--config`` hands on nothing else; what is no YAML stays text."""
    if isinstance(value, Mapping):
        return {str(key): read_values(item, source) for key, item in value.items()}
    if isinstance(value, list):
        return [read_values(item, source) for item in value]
    if isinstance(value, str):
        try:
            return parse_yaml(value, source)
        except ConfigError:
            return value
    return value
