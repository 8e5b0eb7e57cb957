"""How raw values become what is stored: normalisation, channels, activations, and the type on disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from connectomake.channels import Channel
from connectomake.models.activation import activate
from connectomake.predict.windows.sums import new_array

LOGIT_SCALE = {"sigmoid": 1.0, "scaled_sigmoid": 0.2}  # the latter as in BANIS


@dataclass(frozen=True)
class Recipe:
    """How a window of raw values becomes probabilities, or what else the channels hold.

    Parameters
    ----------
    mean, std
        The network sees (raw - mean) / std.
    channels
        The network's output channels that are kept, in this order.
    activation
        Of sigmoid channels: ``sigmoid`` or ``scaled_sigmoid`` (0.2 x, as in BANIS).
    blending
        Name of the weights (`blending_weights`).
    outputs
        All channels of the network; none = all are sigmoid channels.
    dtype
        Of the stored values, ``uint8`` or ``float16`` (`store`).
    """

    mean: float
    std: float
    channels: tuple[int, ...]
    activation: str = "sigmoid"
    blending: str = "gaussian"
    outputs: tuple[Channel, ...] = ()
    dtype: str = "uint8"

    @cached_property
    def needed(self) -> tuple[int, ...]:
        """The output channels that those kept are made of: these, and the others of their softmax; each once."""
        if not self.outputs:
            return self.channels
        soft = {self.outputs[c].target for c in self.channels if self.outputs[c].activation == "softmax"}
        others = [c for c, o in enumerate(self.outputs) if o.activation == "softmax" and o.target in soft]
        return tuple(sorted({*self.channels, *others})) if others else self.channels

    @cached_property
    def meanings(self) -> tuple[Channel, ...]:
        """What the channels that are needed are."""
        return tuple(self._meaning(c) for c in self.needed)

    @cached_property
    def kept(self) -> tuple[Channel, ...]:
        """What the channels that are kept are."""
        return tuple(self._meaning(c) for c in self.channels)

    @cached_property
    def activations(self) -> tuple[str, ...]:
        """What was applied to each channel kept, ``scaled_sigmoid`` told apart; by this, stored values are read."""
        named = (channel.activation for channel in self.kept)
        return tuple(self.activation if name == "sigmoid" else name for name in named)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Turn logits of the channels needed, (N, C, Z, Y, X) float32, modified, into the values of those kept."""
        scale = LOGIT_SCALE[self.activation]
        if scale != 1:
            for number, channel in enumerate(self.meanings):
                if channel.activation == "sigmoid":
                    logits[:, number].mul_(scale)
        values = activate(logits, self.meanings)
        return values if self.needed == self.channels else values[:, [self.needed.index(c) for c in self.channels]]

    def store(self, values: torch.Tensor) -> np.ndarray:
        """Turn blended values, (channels, Z, Y, X) float32, modified, into what is stored.

        Returns
        -------
        np.ndarray
            As uint8: round(255 p) of what lies between 0 and 1, round(127.5 (v + 1)) of tanh, which lies between -1
            and 1; identity is cut off at 0 and 1. As float16: the values as they are.
        """
        stored = new_array(values.shape, self.dtype)
        if self.dtype == "float16":
            torch.from_numpy(stored).copy_(values)
            return stored
        for channel, activation in zip(values, self.activations, strict=True):
            if activation == "tanh":
                channel.add_(1).div_(2)
            elif activation == "identity":
                channel.clamp_(0, 1)
        torch.from_numpy(stored).copy_(values.mul_(255).round_())
        return stored

    def _meaning(self, channel: int) -> Channel:
        return self.outputs[channel] if self.outputs else Channel(str(channel), "output")
