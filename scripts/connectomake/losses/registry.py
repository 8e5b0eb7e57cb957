"""The losses that settings can name, and their weighted sum.

A new loss is a function (logits, values, mask) -> number in this package, its name in `LossTerm`, and a line in
`LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from connectomake.config.targets import LossTerm
from connectomake.losses.cross_entropy import balanced_bce, bce
from connectomake.losses.dice import dice

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

LOSSES: dict[str, Loss] = {
    "balanced_bce": balanced_bce,
    "bce": bce,
    "dice": dice,
}


class Losses:
    """The sum of losses, each times its weight.

    Parameters
    ----------
    terms
        Which losses, with which weights.
    """

    def __init__(self, terms: Sequence[LossTerm]) -> None:
        self.terms = [(LOSSES[term.loss], term.weight) for term in terms]

    def __call__(self, logits: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute the loss of a batch, in float32.

        Parameters
        ----------
        logits
            (N, C, Z, Y, X), any float type.
        values, mask
            (N, C, Z, Y, X), any type; 0 or 1, and whether it is known.

        Returns
        -------
        Tensor
            A float32 number to be made small.
        """
        logits, values, mask = logits.float(), values.float(), mask.float()
        parts = [weight * loss(logits, values, mask) for loss, weight in self.terms]
        return torch.stack(parts).sum()
