"""Scores of a validation, summed up batch by batch: loss, balanced accuracy, Dice, mean absolute error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from connectomake.channels import Channel
from connectomake.fitting.processes import sum_in_place
from connectomake.models.activation import activate

SPACE = (0, 2, 3, 4)
DICE = "validate_dice"


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
        """Return the scores.

        Returns
        -------
        tuple of dict
            ``validate_loss`` and its parts; where a channel is binary ``validate_accuracy``, the share of voxels told
            right, averaged over both truths and over channels, and ``validate_dice``, 2 TP / (2 TP + FP + FN) over all
            known voxels together, averaged over channels; ``validate_error`` where one is not: the mean absolute error,
            averaged over channels. Of classes also the Dice of each, as ``validate_dice/NAME``.
            Then these numbers of each channel. NaN where nothing was known, and a Dice also where nothing was there and
            nothing told; the means leave these out.
        """
        names = list(self.losses)
        means = torch.tensor([*self.losses.values(), self.patches], dtype=torch.float64, device=self.sums.device)
        *totals, patches = sum_in_place(means).tolist()
        whole = {f"validate_{name}": total / patches for name, total in zip(names, totals, strict=True)}
        hits, misses, rejections, alarms, errors, known = sum_in_place(self.sums)
        numbers = {
            "validate_accuracy": torch.stack([hits / (hits + misses), rejections / (rejections + alarms)]).nanmean(0),
            DICE: 2 * hits / (2 * hits + misses + alarms),
            "validate_error": errors / known,
        }
        single: dict[str, float] = {}
        for kind, values in numbers.items():
            chosen = [c for c, channel in enumerate(self.channels) if channel.binary == (kind != "validate_error")]
            if chosen:
                whole[kind] = float(values[chosen].nanmean())
            single |= {f"{kind}/{self.channels[c].name}": float(values[c]) for c in chosen}
        shown = name_class_scores(self.channels)
        return whole | {name: single[name] for name in shown}, {k: v for k, v in single.items() if k not in shown}


def name_class_scores(channels: Sequence[Channel]) -> list[str]:
    """Name the scores of single channels that are shown with those of all: the Dice of each class."""
    return [f"{DICE}/{channel.name}" for channel in channels if channel.target == "classes"]
