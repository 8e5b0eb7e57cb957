"""The soft Dice loss (Milletari et al. 2016)."""

from __future__ import annotations

import torch

SPACE = (0, 2, 3, 4)


def dice(logits: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average 1 - Dice over the channels that know any voxel, each over the known voxels of the batch.

    Parameters
    ----------
    logits, values, mask
        As for `bce`.

    Returns
    -------
    Tensor
        0 (perfect) to 1; 0 where nothing is known.
    """
    probability = torch.where(mask > 0, torch.sigmoid(logits), 0.0)
    overlap = (probability * values * mask).sum(SPACE)
    both = probability.sum(SPACE) + (values * mask).sum(SPACE)
    loss = 1 - (2 * overlap + 1) / (both + 1)  # the 1s keep channels without a positive voxel finite
    known = (mask.sum(SPACE) > 0).to(loss.dtype)
    return (loss * known).sum() / known.sum().clamp(min=1)
