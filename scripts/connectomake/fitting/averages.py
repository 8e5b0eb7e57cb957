"""Averages of a network's weights over the training: they validate better than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.swa_utils import update_bn


def ema_share(step: int, decay: float) -> float:
    """Return the share of the new weights in a moving average (Polyak & Juditsky 1992).

    Early averages are short, over (1 + step) / (10 + step), so that the first random weights are soon forgotten.

    Parameters
    ----------
    step
        Steps made so far.
    decay
        The share of the old average that is kept, in the long run.
    """
    return 1 - min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, share: float) -> None:
    """Move averaged weights towards the current ones, in place.

    The running statistics of batch norms are averaged like weights; counters are taken over.

    Parameters
    ----------
    average, network
        Modules of one architecture; the first is changed.
    share
        Of the current weights: 1 = they are taken as they are. 1 / n for the nth makes a plain average (SWA, Izmailov
        et al. 2018).
    """
    old, new = average.state_dict(), network.state_dict()
    floats = [name for name, value in old.items() if value.dtype.is_floating_point]
    torch._foreach_lerp_([old[name] for name in floats], [new[name] for name in floats], share)
    for name in old.keys() - set(floats):
        old[name].copy_(new[name])


def has_batch_norm(network: nn.Module) -> bool:
    """Return whether a network keeps statistics of its inputs, which belong to its weights."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())


def measure_batch_norm(network: nn.Module, inputs: Iterable[torch.Tensor]) -> None:
    """Measure the statistics of batch norms anew, in place: those of averaged weights are no average of statistics.

    Parameters
    ----------
    network
        Its weights stay.
    inputs
        (N, C, Z, Y, X), on the network's device.
    """
    update_bn(inputs, network)
