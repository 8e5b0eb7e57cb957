"""Compose the settings of one stage: a preset on its base, then overrides, each stronger than what lies under it.

Mappings are merged key by key; anything else, lists too, replaces what it overrides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connectomake.config.engine.explain import Layer, explain
from connectomake.config.engine.layers import _existing, compose, read_layers
from connectomake.config.section import Section
from connectomake.config.stages import STAGES


@dataclass(frozen=True)
class Preset:
    """A preset file with everything it is based on.

    Parameters
    ----------
    stage, name
        The file is config/<stage>/<name>.yaml.
    layers
        Its own layer last, its bases before it.
    sweep
        Key inside the stage -> values to try; its bases' too.
    settings
        The preset alone, checked.
    """

    stage: str
    name: str
    layers: tuple[Layer, ...]
    sweep: Mapping[str, Any]
    settings: Section


class Presets:
    """The presets under config/, each read and checked once.

    Parameters
    ----------
    root
        The project: the folder that holds config/.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[tuple[str, str], Preset] = {}

    def find(self, kind: str, name: str, asked_by: str) -> tuple[Path, str]:
        """Find config/<kind>/<name>.yaml.

        Returns
        -------
        tuple of Path and str
            The file, and its path as errors tell it.

        Raises
        ------
        ConfigError
            Where there is no such file; names the nearest one and all others.
        """
        source = f"config/{kind}/{name}.yaml"
        return _existing(self.root / "config" / kind, name, source, asked_by), source

    def get(self, stage: str, name: str, asked_by: str) -> Preset:
        """Return a preset of a stage, on its bases, checked.

        Parameters
        ----------
        stage, name
            The file is config/<stage>/<name>.yaml.
        asked_by
            Who names it, for the error.

        Raises
        ------
        ConfigError
            Where it is not there, is based on itself, or does not fit the stage's model.
        """
        if (stage, name) not in self._known:
            layers, sweep = read_layers(*self.find(stage, name, asked_by))
            self._known[stage, name] = Preset(stage, name, layers, sweep, resolve(stage, layers))
        return self._known[stage, name]


def resolve(stage: str, layers: Sequence[Layer]) -> Section:
    """Read composed layers as the settings of a stage.

    Raises
    ------
    ConfigError
        Where they do not fit the stage's model; one line that names file, key, what was expected and what is there.
    """
    try:
        return STAGES[stage].model_validate(compose(layers))
    except ValidationError as error:
        raise explain(error, STAGES[stage], layers, stage) from None
