"""MONAI bundles (https://docs.monai.io/en/stable/mb_specification.html) as the network of a checkpoint.

A bundle's config can name any Python callable (``_target_``) and hold Python text (``$...``), which MONAI would run.
Here, ``_target_`` may only be a class of networks or layers, derived from `torch.nn.Module` and defined in
``monai.networks`` or ``torch.nn``; references (``@name``) to plain values are followed, and all Python text is
refused. Weights are read with `weights_only=True`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from connectomake.config.engine.yaml_files import read_yaml
from connectomake.config.settings.train_foreign import ForeignConfig
from connectomake.errors import MissingDataError, ModelError
from connectomake.files import read_json
from connectomake.geometry import Triple, to_triple
from connectomake.models.foreign import Found
from connectomake.models.initial_weights import read_state

CONFIGS = tuple(f"configs/{name}.{kind}" for name in ("inference", "train") for kind in ("json", "yaml", "yml"))
ALLOWED = ("monai.networks.", "torch.nn.")
BARE = ("monai.networks.nets", "monai.networks.blocks")  # where a name without a module is looked up
DOWNLOADS = re.compile(r"pretrained.*|weights|.*_url")  # arguments that would fetch other weights than the bundle's
MULTIPLE = re.compile(r"(\d+)\s*\*\s*n")


def read(path: Path, prefix: str = "") -> Found:
    """Read a bundle's folder.

    Parameters
    ----------
    path
        It holds configs/inference.json (or train.json, or .yaml) with ``network_def``, models/model.pt, and may hold
        configs/metadata.json.
    prefix
        What the names of its weights begin with.

    Raises
    ------
    MissingDataError
        One of these files is missing.
    ModelError
        `network_def` holds what is not allowed, or the weights are not those of this network.
    """
    definition = _read_network_def(path)
    weights = path / "models/model.pt"
    if not weights.is_file():
        raise MissingDataError(f"no {weights}", hint="a models/model.ts is TorchScript: import that file instead")
    state = read_state(weights, prefix)
    metadata = path / "configs/metadata.json"
    found = _read_formats(read_json(metadata)) if metadata.is_file() else {}
    axes = definition.get("spatial_dims")
    return Found("monai_bundle", state, network_def=definition, dimensions=axes if axes in (2, 3) else None, **found)


def open_program(cfg: ForeignConfig, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Make the network that a checkpoint holds.

    Raises
    ------
    ModelError
        Its definition holds what is not allowed.
    RuntimeError
        The weights are not those of this network.
    """
    network = build(cfg.network_def)
    if not isinstance(network, nn.Module):
        raise ModelError("network_def of the MONAI bundle makes no network", expected="_target_: a class", got=network)
    network.load_state_dict(dict(weights))
    return network


def build(value: Any) -> Any:
    """Make what a definition names: each mapping with ``_target_`` becomes a module, all else stays.

    Raises
    ------
    ModelError
        A target that is not allowed, a key of MONAI's that is not known here, or arguments that do not suit.
    """
    if isinstance(value, list):
        return [build(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "_target_" not in value:
        return {key: build(item) for key, item in value.items()}
    kind = find_class(value["_target_"])
    given = {key: build(item) for key, item in value.items() if key not in ("_target_", "_desc_")}
    unknown = [key for key in given if key.startswith("_") and (key, given[key]) != ("_mode_", "default")]
    if unknown:
        raise ModelError(f"network_def has a key that is not known here: {unknown[0]}", hint="remove it")
    given.pop("_mode_", None)
    given |= {name: None for name in (*given, *signature(kind).parameters) if DOWNLOADS.fullmatch(name)}
    try:
        return kind(**given)
    except (TypeError, ValueError, NotImplementedError, AssertionError, KeyError) as error:
        raise ModelError(f"{value['_target_']} of network_def cannot be made of its arguments", got=error) from error


def find_class(target: Any) -> type[nn.Module]:
    """Return the class that ``_target_`` names.

    Raises
    ------
    ModelError
        It is not allowed, or there is no such class.
    """
    module, _, name = str(target).rpartition(".")
    if not module or f"{module}.".startswith(ALLOWED):
        for place in [module] if module else BARE:
            try:
                found = getattr(import_module(place), name, None)
            except ModuleNotFoundError:
                found = None
            if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith(ALLOWED):
                return found
    raise ModelError(
        f"network_def names {target!r}, which is not allowed or does not exist",
        expected="a class of monai.networks or torch.nn",
        hint="save networks of other packages as TorchScript or as an exported program",
    )


def _read_network_def(path: Path) -> dict[str, Any]:
    """Read the definition of the network, with all references followed."""
    for name in CONFIGS:
        file = path / name
        if file.is_file():
            config = read_json(file) if file.suffix == ".json" else read_yaml(file, str(file))
            if "network_def" in config:
                definition = _resolve(config["network_def"], config, ())
                if isinstance(definition, dict) and "_target_" in definition:
                    return definition
                raise ModelError(f"network_def of {file} names no class", expected="_target_", got=definition)
    raise MissingDataError(f"no network_def in {path}", expected=" or ".join(CONFIGS))


def _resolve(value: Any, config: Mapping[str, Any], seen: tuple[str, ...]) -> Any:
    """Follow references, and refuse Python text."""
    if isinstance(value, Mapping):
        return {key: _resolve(item, config, seen) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, config, seen) for item in value]
    if not isinstance(value, str) or not value.startswith(("$", "@", "%")):
        return value
    place: Any = config
    for part in re.split(r"#|::", value[1:]):
        inside = place[int(part)] if isinstance(place, list) and part.isdigit() else None
        place = place.get(part) if isinstance(place, Mapping) else inside
    if value[0] != "@" or place is None or value in seen:
        raise ModelError(
            f"network_def of the MONAI bundle holds {value!r}, which would be run as Python or leads nowhere",
            expected="plain values, or @name of one",
            hint="put the value itself there in a copy of the bundle",
        )
    return _resolve(place, config, (*seen, value))


def _read_formats(metadata: dict[str, Any]) -> dict[str, Any]:
    """Read channels, window and divisor from `network_data_format`, as far as it tells."""
    formats = metadata.get("network_data_format", {})
    given, made = (dict(next(iter(formats.get(key, {}).values()), {})) for key in ("inputs", "outputs"))
    found = {"in_channels": given.get("num_channels"), "out_channels": made.get("num_channels")}
    shape = given.get("spatial_shape") or []
    if len(shape) != 3:
        return found
    multiples = [MULTIPLE.match(str(side)) for side in shape]
    divisor: Triple = to_triple([int(match[1]) if match else 1 for match in multiples])
    window = to_triple(shape) if all(isinstance(side, int) for side in shape) else None
    return {**found, "divisor_zyx": divisor, "window_zyx": window}
