"""The architectures that settings can name.

A new architecture is a module in this package that calls `register_architecture`, a class of settings in
`config/architectures.py`, and a line in `_MODULES`. Modules are imported when first asked for: MONAI takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from connectomake.config.architectures import NetworkConfig
from connectomake.errors import ModelError
from connectomake.models.stem import ShuffledNetwork

Builder = Callable[[Any, int, int], nn.Module]

_MODULES = {
    "monai_basic_unet3d": "connectomake.models.basic_unet",
    "mednext": "connectomake.models.mednext",
}
_BUILDERS: dict[str, Builder] = {}


def register_architecture(name: str) -> Callable[[Builder], Builder]:
    """Make a function that builds networks known under a name; a decorator.

    The function takes the architecture's settings, the number of input channels and of output channels, and gives a
    module from (N, C, Z, Y, X) to (N, out_channels, Z, Y, X) logits for sides that are multiples of
    ``2 ** settings.halvings``.

    Raises
    ------
    ModelError
        Another function has that name already.
    """

    def register(builder: Builder) -> Builder:
        if _BUILDERS.get(name, builder) is not builder:
            raise ModelError(f"there is an architecture {name!r} already", hint="choose another name")
        _BUILDERS[name] = builder
        return builder

    return register


def list_architectures() -> list[str]:
    """Name all architectures, sorted."""
    return sorted(_MODULES.keys() | _BUILDERS.keys())


def get_architecture_builder(name: str) -> Builder:
    """Give the function that builds networks of an architecture.

    Raises
    ------
    ModelError
        There is no such architecture.
    """
    if name not in _BUILDERS and name in _MODULES:
        import_module(_MODULES[name])
    if name not in _BUILDERS:
        raise ModelError(f"no architecture {name!r}", expected=" or ".join(list_architectures()), got=name)
    return _BUILDERS[name]


def build_model(model_cfg: NetworkConfig, in_channels: int, out_channels: int) -> nn.Module:
    """Build a network with random weights.

    Parameters
    ----------
    model_cfg
        Settings of one architecture.
    in_channels, out_channels
        Of the volume, and of all targets together.

    Returns
    -------
    Module
        From (N, in_channels, Z, Y, X) to (N, out_channels, Z, Y, X) logits; the sides must be multiples of
        ``model_cfg.divisor_zyx``.

    Raises
    ------
    ModelError
        There is no such architecture.
    """
    builder = get_architecture_builder(model_cfg.architecture)
    if model_cfg.stem_factor == 1:
        return builder(model_cfg, in_channels, out_channels)
    per_voxel = model_cfg.stem_factor**3
    inner = builder(model_cfg, in_channels * per_voxel, out_channels * per_voxel)
    return ShuffledNetwork(inner, model_cfg.stem_factor)
