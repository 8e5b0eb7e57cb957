"""Binary cross-entropy, plain and with the classes of each channel balanced."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

LARGEST_WEIGHT = 10.0
SPACE = (0, 2, 3, 4)


def bce(logits: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the cross-entropy over all known voxels of all channels, as BANIS does.

    Parameters
    ----------
    logits
        (N, C, Z, Y, X) float.
    values
        (N, C, Z, Y, X) float, 0 or 1.
    mask
        (N, C, Z, Y, X) float, 1 where the value is known, else 0.

    Returns
    -------
    Tensor
        A number; 0 where nothing is known.
    """
    return _weighted(logits, values, mask)


def balanced_bce(logits: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the cross-entropy so that in each channel of the batch the rarer class counts as much as the other.

    Its weight is the ratio of the two classes' voxels, at most 10. After the recipe banis+ of PyTorch Connectomics,
    which limits the weight of rare positives only; of affinities it is the zeros that are rare.

    Parameters
    ----------
    logits, values, mask
        As for `bce`.

    Returns
    -------
    Tensor
        A number; 0 where nothing is known.
    """
    with torch.no_grad():
        positive = (values * mask).sum(SPACE, keepdim=True)
        negative = mask.sum(SPACE, keepdim=True) - positive
        for_positive = (negative / positive.clamp(min=1)).clamp(1, LARGEST_WEIGHT)
        for_negative = (positive / negative.clamp(min=1)).clamp(1, LARGEST_WEIGHT)
        weights = mask * torch.lerp(for_negative, for_positive, values)
    return _weighted(logits, values, weights)


def _weighted(logits: torch.Tensor, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    # Weights inside the loss: a masked voxel's gradient is exactly 0, whatever its logit.
    total = binary_cross_entropy_with_logits(logits, values, weight=weights, reduction="sum")
    return total / weights.sum().clamp(min=1)
