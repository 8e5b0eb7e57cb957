"""Encode examples: what `train_diffusion` learns from, and what generated volumes are compared with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from connectomake.config.settings.synth import SynthConfig
from connectomake.errors import ConfigError, DataError
from connectomake.files import write_json
from connectomake.geometry import Turn
from connectomake.models.device import choose_device
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.checkpoints import load_autoencoder
from connectomake.synth.examples import Example, read_example, read_map, read_table
from connectomake.synth.latents import locate_latent, read_attributes, write_latent
from connectomake.synth.tiles import pad_to_multiple

log = logging.getLogger(__name__)

SAME_SIZE = 0.01  # voxels whose sides differ by less are turned


def encode_latents(
    examples: Path,
    autoencoder: Path,
    cfg: SynthConfig,
    folder: Path,
    job: int,
    jobs: int,
    marker: Path,
    *,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Encode this job's share of the examples: number `job`, `job + jobs` and so on of all examples and turns.

    A store that is finished is kept where it is of the same example, autoencoder and settings; else it is made anew.
    Stores do not depend on the number of jobs. Held-out examples are encoded as they are, without turns.

    Parameters
    ----------
    examples
        examples.tsv.
    autoencoder
        model.ckpt of the second stage.
    cfg
        Labels, padding, turns, and how many patches are encoded at a time.
    folder
        Where the stores are put.
    job, jobs
        Which share this is, 0 to jobs - 1.
    marker
        A small file that says the job is done, written last: the stores, and the share of latents beyond the codebook.
    device
        auto, cpu or cuda.
    threads
        Of torch.

    Raises
    ------
    DataError
        The job's number is none, or the data cannot be read.
    ConfigError
        The autoencoder was trained with other settings of its network or of labels.
    """
    if not 0 <= job < jobs:
        raise DataError("no such job", expected=f"0 to {jobs - 1}", got=job)
    torch.set_num_threads(threads)
    where = choose_device(device)
    model, meta = load_autoencoder(autoencoder, where)
    _check_settings(autoencoder, meta, cfg)
    tasks = list_tasks(read_table(examples), cfg.latents.turns)[job::jobs]
    low_high = [float(model.codebook.codes.min()), float(model.codebook.codes.max())]
    outside = {}
    for example, turn, turns in tasks:
        path = locate_latent(folder, example, turn)
        said = _describe(example, turn, turns, cfg) | {"autoencoder": meta["hash"], "codebook": low_high}
        known = read_attributes(path)
        if known is None or any(known.get(key) != value for key, value in said.items()):
            if known is not None:
                log.info("%s is of other settings, another autoencoder or example, and is made anew", path)
            known = _encode(model, example, list_turns(example)[turn], cfg, path, said)
        outside[path.name] = known["outside_share"]
    if outside:
        share = float(np.mean(list(outside.values())))
        log.info("%d examples are encoded; %.1f %% of their latents lie outside [-1, 1]", len(outside), 100 * share)
    write_json(marker, {"autoencoder": meta["hash"], "outside_share": outside})


def list_tasks(examples: Sequence[Example], turns: int) -> list[tuple[Example, int, int]]:
    """List what is encoded: each example, the number of its turn, and how many turns it has."""
    found = []
    for example in examples:
        count = min(turns, len(list_turns(example))) if example.role == "learn" else 1
        found += [(example, turn, count) for turn in range(count)]
    return found


def list_turns(example: Example) -> list[Turn]:
    """List the ways in which an example may lie, the first of them as it is.

    These are flips of x and y, then the same after a quarter turn where y and x are alike in sides and voxel size, then
    all of it with z flipped: 16, or 8.
    """
    _, y, x = example.shape_zyx_vx
    _, y_nm, x_nm = example.voxel_size_zyx_nm
    orders = ((0, 1, 2), (0, 2, 1)) if y == x and abs(y_nm / x_nm - 1) <= SAME_SIZE else ((0, 1, 2),)
    flips = (False, True)
    return [Turn(order, (fz, fy, fx)) for fz, order, fy, fx in product(flips, orders, flips, flips)]


def turn_array(turn: Turn, array: np.ndarray) -> np.ndarray:
    """Turn a (C, Z, Y, X) array; a copy."""
    turned = array.transpose(0, *(1 + axis for axis in turn.order))
    return np.flip(turned, tuple(1 + axis for axis in range(3) if turn.mirrored[axis])).copy()


def _encode(
    model: PatchVolumeAutoencoder,
    example: Example,
    turn: Turn,
    cfg: SynthConfig,
    path: Path,
    said: dict[str, Any],
) -> dict[str, Any]:
    """Encode one example and write its store; give its attributes."""
    device = model.codebook.codes.device
    x = pad_to_multiple(torch.from_numpy(turn_array(turn, read_example(example, cfg))).to(device), cfg.multiple_zyx_vx)
    with torch.inference_mode():
        z = model.encode(x[None], cfg.latents.batch)[0].float().cpu().numpy()
    low, high = said["codebook"]
    attributes = said | {"outside_share": float(((z < low) | (z > high)).mean())}
    distances = None
    if cfg.labels.kind == "conditional":
        turned = torch.from_numpy(turn_array(turn, read_map(example, cfg)))
        distances = pad_to_multiple(turned, cfg.multiple_zyx_vx).numpy()
    write_latent(path, z, distances, attributes)
    return attributes


def _describe(example: Example, turn: int, turns: int, cfg: SynthConfig) -> dict[str, Any]:
    """Return all that decides what is in a store, but for the autoencoder, as plain data."""
    labels = cfg.labels
    return {
        "key": example.key,
        "volume": example.volume,
        "class": example.class_name,
        "role": example.role,
        "example": example.as_settings(),
        "turn": turn,
        "turns": turns,
        "ratio_zyx": list(cfg.autoencoder.ratio_zyx),
        "patch_zyx_vx": list(cfg.autoencoder.patch_zyx_vx),
        "multiple_zyx_vx": list(cfg.multiple_zyx_vx),
        "voxel_size_zyx_nm": list(example.voxel_size_zyx_nm),
        "labels": labels.kind if labels.kind == "none" else f"{labels.kind}, {labels.distance_nm:g} nm",
    }


def _check_settings(path: Path, meta: dict[str, Any], cfg: SynthConfig) -> None:
    """Reject an autoencoder of other settings.

    Raises
    ------
    ConfigError
        It is one.
    """
    trained = SynthConfig.model_validate(meta["cfg"])
    for what, was, now in (
        ("autoencoder", trained.autoencoder, cfg.autoencoder),
        ("labels.kind", trained.labels.kind, cfg.labels.kind),
    ):
        if was != now:
            raise ConfigError(
                f"{path} was trained with other settings of {what}", expected=was, got=now, hint="train it again"
            )
