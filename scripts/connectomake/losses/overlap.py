"""Losses of overlap, by MONAI: each channel as one object, over the known voxels of the whole batch.

A patch may hold nothing of a class, so that its own overlap says nothing: MONAI's ``batch=True``. Channels of which
nothing is known do not count, and where nothing is known at all a loss is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectomake.config.settings.train_loss_kinds import Loss, Option, Suits
from connectomake.losses.cross_entropy import bce, cross_entropy, focal

if TYPE_CHECKING:
    import torch

    from connectomake.losses.seen import Seen

TINY = 1e-12  # MONAI's 1e-5 is more than the weighted overlaps of a large patch: it would drown them


def dice(seen: Seen, *, smooth: float) -> torch.Tensor:
    """Average 1 - Dice (Milletari et al. 2016) over the channels.

    That of MONAI's DiceLoss with ``batch=True``.

    Parameters
    ----------
    seen
        Sigmoid or softmax channels; values 0 or 1.
    smooth
        Voxels added to both sides of the fraction: they keep channels without a positive voxel finite.
    """
    from monai.losses import DiceLoss

    loss = DiceLoss(batch=True, smooth_nr=smooth, smooth_dr=smooth, reduction="none")
    return _average_channels(seen, loss(seen.prediction, seen.values))


def tversky(seen: Seen, *, alpha: float, beta: float, smooth: float) -> torch.Tensor:
    """Average 1 - Tversky index (Salehi et al. 2017) over the channels.

    That of MONAI's TverskyLoss with ``batch=True``; with the defaults, nearly Dice.

    Parameters
    ----------
    seen
        Sigmoid or softmax channels; values 0 or 1.
    alpha, beta
        Weights of false positives and of false negatives.
    smooth
        Voxels added to both sides of the fraction.
    """
    from monai.losses import TverskyLoss

    loss = TverskyLoss(alpha=alpha, beta=beta, batch=True, smooth_nr=smooth, smooth_dr=smooth, reduction="none")
    return _average_channels(seen, loss(seen.prediction, seen.values))


def generalised_dice(seen: Seen) -> torch.Tensor:
    """Return 1 - Dice of all channels together, each weighted by 1 / its true size squared (Sudre et al. 2017).

    That of MONAI's GeneralizedDiceLoss with ``batch=True``, but for its smoothing, which is all but left out.

    Parameters
    ----------
    seen
        Sigmoid or softmax channels; values 0 or 1.
    """
    from monai.losses import GeneralizedDiceLoss

    return GeneralizedDiceLoss(batch=True, smooth_nr=TINY, smooth_dr=TINY)(seen.prediction, seen.values)


def dice_ce(seen: Seen, *, smooth: float) -> torch.Tensor:
    """Add `dice` and the cross-entropy that suits the channels: of the softmax, or binary.

    MONAI's DiceCELoss takes that of the softmax wherever there are two channels, even if they are no softmax.
    """
    soft = seen.channels[0].activation == "softmax"
    return dice(seen, smooth=smooth) + (cross_entropy(seen) if soft else bce(seen, positive_weight=1))


def dice_focal(seen: Seen, *, smooth: float, gamma: float) -> torch.Tensor:
    """Add `dice` and `focal`; MONAI's DiceFocalLoss with ``batch=True``."""
    return dice(seen, smooth=smooth) + focal(seen, gamma=gamma, positive_weight=1)


def _average_channels(seen: Seen, losses: torch.Tensor) -> torch.Tensor:
    """Average over the channels of which anything is known."""
    known = seen.mask.amax(seen.space)
    return (losses.flatten() * known).sum() / known.sum().clamp(min=1)


DICE = Loss(
    dice,
    suits=Suits(("sigmoid", "softmax"), binary=True),
    options={"smooth": Option(1.0, 1e-6, 1e6)},
    aliases=("DiceLoss",),
)
GENERALISED_DICE = Loss(
    generalised_dice, suits=Suits(("sigmoid", "softmax"), binary=True), aliases=("GeneralizedDiceLoss",)
)
TVERSKY = Loss(
    tversky,
    suits=Suits(("sigmoid", "softmax"), binary=True),
    options={"alpha": Option(0.5, 0.0, 1.0), "beta": Option(0.5, 0.01, 1.0), "smooth": Option(1.0, 1e-6, 1e6)},
    aliases=("TverskyLoss",),
)
DICE_CE = Loss(
    dice_ce,
    suits=Suits(("sigmoid", "softmax"), binary=True, whole_target=True),
    options={"smooth": Option(1.0, 1e-6, 1e6)},
    aliases=("DiceCELoss",),
)
DICE_FOCAL = Loss(
    dice_focal,
    suits=Suits(("sigmoid",), binary=True),
    options={"smooth": Option(1.0, 1e-6, 1e6), "gamma": Option(2.0, 0.0, 10.0)},
    aliases=("DiceFocalLoss",),
)
