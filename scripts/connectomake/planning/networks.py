"""What a window costs in the networks of a variant, trained or not: measured on tensors that hold shapes only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from connectomake.channels import name_channels, store_channels
from connectomake.config.settings.predict import TRAINED
from connectomake.config.settings.train_network import NetworkConfig
from connectomake.geometry import Triple, to_triple
from connectomake.models.checkpoint import load_checkpoint
from connectomake.models.registry import build_model
from connectomake.planning.work import Work
from connectomake.predict.cost.network import NetworkCost, measure_network
from connectomake.sources import locate


@dataclass(frozen=True)
class Networks:
    """The networks that predict together.

    Parameters
    ----------
    costs
        Of a window in each.
    window_zyx
        In voxels.
    channels
        That are stored.
    precision
        That convolutions compute in.
    """

    costs: tuple[NetworkCost, ...]
    window_zyx: Triple
    channels: int
    precision: str


def measure_networks(work: Work, in_channels: int, *, on_gpu: bool) -> Networks:
    """Measure the networks that a variant predicts with: that of its train settings, and those of files.

    Parameters
    ----------
    work
        The variant.
    in_channels
        Of its volumes.
    on_gpu
        Whether they run on a GPU, which decides the precision where the settings leave it open.

    Raises
    ------
    MissingDataError, ModelError
        A file that is named cannot be used.
    """
    precision = work.predict.precision
    if precision == "auto":
        precision = "bfloat16" if on_gpu else "float32"
    files = [Path(locate(name)) for name in work.predict.checkpoints if name != TRAINED]
    trained = to_triple(work.train.patch_zyx_vx if work.is_trained else load_checkpoint(files[0])[1].window_zyx)
    window = to_triple(work.predict.window_zyx_vx or trained)
    costs = [_cost_of_file(file, window, precision) for file in files]
    if work.is_trained:
        costs.append(cost_of_training(work, in_channels, window, precision))
        known = len(store_channels(name_channels(work.train.targets.channels), work.predict.channels))
    else:
        kept = work.predict.channels
        present = len(load_checkpoint(files[0])[1].channels)
        known = min(kept, present) if isinstance(kept, int) else len(kept or range(present))
    return Networks(tuple(costs), window, known, precision)


def cost_of_training(work: Work, in_channels: int, window_zyx: Triple, precision: str) -> NetworkCost:
    """Measure a window in the network that the train settings describe."""
    channels = work.train.targets.channels
    return _cost(work.train.model, in_channels, tuple(c.target for c in channels), window_zyx, precision)


@cache  # variants share networks
def _cost(
    model: NetworkConfig, in_channels: int, targets: tuple[str, ...], window_zyx: Triple, precision: str
) -> NetworkCost:
    network = build_model(model, in_channels, len(targets), targets).eval()
    return measure_network(network, in_channels, window_zyx, getattr(torch, precision))


@cache
def _cost_of_file(file: Path, window_zyx: Triple, precision: str) -> NetworkCost:
    network, meta = load_checkpoint(file)
    return measure_network(network, meta.in_channels, window_zyx, getattr(torch, precision))
