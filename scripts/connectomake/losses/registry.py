"""Losses by the names that settings have for them.

A new one is a `Loss` in a file of this package, a function of `Seen` with its options and the channels that it suits,
and a line in `config.registries.LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from pydantic import ValidationError

from connectomake.channels import Channel
from connectomake.config.registries import LOSSES
from connectomake.config.settings.train_losses import LossTerm
from connectomake.errors import ConfigError
from connectomake.losses.seen import Output, Seen


def create_loss(
    name: str, *, channels: Sequence[Channel] | None = None, **options: float
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """Make one loss by its name.

    Parameters
    ----------
    name
        One of `LOSSES`, or what PyTorch, MONAI or PyTorch Connectomics call it, as in ``DiceLoss``.
    channels
        What the channels are, and so how they are activated. By default as the loss is mostly used: softmax for
        ``cross_entropy``, binary and distance and contour in the order of its name for a consistency, as they are for
        errors (``mse``, ``mae``, ``smooth_l1``), else sigmoid.
    **options
        Settings of the loss.

    Returns
    -------
    callable
        From logits, values and mask, (N, C, Z, Y, X) each, to a float32 number: of logits the gradient is 0 wherever
        mask is, and all is 0 where nothing is known.

    Raises
    ------
    ConfigError
        There is no such loss, or it has no such option, or not such a value; the nearest name is suggested.
    """
    try:
        term = LossTerm(loss=name, options=options)
    except ValidationError as error:
        raise ConfigError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    function = bind(term)

    def loss(logits: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        known = channels or _guess_channels(term.loss, logits.shape[1])
        with torch.autocast(logits.device.type, enabled=False):
            return function(Output(logits, values, mask, known).see(range(len(known))))

    return loss


def bind(term: LossTerm) -> Callable[[Seen], torch.Tensor]:
    """Return the loss of a term with its options."""
    return partial(LOSSES[term.loss].compute, **term.settings)


def _guess_channels(loss: str, count: int) -> list[Channel]:
    """Return what channels a loss is mostly used on."""
    if LOSSES[loss].sees:
        kinds = {"binary": "sigmoid", "contour": "sigmoid", "distance": "tanh"}
        return [Channel(name, name, activation=kinds[name]) for name in LOSSES[loss].sees]  # type: ignore[arg-type]
    activation = LOSSES[loss].suits.activations[0]
    return [Channel(str(c), "output", activation=activation) for c in range(count)]  # type: ignore[arg-type]
