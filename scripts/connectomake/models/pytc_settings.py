"""Read the model section of PyTorch Connectomics' settings as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectomake.config.engine.explain import nearest
from connectomake.config.settings.train_architectures import ARCHITECTURES, DEFAULT_ARCHITECTURE
from connectomake.errors import ConfigError

# Their name -> ours.
NAMES = {
    "mednext_size": "size",
    "mednext_kernel_size": "kernel_size",
    "mednext_base_channels": "filters",
    "mednext_exp_r": "expansions",
    "mednext_block_counts": "blocks",
    "mednext_grn": "grn",
}
# Keys of theirs that tell nothing about the network: how many channels it has is an argument of `build_model`, and what
# it learns by stands in `losses` of the train settings.
ELSEWHERE = ("in_channels", "out_channels", "loss_functions", "loss_weights")


def translate(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a network under our names.

    Keys that belong to the losses, and the numbers of channels, are left out. Five filters of a BasicUNet, one per
    level, are completed by a last layer as wide as the finest level.

    Parameters
    ----------
    section
        Their keys, ours, or both.

    Returns
    -------
    dict
        Ours; always with ``architecture``.

    Raises
    ------
    ConfigError
        A key that this architecture does not have, with the nearest one, or one setting under both names.
    """
    values: dict[str, Any] = {"architecture": DEFAULT_ARCHITECTURE}
    for key, value in section.items():
        name = NAMES.get(key, key)
        if name in values and name != "architecture":
            raise ConfigError(f"model: {key} is {name} under another name", hint="give one of them")
        if key not in ELSEWHERE:
            values[name] = value
    settings = ARCHITECTURES.get(values["architecture"])
    if settings is not None:
        _check_keys(section, set(settings.model_fields), values["architecture"])
    filters = values.get("filters")
    if values["architecture"] == "monai_basic_unet3d" and filters is not None and len(filters) == 5:
        values["filters"] = [*filters, filters[0]]
    return values


def _check_keys(section: Mapping[str, Any], fields: set[str], architecture: str) -> None:
    """Reject keys that the architecture has under no name."""
    theirs = NAMES if architecture.startswith("mednext") else {}
    known = fields | {name for name, ours in theirs.items() if ours in fields}
    for key in section:
        if key not in known and key not in ELSEWHERE:
            raise ConfigError(f"model: {architecture} has no key {key!r}", hint=nearest(key, known | set(ELSEWHERE)))
