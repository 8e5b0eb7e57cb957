"""The blocks of the PatchVolume autoencoder: residual blocks, attention, and halving and doubling per axis.

Idea: 3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059), itself in the line of VQ-GAN (Esser et al. 2021).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-6


class NormActivation(nn.GroupNorm):
    """Group norm, then SiLU; without a gradient in place, since these maps set how much memory decoding takes."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(groups, channels, eps=EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to the same shape."""
        return functional.silu(super().forward(x), inplace=not torch.is_grad_enabled())


class Residual(nn.Module):
    """Two 3^3 convolutions, each after norm and activation, beside a shortcut.

    Parameters
    ----------
    channels_in, channels_out
        Channels before and after; where they differ the shortcut is a 1^3 convolution.
    groups
        Groups of the norms.
    """

    def __init__(self, channels_in: int, channels_out: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            NormActivation(channels_in, groups),
            nn.Conv3d(channels_in, channels_out, 3, padding=1),
            NormActivation(channels_out, groups),
            nn.Conv3d(channels_out, channels_out, 3, padding=1),
        )
        self.shortcut = nn.Identity() if channels_in == channels_out else nn.Conv3d(channels_in, channels_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channels_in, Z, Y, X) to (N, channels_out, Z, Y, X)."""
        return self.body(x) + self.shortcut(x)


class Attention(nn.Module):
    """Each voxel looks at all others of the map; the table of all pairs is never held (scaled_dot_product_attention).

    Parameters
    ----------
    channels
        Of the map.
    groups
        Groups of the norm.
    heads, head_channels
        Heads, and channels of each.
    """

    def __init__(self, channels: int, groups: int, heads: int, head_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels, eps=EPSILON)
        self.queries_keys_values = nn.Linear(channels, 3 * heads * head_channels, bias=False)
        self.out = nn.Conv3d(heads * head_channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to the same shape."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        parts = self.queries_keys_values(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        return x + self.out(seen.transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:]))


def halve(channels: int, halved_zyx: tuple[bool, bool, bool]) -> nn.Conv3d:
    """Make a convolution that halves the axes that are named true, and leaves the others as they are."""
    return nn.Conv3d(channels, channels, *_kernel_and_stride(halved_zyx), padding=1)


def double(channels: int, doubled_zyx: tuple[bool, bool, bool]) -> nn.ConvTranspose3d:
    """Make a transposed convolution that doubles the axes that are named true, and leaves the others as they are."""
    return nn.ConvTranspose3d(channels, channels, *_kernel_and_stride(doubled_zyx), padding=1)


def _kernel_and_stride(changed_zyx: tuple[bool, bool, bool]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    z, y, x = changed_zyx
    return (3 + z, 3 + y, 3 + x), (1 + z, 1 + y, 1 + x)
