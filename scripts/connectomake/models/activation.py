"""From a network's output to the quantities that it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from connectomake.channels import Channel


def activate(logits: torch.Tensor, channels: Sequence[Channel]) -> torch.Tensor:
    """Apply to each channel its activation.

    Parameters
    ----------
    logits
        (N, C, ...) float.
    channels
        The C channels. Those of one target that are ``softmax`` and stand side by side are one group.

    Returns
    -------
    Tensor
        (N, C, ...): sigmoid 0 to 1, tanh -1 to 1, softmax 0 to 1 and 1 in sum over its group, identity as it was.
    """
    parts, start = [], 0
    for (activation, _), group in groupby(channels, key=_group):
        stop = start + len(list(group))
        part = logits if stop - start == logits.shape[1] else logits[:, start:stop]
        parts.append(_apply(part, activation))
        start = stop
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _group(channel: Channel) -> tuple[str, str]:
    """Return which channels are activated together."""
    return channel.activation, channel.target if channel.activation == "softmax" else ""


def _apply(logits: torch.Tensor, activation: str) -> torch.Tensor:
    if activation == "softmax":
        return logits.softmax(1)
    if activation == "identity":
        return logits
    return logits.sigmoid() if activation == "sigmoid" else logits.tanh()
