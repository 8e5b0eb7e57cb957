"""Residual U-Nets with additive skips for anisotropic volumes.

Two relatives: the residual symmetric U-Net of Lee et al. 2017 (Superhuman accuracy on the SNEMI3D connectomics
challenge; DeepEM), and that of PyTorch Connectomics (Lin et al. 2021), with or without squeeze and excitation. Both
shrink by the largest value of each cell, not by strides: cells then lie in their parents where sides are even.
"""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Pool
from torch import nn

from connectomake.config.settings.train_architectures import ResidualUnetConfig, RsunetConfig
from connectomake.models.blocks import ResidualBlock, convolve
from connectomake.models.network import Body
from connectomake.models.registry import register_architecture


@register_architecture("rsunet")
def build_rsunet(cfg: RsunetConfig, in_channels: int) -> Body:
    """Build the U-Net of Lee et al. 2017; sides must be multiples of the product of its factors."""
    return ResidualUnet(cfg, in_channels)


@register_architecture("residual_unet")
def build_residual_unet(cfg: ResidualUnetConfig, in_channels: int) -> Body:
    """Build the U-Net of PyTorch Connectomics; an isotropic level halves z too."""
    return ResidualUnet(cfg, in_channels, excite=cfg.block == "residual_se")


class ResidualUnet(Body):
    """Levels of a convolution and a residual block each, on the way down and up.

    Parameters
    ----------
    cfg
        Channels, kernels and factors of the levels.
    in_channels
        Of the input.
    excite
        Squeeze and excitation in every residual block.
    """

    def __init__(self, cfg: RsunetConfig | ResidualUnetConfig, in_channels: int, excite: bool = False) -> None:
        super().__init__()
        axes, filters, style = cfg.dimensions, cfg.filters, (cfg.norm, cfg.activation)
        factors = [factor[-axes:] for factor in cfg.factors_zyx]
        kernels = [(1, 3, 3) if planar else (3, 3, 3) for planar in cfg.planar]
        pool = Pool[Pool.MAX, axes]
        self.widths = filters if cfg.deep_supervision else filters[:1]

        def refine(level: int, width: int) -> nn.Sequential:
            convolution = convolve(axes, width, filters[level], kernels[level], *style)
            return nn.Sequential(
                convolution, ResidualBlock(axes, filters[level], kernels[level], *style, excite=excite)
            )

        self.stem = convolve(axes, in_channels, filters[0], (1, 5, 5) if any(cfg.planar) else (5, 5, 5), *style)
        self.down = nn.ModuleList([refine(0, filters[0])])
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for level, factor in enumerate(factors):
            self.down.append(nn.Sequential(pool(factor), *refine(level + 1, filters[level])))
            narrow = convolve(axes, filters[level + 1], filters[level], 1, *style)
            self.up.append(
                nn.Sequential(narrow, nn.Upsample(scale_factor=factor, mode=("bilinear", "trilinear")[axes - 2]))
            )
            self.merge.append(refine(level, filters[level]))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map (N, C, [Z,] Y, X) to features, finest first."""
        x = self.stem(x)
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        features = [skips.pop()]
        for level in reversed(range(len(self.up))):
            features.insert(0, self.merge[level](skips[level] + self.up[level](features[0])))
        return features[: len(self.widths)]
