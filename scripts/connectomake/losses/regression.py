"""Losses of distance between prediction and truth, both as the quantities that they are (activated).

The weighted ones are those of PyTorch Connectomics: the rarer of foreground (values above 0) and background weighs more
in each channel, by the ratio of the two, at most 19 (its ``weight_binary_ratio`` takes neither as rarer than 5 %).
There, weighted losses are not divided by the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectomake.config.settings.train_loss_kinds import Loss, Option, Suits

if TYPE_CHECKING:
    import torch

    from connectomake.losses.seen import Seen


def mse(seen: Seen, *, largest_weight: float = 1) -> torch.Tensor:
    """Average the squared error over all known voxels of all channels; torch's MSELoss.

    Parameters
    ----------
    seen
        Channels of any activation.
    largest_weight
        Of the rarer of foreground and background, relative to the other; 1 = all voxels weigh the same.
    """
    from torch.nn import functional

    return _weigh(seen, functional.mse_loss(seen.prediction, seen.values, reduction="none"), largest_weight)


def mae(seen: Seen, *, largest_weight: float = 1) -> torch.Tensor:
    """Average the absolute error; torch's L1Loss. Parameters as for `mse`."""
    from torch.nn import functional

    return _weigh(seen, functional.l1_loss(seen.prediction, seen.values, reduction="none"), largest_weight)


def smooth_l1(seen: Seen, *, transition: float, largest_weight: float = 1) -> torch.Tensor:
    """Average the absolute error, squared where it is small; torch's SmoothL1Loss.

    Parameters
    ----------
    seen, largest_weight
        As for `mse`.
    transition
        The error, in the units of the channel, where squared becomes absolute (torch's ``beta``).
    """
    from torch.nn import functional

    losses = functional.smooth_l1_loss(seen.prediction, seen.values, reduction="none", beta=transition)
    return _weigh(seen, losses, largest_weight)


def _weigh(seen: Seen, losses: torch.Tensor, largest_weight: float) -> torch.Tensor:
    """Average losses, which are 0 where nothing is known: prediction and truth are."""
    if largest_weight == 1:
        return seen.average(losses)
    weights = seen.balance((seen.values > 0).float(), largest_weight)
    return seen.average(losses * weights, weights)


MSE = Loss(mse, aliases=("MSELoss",))
MAE = Loss(mae, aliases=("L1Loss",))
SMOOTH_L1 = Loss(smooth_l1, options={"transition": Option(1.0, 1e-6, 2.0)}, aliases=("SmoothL1Loss",))
WEIGHTED_MSE = Loss(
    mse,
    suits=Suits(instead_of_flow="mse"),
    options={"largest_weight": Option(19.0, 1.0, 1000.0)},
    aliases=("WeightedMSELoss", "WeightedMSE"),
)
WEIGHTED_MAE = Loss(
    mae,
    suits=Suits(instead_of_flow="mae"),
    options={"largest_weight": Option(19.0, 1.0, 1000.0)},
    aliases=("WeightedMAELoss", "WeightedMAE"),
)
WEIGHTED_SMOOTH_L1 = Loss(
    smooth_l1,
    suits=Suits(instead_of_flow="smooth_l1"),
    options={"transition": Option(1.0, 1e-6, 2.0), "largest_weight": Option(19.0, 1.0, 1000.0)},
)
