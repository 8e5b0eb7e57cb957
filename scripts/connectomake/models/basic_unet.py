"""MONAI's BasicUNet: the plain U-Net (Ronneberger et al. 2015, Falk et al. 2019) with instance norm and leaky ReLU."""

from __future__ import annotations

from monai.networks.nets import BasicUNet
from torch import nn

from connectomake.config.architectures import BasicUnetConfig
from connectomake.models.registry import register_architecture


@register_architecture("monai_basic_unet3d")
def build_basic_unet(cfg: BasicUnetConfig, in_channels: int, out_channels: int) -> nn.Module:
    """Build a BasicUNet; sides must be multiples of 16."""
    return BasicUNet(3, in_channels, out_channels, features=cfg.filters, dropout=cfg.dropout)
