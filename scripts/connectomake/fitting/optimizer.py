"""The optimizer, in two groups of parameters: those that decay, and those that do not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from connectomake.config.settings.train_optimizer import OptimizerConfig

# What multiplies many inputs. Everything else (norms, biases, embeddings of positions, tables of attention biases,
# gains of global response norms) has no reason to be near 0.
MATRICES = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.MultiheadAttention)


def split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights of convolutions and matrices from all other parameters.

    Told by the layer, not by the number of axes alone: a gain of (1, C, 1, 1, 1) has five, and an embedding of
    positions two or more.

    Returns
    -------
    tuple of list
        Those that decay, and those that do not; each trainable parameter once, in the network's order.
    """
    matrices = {
        id(value)
        for layer in network.modules()
        if isinstance(layer, MATRICES)
        for value in layer.parameters(recurse=False)
        if value.ndim > 1
    }
    trained = [value for value in network.parameters() if value.requires_grad]
    return [v for v in trained if id(v) in matrices], [v for v in trained if id(v) not in matrices]


def make_optimizer(network: nn.Module, cfg: OptimizerConfig, fused: bool) -> torch.optim.Optimizer:
    """Make the optimizer of a network.

    Parameters
    ----------
    network
        On its device.
    cfg
        AdamW (Loshchilov & Hutter 2019), Adam, or SGD with momentum.
    fused
        Whether one kernel changes all weights of a group.
    """
    decayed, others = split_parameters(network)
    groups = [{"params": decayed, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    common: dict[str, Any] = {"lr": cfg.learning_rate, "fused": fused}
    if cfg.name == "sgd":
        return torch.optim.SGD(groups, momentum=cfg.momentum, **common)
    kind = torch.optim.AdamW if cfg.name == "adamw" else torch.optim.Adam
    return kind(groups, betas=cfg.betas, eps=cfg.epsilon, **common)
