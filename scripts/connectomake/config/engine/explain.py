"""Turn what pydantic says about composed settings into one line: file, key, expected, got, the nearest known key.

Settings are composed of layers (a preset, the preset it is based on, overrides, a sweep). An error is told where its
value was written, which is the last layer that holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from connectomake.config.engine.yaml_files import line_of, shorten
from connectomake.config.section import TruthValue
from connectomake.errors import ConfigError

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Layer:
    """Some of the settings of one stage, and where they were written.

    Parameters
    ----------
    source
        What an error calls the place, e.g. ``config/decode/default.yaml`` or ``--config override``.
    values
        The settings, nested as in the stage's model.
    file
        The YAML file to look up line numbers in; None where there is none.
    at
        The keys in `file` under which `values` are written, e.g. ``("override", "decode.threshold")``.
    depth
        How many keys of `values` are told by `at` already: 1 for the example above, 0 for a preset.
    """

    source: str
    values: Mapping[str, Any]
    file: Path | None = None
    at: Keys = ()
    depth: int = 0

    def place(self, keys: Keys = ()) -> str:
        """Name the file and, where it can be found, the line of a key."""
        line = line_of(self.file, self.at + keys[self.depth :]) if self.file else None
        return f"{self.source}:{line}" if line else self.source


def nearest(word: str, known: Iterable[str], what: str = "known") -> str:
    """Return which known word was probably meant, or list them all.

    Examples
    --------
    >>> nearest("treshold", ["threshold", "dust_vx"])
    "did you mean 'threshold'?"
    >>> nearest("colour", ["threshold", "dust_vx"])
    'known: dust_vx, threshold'
    """
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"{what}: {', '.join(known) or 'none'}"


def explain(error: ValidationError, model: type[BaseModel], layers: Sequence[Layer], name: str = "") -> ConfigError:
    """Put the first thing that is wrong with some settings into one line.

    Parameters
    ----------
    error
        What pydantic raised.
    model
        The model that the settings were read as.
    layers
        What the settings were composed of, the strongest last.
    name
        What keys are told under: the stage, e.g. ``decode`` for ``decode.threshold``; empty for none.

    Returns
    -------
    ConfigError
        To be raised by the caller.
    """
    found = error.errors(include_url=False)
    found.sort(key=lambda e: e["type"] != "extra_forbidden")  # a misspelt key is the cause of the key that is missing
    located = {_true_keys(e["loc"], e["type"], layers): e for e in reversed(found)}
    keys = _true_keys(found[0]["loc"], found[0]["type"], layers)
    place = _origin(keys, layers).place(keys)
    key = ".".join([name, *map(str, keys)] if name else map(str, keys))
    more = f"and {len(located) - 1} more" if len(located) > 1 else ""
    if found[0]["type"] == "extra_forbidden" and (others := _kinds_with(model, keys)):
        kind = keys[-2] if len(keys) > 1 else name
        return ConfigError(f"{place}: {key!r} is no key of this {kind}, only of {', '.join(others)}", hint=more)
    return _sentence(f"{place}: ", key, dict(found[0]), fields_at(model, keys[:-1]), more)


def fields_at(model: type[BaseModel], keys: Sequence[str | int]) -> set[str]:
    """Return the keys that a model knows at a place inside it, over all members of a union."""
    return {name for one in _models_at(model, keys) for name in one.model_fields}


def _kinds_with(model: type[BaseModel], keys: Keys) -> list[str]:
    """Name the members of a union that have a key which another lacks, by their first key, which tells them apart."""
    found = [one for one in _models_at(model, keys[:-1]) if keys[-1] in one.model_fields]
    return [str(next(iter(one.model_fields.values())).default) for one in found]


def _models_at(model: type[BaseModel], keys: Sequence[str | int]) -> list[type[BaseModel]]:
    """Return the models at a place inside a model: several where it is a union."""
    models = [model]
    for key in keys:
        inner: list[Any] = []
        for one in models:
            if isinstance(one, type) and issubclass(one, BaseModel):
                field = one.model_fields.get(str(key))
                inner += _unwrap(field.annotation) if field else []
        models = inner or models  # a name in a free mapping, or a place in a list: its items were unwrapped already
    return [one for one in models if issubclass(one, BaseModel)]


def _unwrap(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation speaks of, through Optional, unions, mappings and lists."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _unwrap(part)]


def _true_keys(location: Keys, kind: str, layers: Sequence[Layer]) -> Keys:
    """Drop the names of union members that pydantic puts between the keys."""
    values = [layer.values for layer in layers]
    keys: list[str | int] = []
    for i, key in enumerate(location):
        inside = [child for value in values for child in _children(value, key)]
        last = i == len(location) - 1
        if inside or (last and kind in ("missing", "extra_forbidden")):
            keys.append(key)
            values = inside
    return tuple(keys)


def _children(value: Any, key: str | int) -> list[Any]:
    """Return what lies under a key of a mapping or at a place of a list: a list of one, or of none."""
    if isinstance(value, Mapping) and key in value:
        return [value[key]]
    if isinstance(value, list | tuple) and isinstance(key, int) and key < len(value):
        return [value[key]]
    return []


def _origin(keys: Keys, layers: Sequence[Layer]) -> Layer:
    """Find the layer that wrote a value: the one that holds most of its keys, the strongest of equals."""

    def held(layer: Layer) -> int:
        value: Any = layer.values
        for depth, key in enumerate(keys):
            children = _children(value, key)
            if not children:
                return depth
            value = children[0]
        return len(keys)

    return max(reversed(layers), key=held)


def _sentence(place: str, key: str, error: dict[str, Any], known: set[str], more: str) -> ConfigError:
    """Write the line for one of pydantic's errors."""
    kind, said, got = error["type"], str(error["msg"]), error["input"]
    if kind == "extra_forbidden":
        return ConfigError(f"{place}unknown key {key!r}", hint=_join(nearest(key.rpartition(".")[2], known), more))
    if kind == "missing":
        return ConfigError(f"{place}{key} is missing: it has no default", hint=more)
    if kind == "value_error":
        said = said.removeprefix("Value error, ")
        return ConfigError(f"{place}{key}: {said}" if key else f"{place}{said}", hint=more)
    wrong = f"{place}{key}: wrong value" if key else f"{place}wrong value"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return ConfigError(wrong, expected="key: value pairs", got=shorten(got), hint=more)
    hint = ""
    if kind == "literal_error" and isinstance(got, str):
        hint = nearest(got, error["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", "))
        hint = hint if hint.startswith("did") else ""
    if isinstance(got, TruthValue):
        hint = "YAML may read yes, no, on and off as true and false: put the word in quotes"
    if said.startswith("Input should be "):
        expected = said.removeprefix("Input should be ").partition(", unable to")[0]
        return ConfigError(wrong, expected=expected, got=shorten(got), hint=_join(hint, more))
    return ConfigError(f"{wrong}: {said}", got=shorten(got), hint=_join(hint, more))


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
