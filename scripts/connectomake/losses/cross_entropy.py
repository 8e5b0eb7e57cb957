"""Cross-entropies: what the truth costs, in nats, under what the network says. Each gives 0 where nothing is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectomake.config.settings.train_loss_kinds import Loss, Option, Suits

if TYPE_CHECKING:
    import torch

    from connectomake.losses.seen import Seen


def bce(seen: Seen, *, positive_weight: float) -> torch.Tensor:
    """Average the binary cross-entropy over all known voxels of all channels, as BANIS does.

    That of torch's BCEWithLogitsLoss.

    Parameters
    ----------
    seen
        Sigmoid channels; values 0 to 1.
    positive_weight
        How often a positive voxel counts.
    """
    from torch.nn import functional

    weight = None if positive_weight == 1 else seen.logits.new_full((), positive_weight)
    losses = functional.binary_cross_entropy_with_logits(
        seen.logits, seen.values, weight=seen.mask, pos_weight=weight, reduction="sum"
    )
    return seen.average(losses)


def balanced_bce(seen: Seen, *, largest_weight: float) -> torch.Tensor:
    """Average the binary cross-entropy so that in each channel the rarer class counts as much as the other.

    After the recipe banis+ of PyTorch Connectomics, which limits the weight of rare positives only; of affinities it
    is the zeros that are rare. There, the channels' means are added, and not divided by the weights.

    Parameters
    ----------
    seen
        Sigmoid channels; values 0 to 1.
    largest_weight
        Of the rarer class, relative to the other.
    """
    from torch.nn import functional

    weights = seen.balance(seen.values, largest_weight)
    losses = functional.binary_cross_entropy_with_logits(seen.logits, seen.values, weight=weights, reduction="sum")
    return seen.average(losses, weights)


def focal(seen: Seen, *, gamma: float, positive_weight: float) -> torch.Tensor:
    """Average the cross-entropy, less of what is right already (Lin et al. 2017), over all known voxels.

    That of MONAI's FocalLoss, without its alpha.

    Parameters
    ----------
    seen
        Sigmoid channels; values 0 or 1.
    gamma
        Exponent of the probability of the wrong answer that each voxel is weighted by; 0 = plain cross-entropy.
    positive_weight
        How often a positive voxel counts.
    """
    from monai.losses.focal_loss import sigmoid_focal_loss

    weights = seen.mask if positive_weight == 1 else seen.mask * (1 + (positive_weight - 1) * seen.values)
    return seen.average(sigmoid_focal_loss(seen.logits, seen.values, gamma) * weights)


def cross_entropy(seen: Seen) -> torch.Tensor:
    """Average the cross-entropy of the softmax over the channels, over the voxels whose channels are all known.

    That of torch's CrossEntropyLoss, for one-hot truth.

    Parameters
    ----------
    seen
        All channels of a softmax; values one-hot.
    """
    from torch.nn import functional

    known = seen.mask.amin(1)
    losses = functional.cross_entropy(seen.logits, seen.values, reduction="none") * known
    return seen.average(losses, known)


BALANCED_BCE = Loss(
    balanced_bce,
    suits=Suits(("sigmoid",)),
    options={"largest_weight": Option(10.0, 1.0, 1000.0)},
    aliases=("PerChannelBCEWithLogitsLoss", "WeightedBCE"),
)
BCE = Loss(
    bce,
    suits=Suits(("sigmoid",)),
    options={"positive_weight": Option(1.0, 0.001, 1000.0)},
    aliases=("BCEWithLogitsLoss", "WeightedBCEWithLogitsLoss"),
)
FOCAL = Loss(
    focal,
    suits=Suits(("sigmoid",), binary=True),
    options={"gamma": Option(2.0, 0.0, 10.0), "positive_weight": Option(1.0, 0.001, 1000.0)},
    aliases=("FocalLoss", "BCEFocalLoss"),
)
CROSS_ENTROPY = Loss(cross_entropy, suits=Suits(("softmax",), whole_target=True), aliases=("CrossEntropyLoss",))
