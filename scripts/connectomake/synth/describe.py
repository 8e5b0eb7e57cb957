"""Tell how large the networks of a synth preset are, before anything is trained."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import torch
from torch import nn

from connectomake.config.engine.compose import Presets
from connectomake.config.settings.synth import SynthConfig
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.biflownet import build_denoiser
from connectomake.synth.discriminator import build_discriminator


def describe_synth(preset: str, root: Path, *, classes: int, as_json: bool) -> None:
    """Write to standard output how many parameters each part of a preset's networks has.

    Parameters
    ----------
    preset
        ``synth/NAME`` for config/synth/NAME.yaml.
    root
        The project: the folder that holds config/.
    classes
        Classes of volumes to generate.
    as_json
        As JSON, else as text.

    Raises
    ------
    ConfigError
        There is no such preset, or it cannot be read.
    """
    cfg = cast(SynthConfig, Presets(root).get("synth", preset.removeprefix("synth/"), "--preset").settings)
    counts = count_parameters(cfg, classes)
    text = json.dumps(counts, indent=2) if as_json else "\n".join(f"{part:14} {n:>13,}" for part, n in counts.items())
    sys.stdout.write(text + "\n")


def count_parameters(cfg: SynthConfig, classes: int) -> dict[str, int]:
    """Count the parameters of each part; no memory is taken for them.

    Parameters
    ----------
    cfg
        Settings.
    classes
        Classes of volumes to generate.

    Returns
    -------
    dict of str to int
        For encoder, decoder, quantise (the layers before and after the codebook), discriminator and denoiser, of which
        the positions of tokens count too, though they are fixed. The codebook does not count: no gradient moves it.
    """
    channels = cfg.image_channels
    with torch.device("meta"):
        autoencoder = PatchVolumeAutoencoder(cfg.autoencoder, channels)
        discriminator = build_discriminator(cfg.discriminator, channels)
        denoiser = build_denoiser(cfg, classes)
    return {
        "encoder": _count(autoencoder.encoder),
        "decoder": _count(autoencoder.decoder),
        "quantise": _count(autoencoder.pre_quantise) + _count(autoencoder.post_quantise),
        "discriminator": _count(discriminator),
        "denoiser": _count(denoiser),
    }


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
