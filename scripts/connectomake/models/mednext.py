"""MedNeXt v1 (Roy et al. 2023, MICCAI), equal to the original implementation weight for weight.

The modules carry the original's names, so that its state dicts load after their `dummy_tensor` is dropped. MONAI's
MedNeXt is no substitute: in its sizes B, M and L the first two downsampling blocks expand by other factors than the
original's. Without deep supervision and global response normalisation, as BANIS uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from connectomake.config.architectures import MedNextConfig
from connectomake.models.registry import register_architecture

LEVELS = 4
_DEEP = (2, 3, 4, 4, 4, 4, 4, 3, 2)
# Per size: blocks at the nine positions (encoder 0-3, bottleneck, decoder 3-0), and how much they expand the channels.
SIZES = {
    "S": ((2,) * 9, (2,) * 9),
    "B": ((2,) * 9, _DEEP),
    "M": ((3, 4, 4, 4, 4, 4, 4, 4, 3), _DEEP),
    "L": ((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}


@register_architecture("mednext")
def build_mednext(cfg: MedNextConfig, in_channels: int, out_channels: int) -> nn.Module:
    """Build one of the four sizes; sides must be multiples of 16."""
    blocks, expansions = SIZES[cfg.size]
    return MedNext(in_channels, out_channels, cfg.filters, blocks, expansions, cfg.kernel_size)


class MedNext(nn.Module):
    """A U-Net of four levels and a bottleneck made of ConvNeXt blocks, with additive skips.

    Parameters
    ----------
    in_channels, out_channels
        Of input and output.
    filters
        Channels of the finest level.
    blocks, expansions
        For the nine positions: encoder 0 to 3, bottleneck, decoder 3 to 0.
    kernel_size
        Of the depthwise convolutions, odd.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: int,
        blocks: tuple[int, ...],
        expansions: tuple[int, ...],
        kernel_size: int,
    ) -> None:
        super().__init__()

        def stage(position: int, width: int) -> nn.Sequential:
            return nn.Sequential(
                *(Block(width, width, expansions[position], kernel_size) for _ in range(blocks[position]))
            )

        self.stem = nn.Conv3d(in_channels, filters, 1)
        for level in range(LEVELS):
            width = filters * 2**level
            self.add_module(f"enc_block_{level}", stage(level, width))
            self.add_module(f"down_{level}", DownBlock(width, 2 * width, expansions[level + 1], kernel_size))
            # Positions 8, 7, 6, 5 belong to decoder levels 0, 1, 2, 3.
            self.add_module(f"up_{level}", UpBlock(2 * width, width, expansions[2 * LEVELS - level], kernel_size))
            self.add_module(f"dec_block_{level}", stage(2 * LEVELS - level, width))
        self.bottleneck = stage(LEVELS, filters * 2**LEVELS)
        self.out_0 = Head(filters, out_channels)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to logits (N, out_channels, Z, Y, X)."""
        x = self.stem(volume)
        skips = []
        for level in range(LEVELS):
            skips.append(self.get_submodule(f"enc_block_{level}")(x))
            x = self.get_submodule(f"down_{level}")(skips[-1])
        x = self.bottleneck(x)
        for level in reversed(range(LEVELS)):
            x = skips[level] + self.get_submodule(f"up_{level}")(x)
            x = self.get_submodule(f"dec_block_{level}")(x)
        return self.out_0(x)


class Block(nn.Module):
    """Depthwise convolution, norm, expansion, GELU, compression; plus the input."""

    depthwise: type[nn.Conv3d] | type[nn.ConvTranspose3d] = nn.Conv3d
    stride = 1

    def __init__(self, in_channels: int, out_channels: int, expansion: int, kernel_size: int) -> None:
        super().__init__()
        self.conv1 = self.depthwise(
            in_channels, in_channels, kernel_size, stride=self.stride, padding=kernel_size // 2, groups=in_channels
        )
        self.norm = nn.GroupNorm(in_channels, in_channels)
        self.conv2 = nn.Conv3d(in_channels, expansion * in_channels, 1)
        self.conv3 = nn.Conv3d(expansion * in_channels, out_channels, 1)
        if self.stride > 1:
            self.res_conv = self.depthwise(in_channels, out_channels, 1, stride=self.stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to the same shape."""
        return x + self.transform(x)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Give what is added to the input."""
        return self.conv3(functional.gelu(self.conv2(self.norm(self.conv1(x)))))


class DownBlock(Block):
    """A block that halves the resolution."""

    stride = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to (N, out_channels, Z/2, Y/2, X/2)."""
        return self.transform(x) + self.res_conv(x)


class UpBlock(Block):
    """A block that doubles the resolution; the voxel that transposed convolutions lack is put in front of each axis."""

    depthwise = nn.ConvTranspose3d
    stride = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to (N, out_channels, 2 Z, 2 Y, 2 X)."""
        front = (1, 0, 1, 0, 1, 0)
        return functional.pad(self.transform(x), front) + functional.pad(self.res_conv(x), front)


class Head(nn.Module):
    """The last layer, from features to logits."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_out = nn.ConvTranspose3d(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to (N, out_channels, Z, Y, X)."""
        return self.conv_out(x)


def convert_original_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a state dict of the original implementation (and of BANIS) into one of `MedNext`.

    Parameters
    ----------
    state
        Name -> tensor, without a prefix.

    Returns
    -------
    dict
        Without `dummy_tensor`, and without the heads that only deep supervision uses.
    """
    unused = ("out_1.", "out_2.", "out_3.", "out_4.", "dummy_tensor")
    return {name: value for name, value in state.items() if not name.startswith(unused)}
