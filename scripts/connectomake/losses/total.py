"""The weighted sum of losses, over all resolutions of a network's output."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from connectomake.channels import Channel
from connectomake.config.settings.train_losses import LossTerm
from connectomake.errors import ConfigError, ModelError
from connectomake.losses.registry import bind
from connectomake.losses.seen import Output


class Losses:
    """The sum of losses, each times its weight; over resolutions where a network has several.

    Parameters
    ----------
    terms
        Which losses, with which weights, on which channels.
    channels
        All channels of the network, which are those of its targets.
    scale_weights
        Weights of the resolutions, finest first; divided by their sum. By default each half of the one before.

    Raises
    ------
    ConfigError
        A term does not find its channels.
    """

    def __init__(
        self, terms: Sequence[LossTerm], channels: Sequence[Channel], scale_weights: Sequence[float] | None = None
    ) -> None:
        self.channels, self.scale_weights = list(channels), scale_weights
        self.parts: dict[str, torch.Tensor] = {}
        self._terms = []
        for number, term in enumerate(terms):
            try:
                outputs, truths = term.channels_of(channels)
            except ValueError as error:
                raise ConfigError(f"losses.{number} ({term.label}): {error}") from error
            self._terms.append((term.weight, bind(term), outputs, truths))
        self.labels = _tell_apart([term.label for term in terms])

    def __call__(
        self, output: torch.Tensor | Sequence[torch.Tensor], values: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Compute the loss of a batch, in float32; afterwards `parts` holds each term by name, without its weight.

        Parameters
        ----------
        output
            (N, C, Z, Y, X) logits of any float type; or several, finest first, at whole fractions of that resolution
            along each axis. There, truth and mask are those of the middle voxel of each cell: what is 0 or 1 stays
            so, and nothing known is mixed with unknown.
        values, mask
            (N, C, Z, Y, X), any type; the truth, and whether it is known.

        Returns
        -------
        Tensor
            A float32 number to be made small.

        Raises
        ------
        ConfigError
            There are not as many scale weights as resolutions.
        ModelError
            An output does not fit the truth.
        """
        outputs = [output] if isinstance(output, torch.Tensor) else list(output)
        parts = [torch.zeros((), device=values.device)] * len(self._terms)
        with torch.autocast(values.device.type, enabled=False):
            for weight, logits in zip(self._weigh_scales(len(outputs)), outputs, strict=True):
                at_scale = Output(logits, *subsample(values, mask, logits.shape[2:]), self.channels)
                found = [loss(at_scale.see(seen, truths)) for _, loss, seen, truths in self._terms]
                parts = [part + weight * value for part, value in zip(parts, found, strict=True)]
            self.parts = {label: part.detach() for label, part in zip(self.labels, parts, strict=True)}
            return torch.stack([term[0] * part for term, part in zip(self._terms, parts, strict=True)]).sum()

    def _weigh_scales(self, count: int) -> list[float]:
        """Return the weights of so many resolutions, 1 in sum."""
        if count == 1:
            return [1.0]
        weights = list(self.scale_weights or [0.5**scale for scale in range(count)])
        if len(weights) != count:
            raise ConfigError("train.scale_weights does not suit the network", expected=f"{count} weights", got=weights)
        return [weight / sum(weights) for weight in weights]


def subsample(values: torch.Tensor, mask: torch.Tensor, shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the middle voxel of each cell (of two, the second).

    Parameters
    ----------
    values, mask
        (N, C, Z, Y, X).
    shape
        The cells along z, y, x.

    Raises
    ------
    ModelError
        They are no whole fraction of the patch.
    """
    full = values.shape[2:]
    if len(shape) != len(full) or any(n % cells for n, cells in zip(full, shape, strict=True)):
        raise ModelError(
            "an output of the network does not fit the patch",
            expected=f"whole fractions of {tuple(full)}",
            got=tuple(shape),
        )
    z, y, x = (slice(n // cells // 2, None, n // cells) for n, cells in zip(full, shape, strict=True))
    return values[:, :, z, y, x], mask[:, :, z, y, x]


def _tell_apart(labels: Sequence[str]) -> list[str]:
    """Add its number to a label that occurs more than once."""
    return [f"{label}.{n}" if labels.count(label) > 1 else label for n, label in enumerate(labels)]
