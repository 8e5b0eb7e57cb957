"""Scores of a validation, summed up batch by batch: loss, balanced accuracy, mean absolute error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from connectomake.config.channels import Channel
from connectomake.models.activation import activate
from connectomake.train.processes import sum_in_place

SPACE = (0, 2, 3, 4)


class Scores:
    """Sums over the validation patches of all processes.

    Parameters
    ----------
    channels
        What the network gives.
    losses
        Names of the losses.
    device
        Where it computes.
    """

    def __init__(self, channels: Sequence[Channel], losses: Sequence[str], device: torch.device) -> None:
        self.channels = channels
        self.losses = dict.fromkeys(losses, 0.0)
        self.patches = 0
        # True and false positives and negatives, absolute errors, known voxels: of each channel.
        self.sums = torch.zeros(6, len(channels), dtype=torch.float64, device=device)

    def add(self, losses: Mapping[str, float], logits: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> None:
        """Take in a batch.

        Parameters
        ----------
        losses
            Its losses, means over the patches.
        logits, values, mask
            (N, C, Z, Y, X): what the network said, the truth, and where it is known.
        """
        for name, loss in losses.items():
            self.losses[name] += loss * len(logits)
        self.patches += len(logits)
        said, known = activate(logits.float(), self.channels), mask.bool()
        yes, true = said > 0.5, values > 0.5
        errors = torch.where(known, (said - values).abs(), 0.0)
        kinds = (yes & true & known, ~yes & true & known, ~yes & ~true & known, yes & ~true & known, errors, known)
        self.sums += torch.stack([kind.sum(SPACE, dtype=torch.float64) for kind in kinds])

    def result(self) -> tuple[dict[str, float], dict[str, float]]:
        """Give the scores.

        Returns
        -------
        tuple of dict
            ``validate_loss`` and its parts; ``validate_accuracy`` where a channel is binary: the share of voxels told
            right, averaged over classes and channels; ``validate_error`` where one is not: the mean absolute error,
            averaged over channels. And the last two of each channel, NaN where nothing was known.
        """
        names = list(self.losses)
        means = torch.tensor([*self.losses.values(), self.patches], dtype=torch.float64, device=self.sums.device)
        *totals, patches = sum_in_place(means).tolist()
        whole = {f"validate_{name}": total / patches for name, total in zip(names, totals, strict=True)}
        hits, misses, rejections, alarms, errors, known = sum_in_place(self.sums)
        accuracy = torch.stack([hits / (hits + misses), rejections / (rejections + alarms)]).nanmean(0)
        of_kind: dict[str, dict[str, float]] = {"validate_accuracy": {}, "validate_error": {}}
        for channel, right, error in zip(self.channels, accuracy.tolist(), (errors / known).tolist(), strict=True):
            kind = "validate_accuracy" if channel.binary else "validate_error"
            of_kind[kind][channel.name] = right if channel.binary else error
        for kind, found in of_kind.items():
            if found:
                whole[kind] = float(torch.tensor(list(found.values()), dtype=torch.float64).nanmean())
        return whole, {f"{kind}/{name}": value for kind, found in of_kind.items() for name, value in found.items()}
