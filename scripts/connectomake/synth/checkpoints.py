"""Trained autoencoders and denoisers, each in one file that describes itself: plain data and tensors, no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import MissingDataError, ModelError
from connectomake.files import replacing
from connectomake.models.checkpoint import hash_network, load_tensors
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.biflownet import BiFlowNet, build_denoiser
from connectomake.synth.discriminator import build_discriminator

FORMAT = "connectomake synth checkpoint 1"
MAKERS = {"autoencoder": "autoencoder_stage1 and autoencoder_stage2", "diffusion": "train_diffusion"}
Tensors = Mapping[str, torch.Tensor]


def save_autoencoder(
    path: Path, model: PatchVolumeAutoencoder, meta: Mapping[str, Any], discriminator: nn.Module | None = None
) -> str:
    """Write an autoencoder and its description, atomically.

    Parameters
    ----------
    path
        The file to make or replace.
    model
        Its weights and codebook are written, as they are.
    meta
        Plain data; ``cfg`` = the whole `SynthConfig` as plain data.
    discriminator
        That of its training, with which a second stage can go on.

    Returns
    -------
    str
        The hash: SHA-256 of weights, codebook and the autoencoder's settings.
    """
    known = {"kind": "autoencoder", "channels": model.channels}
    tensors = {"weights": model.state_dict()}
    if discriminator is not None:
        tensors["discriminator"] = discriminator.state_dict()
    return _write(path, tensors, known | dict(meta), ("kind", "channels"), "autoencoder")


def load_autoencoder(path: Path, device: str | torch.device = "cpu") -> tuple[PatchVolumeAutoencoder, dict[str, Any]]:
    """Read an autoencoder, ready to encode and decode.

    Parameters
    ----------
    path
        A file of `save_autoencoder`.
    device
        Where it shall be.

    Returns
    -------
    tuple of PatchVolumeAutoencoder and dict
        The model in evaluation mode; its description with ``hash``, ``cfg`` (plain data) and ``channels``.

    Raises
    ------
    MissingDataError
        The file does not exist.
    ModelError
        It is no checkpoint of this kind, is damaged, or is of another version.
    """
    content, cfg = _read(Path(path), "autoencoder")
    meta = content["meta"]
    model = PatchVolumeAutoencoder(cfg.autoencoder, meta["channels"])
    _fill(model, content["weights"], path)
    return model.to(device).eval(), meta


def load_discriminator(path: Path) -> nn.Module | None:
    """Read the discriminator that an autoencoder was trained with, None if it was trained without one.

    Raises what `load_autoencoder` does.
    """
    content, cfg = _read(Path(path), "autoencoder")
    if "discriminator" not in content:
        return None
    model = build_discriminator(cfg.discriminator, content["meta"]["channels"])
    _fill(model, content["discriminator"], path)
    return model


def save_diffusion(path: Path, average: Tensors, model: nn.Module, meta: Mapping[str, Any]) -> str:
    """Write a denoiser and its description, atomically.

    Parameters
    ----------
    path
        The file to make or replace.
    average
        State of the moving average, which generates; under the names of `model.state_dict()`.
    model
        The network itself; its weights are kept beside them.
    meta
        Plain data; ``cfg`` = the whole `SynthConfig` as plain data, ``classes`` = names of the classes in the order of
        their numbers, ``autoencoder_hash`` = that of the autoencoder whose latents were learnt.

    Returns
    -------
    str
        The hash: SHA-256 of the averaged weights, the denoiser's settings, classes and the autoencoder's hash.
    """
    said = ("kind", "classes", "autoencoder_hash")
    tensors = {"weights": average, "plain_weights": model.state_dict()}
    return _write(path, tensors, {"kind": "diffusion", **meta}, said, "denoiser")


def load_diffusion(path: Path, device: str | torch.device = "cpu") -> tuple[BiFlowNet, dict[str, Any]]:
    """Read a denoiser with its averaged weights, in evaluation mode; as `load_autoencoder` does, with the same errors.

    Its description holds ``hash``, ``cfg``, ``classes`` and ``autoencoder_hash``.
    """
    content, cfg = _read(Path(path), "diffusion")
    meta = content["meta"]
    model = build_denoiser(cfg, len(meta["classes"]))
    _fill(model, content["weights"], path)
    return model.to(device).eval(), meta


def _write(path: Path, parts: Mapping[str, Tensors], meta: Mapping[str, Any], said: tuple[str, ...], part: str) -> str:
    """Write tensors and description; the hash is of ``weights``, what is `said`, and the `part` of the settings."""
    tensors = {
        name: {key: value.detach().cpu().contiguous() for key, value in part.items()} for name, part in parts.items()
    }
    # Through JSON: tuples become lists, and anything but plain data is refused before it is in the file.
    plain = json.loads(json.dumps(dict(meta)))
    plain["hash"] = hash_network(tensors["weights"], {key: plain[key] for key in said} | {part: plain["cfg"][part]})
    with replacing(path) as temporary:
        torch.save({"format": FORMAT, "meta": plain, **tensors}, temporary)
    return plain["hash"]


def _read(path: Path, kind: str) -> tuple[dict[str, Any], SynthConfig]:
    """Read a file and its settings; refuse what is not of this kind."""
    hint = f"give the model.ckpt of {MAKERS[kind]}"
    if not path.is_file():
        raise MissingDataError(f"no checkpoint {path}", hint=hint)
    content = load_tensors(path)
    known = content if isinstance(content, dict) else {}
    found = (known.get("format"), known.get("meta", {}).get("kind") if known.get("format") == FORMAT else None)
    if found != (FORMAT, kind):
        raise ModelError(
            f"{path} is no checkpoint of the synth stage's {kind}",
            expected=f"{FORMAT}, {kind}",
            got=", ".join(str(part) for part in found if part) or "a file of something else",
            hint=hint,
        )
    try:
        return known, SynthConfig.model_validate(known["meta"]["cfg"])
    except ValidationError as error:
        raise ModelError(
            f"the settings in {path} cannot be read: {error.errors()[0]['msg']}",
            got=".".join(map(str, error.errors()[0]["loc"])),
            hint="train again, or use the version of Connectomake that made it",
        ) from error


def _fill(model: nn.Module, weights: Tensors, path: Path) -> None:
    """Put weights into a model; they must be all of its own."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise ModelError(
            f"the weights in {path} are not those of its settings",
            got=lines[min(1, len(lines) - 1)].strip(),
            hint="train again, or use the version of Connectomake that made it",
        ) from error
