"""The blocks that several networks are made of, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

import torch
from monai.networks.blocks import ChannelSELayer, Convolution
from monai.networks.layers.factories import Act
from torch import nn

GROUPS = 8
REDUCTION = 4  # of squeeze and excitation, as in PyTorch Connectomics


def choose_norm(norm: str, channels: int) -> Any:
    """Return MONAI's name and options of a norm: instance, batch or group (at most 8 groups), with weights; or none."""
    options: dict[str, Any] = {
        "instance": ("instance", {"affine": True}),
        "batch": "batch",
        "group": ("group", {"num_groups": gcd(GROUPS, channels)}),
        "none": None,
    }
    return options[norm]


def convolve(
    dimensions: int,
    in_channels: int,
    out_channels: int,
    kernel: Sequence[int] | int,
    norm: str = "instance",
    activation: str | None = "elu",
) -> nn.Module:
    """Make a convolution that keeps the size, its norm and its activation.

    Parameters
    ----------
    dimensions
        2 or 3.
    in_channels, out_channels
        Of input and output.
    kernel
        Sides, odd; of three given ones, a network of images takes the last two.
    norm
        A name that `choose_norm` knows.
    activation
        MONAI's name; None for none.
    """
    sides = [kernel] * dimensions if isinstance(kernel, int) else list(kernel)[-dimensions:]
    return Convolution(
        dimensions,
        in_channels,
        out_channels,
        kernel_size=sides,
        adn_ordering="NA",
        norm=choose_norm(norm, out_channels),
        act=activation,
        bias=norm == "none",
    )


class ResidualBlock(nn.Module):
    """Two convolutions with norms and a shortcut (He et al. 2016), with or without squeeze and excitation.

    Parameters
    ----------
    dimensions, channels, kernel, norm, activation
        As of `convolve`.
    excite
        Weight the channels by what the whole patch shows (Hu et al. 2018).
    """

    def __init__(
        self,
        dimensions: int,
        channels: int,
        kernel: Sequence[int] | int = 3,
        norm: str = "instance",
        activation: str = "elu",
        excite: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = convolve(dimensions, channels, channels, kernel, norm, activation)
        self.conv2 = convolve(dimensions, channels, channels, kernel, norm, None)
        self.excite = ChannelSELayer(dimensions, channels, min(REDUCTION, channels)) if excite else nn.Identity()
        self.activation = Act[activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, ...) to the same shape."""
        return self.activation(x + self.excite(self.conv2(self.conv1(x))))
