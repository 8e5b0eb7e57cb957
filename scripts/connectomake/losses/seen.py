"""What a loss sees: the channels that concern it, with everything that is unknown taken out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from connectomake.channels import Channel
from connectomake.errors import ModelError
from connectomake.models.activation import activate

Indices = slice | list[int]


class Output:
    """What a network says about a batch at one resolution, and what is true there.

    Parameters
    ----------
    logits
        (N, C, Z, Y, X) of any float type; taken as float32.
    values, mask
        (N, C, Z, Y, X) of any type: the truth, and whether it is known.
    channels
        The C channels.

    Raises
    ------
    ModelError
        The three do not have one shape, with that many channels.
    """

    def __init__(
        self, logits: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, channels: Sequence[Channel]
    ) -> None:
        if not logits.shape == values.shape == mask.shape or logits.shape[1] != len(channels):
            shapes = [tuple(part.shape) for part in (logits, values, mask)]
            raise ModelError(
                "logits, values and mask do not fit together",
                expected=f"one shape (N, {len(channels)}, Z, Y, X)",
                got=", ".join(map(str, shapes)),
            )
        self.logits, self.values, self.known, self.channels = logits.float(), values.float(), mask.bool(), channels

    @cached_property
    def prediction(self) -> torch.Tensor:
        """The activated logits; once for all losses that want them."""
        return activate(self.logits, self.channels)

    def see(self, outputs: Sequence[int], truths: Sequence[int] | None = None) -> Seen:
        """Choose channels of the prediction, and those of the truth that they are compared with."""
        return Seen(self, outputs, outputs if truths is None else truths)


class Seen:
    """Some channels of an `Output`, (N, C, Z, Y, X) float32 each.

    What is unknown is 0 in all of them, by selection and not by a product: whatever a network says there has no part
    in the loss, and its gradient is exactly 0. MONAI's MaskedLoss multiplies logits by the mask instead; the sigmoid of
    these zeros, 0.5, then counts as prediction.
    """

    def __init__(self, output: Output, outputs: Sequence[int], truths: Sequence[int]) -> None:
        self.channels = [output.channels[i] for i in outputs]
        self._output, self._outputs, self._truths = output, _as_slice(outputs), _as_slice(truths)
        self.known = output.known[:, self._truths]

    @cached_property
    def logits(self) -> torch.Tensor:
        """What the network says."""
        return torch.where(self.known, self._output.logits[:, self._outputs], 0.0)

    @cached_property
    def prediction(self) -> torch.Tensor:
        """What it means, activated."""
        return torch.where(self.known, self._output.prediction[:, self._outputs], 0.0)

    @cached_property
    def values(self) -> torch.Tensor:
        """The truth."""
        return torch.where(self.known, self._output.values[:, self._truths], 0.0)

    @cached_property
    def mask(self) -> torch.Tensor:
        """1 where it is known, else 0."""
        return self.known.float()

    @property
    def space(self) -> list[int]:
        """All dimensions but that of the channels."""
        return [0, *range(2, self.known.ndim)]

    def average(self, losses: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Return the sum of losses, of known voxels and weighted already, per weight; 0 where nothing is known."""
        return losses.sum() / (self.mask if weights is None else weights).sum().clamp(min=1)

    def balance(self, positive: torch.Tensor, largest_weight: float) -> torch.Tensor:
        """Weigh voxels so that in each channel of the batch the rarer class counts as much as the other.

        Parameters
        ----------
        positive
            (N, C, Z, Y, X) float, 0 to 1: how far a voxel is of the one class.
        largest_weight
            The rarer class weighs at most so many times as much.

        Returns
        -------
        Tensor
            (N, C, Z, Y, X): 1 for the class that is not the rarer one, 0 where nothing is known.
        """
        with torch.no_grad():
            ones = (positive * self.mask).sum(self.space, keepdim=True)
            others = self.mask.sum(self.space, keepdim=True) - ones
            of_ones = (others / ones.clamp(min=1)).clamp(1, largest_weight)
            of_others = (ones / others.clamp(min=1)).clamp(1, largest_weight)
            return self.mask * torch.lerp(of_others, of_ones, positive)


def _as_slice(indices: Sequence[int]) -> Indices:
    """Return indices as a slice where they follow one another: that copies nothing."""
    first = indices[0]
    in_a_row = list(indices) == list(range(first, first + len(indices)))
    return slice(first, first + len(indices)) if in_a_row else list(indices)
