"""The learning rate and the moving average of the weights, as functions of how far the training is."""

from __future__ import annotations

from math import cos, pi

import torch
from torch import nn


def learning_rate(progress: float, peak: float, warmup: float) -> float:
    """Give the learning rate: a linear rise to the peak, then half a cosine down to 0 (Loshchilov & Hutter 2017).

    Parameters
    ----------
    progress
        0 at the start, 1 at the end.
    peak
        The highest learning rate.
    warmup
        The share of the training over which it rises.

    Examples
    --------
    >>> [round(learning_rate(p, 1.0, 0.2), 2) for p in (0.1, 0.2, 0.6, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    progress = min(1.0, progress)
    if progress < warmup:
        return peak * progress / warmup
    return peak * 0.5 * (1 + cos(pi * (progress - warmup) / (1 - warmup)))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move averaged weights towards the current ones (Polyak & Juditsky 1992), in place.

    Parameters
    ----------
    average, network
        Modules of one architecture; the first is changed.
    step
        Steps made so far. Early averages are short, (1 + step) / (10 + step), so that the first random weights are
        soon forgotten.
    decay
        The share of the old average that is kept, in the long run.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    for old, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if old.dtype.is_floating_point:
            old.lerp_(new, share)
        else:
            old.copy_(new)
