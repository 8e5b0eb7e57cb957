"""Layers of settings: read preset files with their bases, lay them over one another, and check their sweeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from connectomake.config.engine.explain import Layer, nearest
from connectomake.config.engine.yaml_files import read_yaml, shorten
from connectomake.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


NAME_RULE = "letters, digits, _ . and -, beginning with a letter or digit"


def read_preset(file: Path) -> dict[str, Any]:
    """Read the settings in a preset file by its path, on its bases and without its sweep; not checked against a model.

    Raises
    ------
    ConfigError
        Where the file, or one that it is based on, is not there or is no YAML mapping.
    """
    layers, _ = read_layers(file, str(file))
    return compose(layers)


def read_layers(file: Path, source: str) -> tuple[tuple[Layer, ...], dict[str, list[Any]]]:
    """Read a preset and the presets it is based on, which lie beside it.

    Parameters
    ----------
    file, source
        The file, and its path as errors tell it.

    Returns
    -------
    tuple of tuple of Layer and dict
        The layers, the file's own last, and key -> values to try.

    Raises
    ------
    ConfigError
        Where a file is not there, is no YAML mapping, or is based on itself.
    """
    layers: list[Layer] = []
    sweep: dict[str, list[Any]] = {}
    chain = [file.stem]
    while True:
        held = read_yaml(file, source)
        layers.insert(0, Layer(source, {k: v for k, v in held.items() if k not in ("base", "sweep")}, file))
        if "sweep" in held:
            sweep = check_sweep(held["sweep"], source) | sweep
        if "base" not in held:
            return tuple(layers), sweep
        base = held["base"]
        if not isinstance(base, str):
            raise ConfigError(f"{source}: base", expected="the name of another preset", got=shorten(base))
        if base in chain:
            raise ConfigError(f"{source}: base is cyclic: {' -> '.join([*chain, base])}", hint="break the circle")
        chain.append(base)
        asked_by = f"{source}: base"
        source = f"{source[: -len(file.name)]}{base}.yaml"
        file = _existing(file.parent, base, source, asked_by)


def _existing(folder: Path, name: str, source: str, asked_by: str) -> Path:
    """Return a preset's file if its name is one and it is there; else tell the names that are."""
    file = folder / f"{name}.yaml"
    if is_name(name) and file.is_file():
        return file
    names = sorted(other.stem for other in folder.glob("*.yaml"))
    hint = nearest(name, names)
    if hint.startswith("did"):
        hint += f" known: {', '.join(names)}"
    raise ConfigError(f"{asked_by}: there is no {source}", hint=hint)


def is_name(name: str) -> bool:
    """Return whether a preset, experiment or volume may be called this: names are parts of paths and of ids."""
    return _NAME.fullmatch(name) is not None


def check_sweep(sweep: Any, source: str) -> dict[str, list[Any]]:
    """Return a sweep back if it is one: at least one key, each with a list of at least one value.

    Raises
    ------
    ConfigError
        Where it is empty or no mapping of keys to lists.
    """
    if not isinstance(sweep, Mapping) or not sweep:
        raise ConfigError(f"{source}: the sweep is empty", expected="key: [value, ...]", got=shorten(sweep))
    for key, values in sweep.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{source}: sweep of {key!r}", expected="a list of values", got=shorten(values))
    return {str(key): list(values) for key, values in sweep.items()}


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another: mappings are merged, anything else is replaced.

    Examples
    --------
    >>> merge({"model": {"name": "unet", "filters": 32}, "seed": 0}, {"model": {"filters": 8}})
    {'model': {'name': 'unet', 'filters': 8}, 'seed': 0}
    """
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def compose(layers: Sequence[Layer]) -> dict[str, Any]:
    """Lay the values of layers over one another, the last one on top."""
    return reduce(merge, (layer.values for layer in layers), {})


def nest(keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Write a value under a path of keys.

    Examples
    --------
    >>> nest(["model", "filters"], 32)
    {'model': {'filters': 32}}
    """
    return {keys[0]: nest(keys[1:], value) if len(keys) > 1 else value}
