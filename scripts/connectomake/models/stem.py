"""Let a network work at a fraction of the resolution without losing a voxel: the pixel shuffle of Shi et al. 2016."""

from __future__ import annotations

import torch
from torch import nn


class ShuffledNetwork(nn.Module):
    """Space to depth, a network, depth to space.

    Parameters
    ----------
    network
        From ``in_channels * factor**3`` to ``out_channels * factor**3`` channels.
    factor
        By how much each side shrinks inside.
    """

    def __init__(self, network: nn.Module, factor: int) -> None:
        super().__init__()
        self.network = network
        self.factor = factor

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to (N, C', Z, Y, X); sides must be multiples of `factor` times the network's divisor."""
        return space_from_depth(self.network(depth_from_space(volume, self.factor)), self.factor)


def depth_from_space(volume: torch.Tensor, factor: int) -> torch.Tensor:
    """Turn blocks of factor^3 voxels into channels: (N, C, Z, Y, X) to (N, C f^3, Z/f, Y/f, X/f)."""
    n, c, z, y, x = volume.shape
    f = factor
    blocks = volume.reshape(n, c, z // f, f, y // f, f, x // f, f)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, c * f**3, z // f, y // f, x // f)


def space_from_depth(volume: torch.Tensor, factor: int) -> torch.Tensor:
    """Turn groups of factor^3 channels into blocks of voxels: the inverse of `depth_from_space`."""
    n, c, z, y, x = volume.shape
    f = factor
    blocks = volume.reshape(n, c // f**3, f, f, f, z, y, x)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(n, c // f**3, z * f, y * f, x * f)
