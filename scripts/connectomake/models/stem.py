"""Let a network work at a fraction of the resolution without losing a voxel: the pixel shuffle of Shi et al. 2016."""

from __future__ import annotations

import torch


def depth_from_space(volume: torch.Tensor, factor: int) -> torch.Tensor:
    """Turn blocks of factor^3 voxels (factor^2 pixels) into channels: (N, C, Z, Y, X) to (N, C f^3, Z/f, Y/f, X/f)."""
    n, channels, *sides = volume.shape
    axes = len(sides)
    blocks = volume.reshape(n, channels, *(part for side in sides for part in (side // factor, factor)))
    inside, outside = range(3, 2 * axes + 2, 2), range(2, 2 * axes + 2, 2)
    return blocks.permute(0, 1, *inside, *outside).reshape(
        n, channels * factor**axes, *(side // factor for side in sides)
    )


def space_from_depth(volume: torch.Tensor, factor: int) -> torch.Tensor:
    """Turn groups of factor^3 channels (factor^2 of images) into blocks of voxels: undo `depth_from_space`."""
    n, channels, *sides = volume.shape
    axes = len(sides)
    blocks = volume.reshape(n, channels // factor**axes, *[factor] * axes, *sides)
    pairs = (place for axis in range(axes) for place in (axes + 2 + axis, 2 + axis))
    return blocks.permute(0, 1, *pairs).reshape(n, channels // factor**axes, *(side * factor for side in sides))
