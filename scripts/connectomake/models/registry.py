"""The architectures that settings can name.

A new architecture is a module in this package that calls `register_architecture`, a class of settings in
`config/settings/train_architectures.py`, and a line in `_MODULES`. Modules are imported when first asked for: MONAI
takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from connectomake.config.engine.explain import Layer, explain, nearest
from connectomake.config.settings.train_architectures import ARCHITECTURES
from connectomake.config.settings.train_network import FOREIGN, NetworkConfig
from connectomake.errors import ConfigError, ModelError
from connectomake.models.network import Body, Network
from connectomake.models.pytc_settings import translate

Builder = Callable[[Any, int], Body]

_MODULES = {
    "fpn": "connectomake.models.backbones",
    "mednext": "connectomake.models.mednext",
    "mednext_custom": "connectomake.models.mednext",
    "monai_basic_unet3d": "connectomake.models.monai_unets",
    "monai_flexible_unet": "connectomake.models.backbones",
    "monai_swin_unetr": "connectomake.models.monai_unets",
    "monai_unet": "connectomake.models.monai_unets",
    "monai_unetr": "connectomake.models.monai_unets",
    "residual_unet": "connectomake.models.residual_unet",
    "rsunet": "connectomake.models.residual_unet",
}
_BUILDERS: dict[str, Builder] = {}
_SETTINGS: dict[str, type[NetworkConfig]] = dict(ARCHITECTURES)


def register_architecture(
    name: str, settings: type[NetworkConfig] | None = None
) -> Callable[[Callable[..., Body]], Callable[..., Body]]:
    """Make a function that builds the body of networks known under a name; a decorator.

    The function takes the architecture's settings and the number of input channels, and gives a `Body`. Sections,
    stem and heads are put around it.

    Parameters
    ----------
    name
        What settings call it.
    settings
        The class of its settings, where `config/settings/train_architectures.py` does not have it.

    Raises
    ------
    ModelError
        Another function has that name already.
    """

    def register(builder: Callable[..., Body]) -> Callable[..., Body]:
        ours = _MODULES.get(name, builder.__module__)  # perhaps not imported yet
        if _BUILDERS.get(name, builder) is not builder or builder.__module__ != ours:
            raise ModelError(f"there is an architecture {name!r} already", hint="choose another name")
        _BUILDERS[name] = builder
        if settings is not None:
            _SETTINGS[name] = settings
        return builder

    return register


def list_architectures() -> list[str]:
    """Name all architectures, sorted."""
    return sorted(_MODULES.keys() | _BUILDERS.keys())


def print_available_architectures() -> None:
    """Write all architectures to standard output, a line each: name, and what it is."""
    names = list_architectures()
    wide = max(map(len, names))
    for name in names:
        settings = _SETTINGS.get(name)
        sys.stdout.write(f"{name:{wide}}  {(settings.__doc__ or '').strip() if settings else ''}".rstrip() + "\n")


def get_architecture_builder(name: str) -> Builder:
    """Return the function that builds the bodies of an architecture.

    Raises
    ------
    ModelError
        There is no such architecture, or the name stands for networks from elsewhere, which cannot be built anew.
    """
    if name in FOREIGN:
        raise ModelError(
            f"{name!r} is a network from elsewhere: its program is fixed, so that it can predict but not be trained",
            hint="name its checkpoint in predict.checkpoints, and train one of: " + ", ".join(list_architectures()),
        )
    if name not in _BUILDERS and name in _MODULES:
        import_module(_MODULES[name])
    if name not in _BUILDERS:
        names = list_architectures()
        raise ModelError(f"no architecture {name!r}", expected=" or ".join(names), hint=nearest(name, names))
    return _BUILDERS[name]


def read_settings(section: Mapping[str, Any]) -> NetworkConfig:
    """Read the settings of a network from plain data.

    Parameters
    ----------
    section
        Ours, or the model section of PyTorch Connectomics; `connectomake.models.pytc_settings` says how that is read.

    Raises
    ------
    ModelError
        There is no such architecture.
    ConfigError
        An unknown key, with the nearest one, or a wrong value.
    """
    values = translate(section)
    name = values["architecture"]
    if name not in _MODULES:  # those are known without being imported
        get_architecture_builder(name)
    if name not in _SETTINGS:
        raise ModelError(f"architecture {name!r} was registered without a class of settings")
    try:
        return _SETTINGS[name].model_validate(values)
    except ValidationError as error:
        raise explain(error, _SETTINGS[name], [Layer("model", values)]) from None


def build_model(
    model: NetworkConfig | Mapping[str, Any],
    in_channels: int | None = None,
    out_channels: int | None = None,
    targets_of_channels: Sequence[str] = (),
) -> Network:
    """Build a network with random weights.

    Parameters
    ----------
    model
        Settings of one architecture, or a mapping as of `read_settings`, which may hold the channels too.
    in_channels, out_channels
        Of the volume, and of all targets together.
    targets_of_channels
        For each output channel the target that it belongs to; needed for settings with heads.

    Returns
    -------
    Network
        From (N, in_channels, Z, Y, X) to logits (N, out_channels, Z, Y, X); the sides must be multiples of
        ``model.divisor_zyx``.

    Raises
    ------
    ModelError
        There is no such architecture, or heads do not suit the targets.
    ConfigError
        An unknown key or a wrong value in a mapping, or a number of channels that nobody tells.
    """
    given = model if isinstance(model, Mapping) else {}
    cfg = read_settings(model) if isinstance(model, Mapping) else model
    inputs = _count("in_channels", in_channels, given)
    outputs = _count("out_channels", out_channels, given)
    body = get_architecture_builder(cfg.architecture)(cfg, inputs * cfg.stem_factor**cfg.dimensions)
    return Network(body, cfg, inputs, outputs, targets_of_channels)


def _count(key: str, told: int | None, given: Mapping[str, Any]) -> int:
    """Return a number of channels, from the argument or else from the mapping."""
    count = given.get(key) if told is None else told
    if not isinstance(count, int) or count < 1:
        raise ConfigError(f"model.{key}", expected="a positive number", got=count)
    return count
