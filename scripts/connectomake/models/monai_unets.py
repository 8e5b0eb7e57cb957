"""U-Nets and transformers of MONAI, as it has them but for their last layer, which is ours: heads.

UNETR: Hatamizadeh et al. 2022, SwinUNETR: Hatamizadeh et al. 2022, UNet: Kerfoot et al. 2018, BasicUNet: Falk et al.
2019.
"""

from __future__ import annotations

from collections import OrderedDict
from importlib.util import find_spec
from typing import Any

from monai.networks.blocks import ADN
from monai.networks.nets import UNETR, BasicUNet, SwinUNETR, UNet
from torch import nn

from connectomake.config.settings.train_architectures import BasicUnetConfig, SwinUnetrConfig, UnetConfig, UnetrConfig
from connectomake.errors import MissingPackageError
from connectomake.models.blocks import choose_norm
from connectomake.models.network import Body, SingleScale
from connectomake.models.registry import register_architecture


@register_architecture("monai_basic_unet3d")
def build_basic_unet(cfg: BasicUnetConfig, in_channels: int) -> Body:
    """Build a BasicUNet; sides must be multiples of 16."""
    network = BasicUNet(cfg.dimensions, in_channels, 1, features=cfg.filters, dropout=cfg.dropout)
    network.final_conv = nn.Identity()
    return SingleScale(network, cfg.filters[-1])


@register_architecture("monai_unet")
def build_unet(cfg: UnetConfig, in_channels: int) -> Body:
    """Build a UNet; sides must be multiples of the product of its strides."""
    width, norm = cfg.filters[0], choose_norm(cfg.norm, cfg.filters[0])
    strides: list[Any] = [stride[-cfg.dimensions :] for stride in cfg.strides_zyx]
    network = UNet(
        cfg.dimensions,
        in_channels,
        width,
        cfg.filters,
        strides,
        num_res_units=cfg.residual_units,
        norm=norm,
        dropout=cfg.dropout,
    )
    # Its last convolution was meant to give logits; as features it needs what follows every other convolution.
    finish = ADN("NDA", width, "PRELU", norm, cfg.dimensions, cfg.dropout, 1)
    return SingleScale(nn.Sequential(OrderedDict(unet=network, finish=finish)), width)


@register_architecture("monai_unetr")
def build_unetr(cfg: UnetrConfig, in_channels: int) -> Body:
    """Build a UNETR for patches of one size."""
    network = UNETR(
        in_channels,
        1,
        [side // cfg.stem_factor for side in cfg.image_zyx_vx[-cfg.dimensions :]],
        feature_size=cfg.filters,
        hidden_size=cfg.hidden_channels,
        mlp_dim=cfg.mlp_channels,
        num_heads=cfg.attention_heads,
        dropout_rate=cfg.dropout,
        spatial_dims=cfg.dimensions,
    )
    network.out = nn.Identity()  # type: ignore[assignment]
    for block in network.vit.blocks:
        block.norm_cross_attn = nn.Identity()  # belongs to cross attention, which UNETR has none of
    return SingleScale(network, cfg.filters)


@register_architecture("monai_swin_unetr")
def build_swin_unetr(cfg: SwinUnetrConfig, in_channels: int) -> Body:
    """Build a SwinUNETR; sides must be multiples of 32.

    Raises
    ------
    MissingPackageError
        MONAI's needs the package einops.
    """
    if find_spec("einops") is None:
        raise MissingPackageError(
            "model.architecture: monai_swin_unetr needs the package einops, which is not installed",
            hint="pip install einops",
        )
    network = SwinUNETR(
        in_channels,
        1,
        feature_size=cfg.filters,
        drop_rate=cfg.dropout,
        use_checkpoint=cfg.gradient_checkpointing,
        spatial_dims=cfg.dimensions,
    )
    network.out = nn.Identity()  # type: ignore[assignment]
    return SingleScale(network, cfg.filters)
