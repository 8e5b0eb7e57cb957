"""The losses that settings can name.

A new loss is a function of `Seen` in this package, its options in `config/settings/train_loss_kinds.py`, and a line in
`LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from pydantic import ValidationError

from connectomake.channels import Channel
from connectomake.config.settings.train_loss_kinds import SEES, SUITS
from connectomake.config.settings.train_losses import LossTerm
from connectomake.errors import ConfigError
from connectomake.losses import consistency, cross_entropy, overlap, regression
from connectomake.losses.seen import Output, Seen

Loss = Callable[..., torch.Tensor]

LOSSES: dict[str, Loss] = {
    "balanced_bce": cross_entropy.balanced_bce,
    "bce": cross_entropy.bce,
    "focal": cross_entropy.focal,
    "cross_entropy": cross_entropy.cross_entropy,
    "dice": overlap.dice,
    "generalised_dice": overlap.generalised_dice,
    "tversky": overlap.tversky,
    "dice_ce": overlap.dice_ce,
    "dice_focal": overlap.dice_focal,
    "mse": regression.mse,
    "mae": regression.mae,
    "smooth_l1": regression.smooth_l1,
    "weighted_mse": regression.mse,
    "weighted_mae": regression.mae,
    "weighted_smooth_l1": regression.smooth_l1,
    "binary_regularisation": consistency.binary_regularisation,
    "foreground_distance": consistency.foreground_distance,
    "contour_distance": consistency.contour_distance,
    "foreground_contour": consistency.foreground_contour,
    "non_overlap": consistency.non_overlap,
}


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
        Settings of the loss (`config.settings.train_loss_kinds.LOSS_OPTIONS`).

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
    return partial(LOSSES[term.loss], **term.settings)


def _guess_channels(loss: str, count: int) -> list[Channel]:
    """Return what channels a loss is mostly used on."""
    if loss in SEES:
        kinds = {"binary": "sigmoid", "contour": "sigmoid", "distance": "tanh"}
        return [Channel(name, name, activation=kinds[name]) for name in SEES[loss]]  # type: ignore[arg-type]
    activation = SUITS[loss].activations[0]
    return [Channel(str(c), "output", activation=activation) for c in range(count)]  # type: ignore[arg-type]
