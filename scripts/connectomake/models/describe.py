"""Tell what the network of a training preset is, before anything is trained."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from connectomake.config.engine.compose import Presets
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import ConfigError
from connectomake.models.registry import build_model, print_available_architectures


def describe(preset: str, root: Path, *, in_channels: int, as_json: bool) -> None:
    """Write to standard output what a preset's network is; without a preset, which architectures there are.

    Parameters
    ----------
    preset
        ``train/NAME`` for config/train/NAME.yaml; empty for a list of the architectures.
    root
        The project: the folder that holds config/.
    in_channels
        Of the volume.
    as_json
        As JSON, else as text.

    Raises
    ------
    ConfigError
        There is no such preset, or it cannot be read.
    """
    if not preset:
        print_available_architectures()
        return
    stage, _, name = preset.rpartition("/")
    if stage not in ("", "train"):
        raise ConfigError(f"--preset {preset}", expected="train/NAME", hint="only training presets have a network")
    cfg = cast(TrainConfig, Presets(root).get("train", name, "--preset").settings)
    info = collect_info(cfg, in_channels)
    sys.stdout.write((json.dumps(info, indent=2) if as_json else format_info(info)) + "\n")


def collect_info(cfg: TrainConfig, in_channels: int = 1) -> dict[str, Any]:
    """Return what `Network.get_model_info` does, with patch and channels of a training.

    Parameters
    ----------
    cfg
        Settings of the training.
    in_channels
        Of the volume.

    Returns
    -------
    dict
        Plain data.
    """
    channels = cfg.targets.channels
    network = build_model(cfg.model, in_channels, len(channels), [channel.target for channel in channels])
    names = [{"name": channel.name, "target": channel.target, "activation": channel.activation} for channel in channels]
    return network.get_model_info() | {"patch_zyx_vx": list(cfg.patch_zyx_vx), "channels": names}


def format_info(info: dict[str, Any]) -> str:
    """Write what `collect_info` gives as lines of text."""
    field = info["receptive_field_zyx"]
    scales = ", ".join(f"1/{scale}" if max(scale) > 1 else "whole" for scale in info["scales_zyx"])
    lines = {
        "architecture": f"{info['architecture']}, {info['dimensions']}-D",
        "parameters": f"{info['parameters']:,} ({info['trainable']:,} of them learn)",
        "input": f"{info['in_channels']} channels",
        "output": f"{info['out_channels']} channels: " + ", ".join(channel["name"] for channel in info["channels"]),
        "scales in training": scales,
        "sides (z, y, x)": f"multiples of {info['divisor_zyx']} voxels; {info['patch_zyx_vx']} in this preset",
        "receptive field": "the whole patch (attention)"
        if field is None
        else f"at most {field} voxels (z, y, x), norms aside",
    }
    parts = {f"  {name}": f"{count:,} parameters" for name, count in info["parts"].items()}
    return "\n".join(f"{key:20} {value}" for key, value in (lines | {"parts": ""} | parts).items())
