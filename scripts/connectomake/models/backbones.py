"""Networks over exchangeable backbones: ResNet (He et al. 2016) and EfficientNet (Tan & Le 2019), as MONAI has them."""

from __future__ import annotations

from collections import OrderedDict

import torch
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from monai.networks.layers.factories import Act
from monai.networks.layers.utils import get_norm_layer
from monai.networks.nets import EfficientNet, FlexibleUNet
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import nn
from torch.nn import functional

from connectomake.config.settings.train_architectures import FlexibleUnetConfig, FpnConfig
from connectomake.models.blocks import ResidualBlock, choose_norm, convolve
from connectomake.models.network import Body, SingleScale
from connectomake.models.registry import register_architecture

_FOR_CLASSES_ONLY = ("_conv_head", "_bn1", "_avg_pooling", "_dropout", "_fc", "avgpool")


@register_architecture("monai_flexible_unet")
def build_flexible_unet(cfg: FlexibleUnetConfig, in_channels: int) -> Body:
    """Build a FlexibleUNet; sides must be multiples of 32."""
    network = FlexibleUNet(
        in_channels,
        1,
        cfg.backbone,
        decoder_channels=cfg.filters,
        spatial_dims=cfg.dimensions,
        norm=choose_norm(cfg.norm, 1),
        dropout=cfg.dropout,
        is_pad=False,
    )
    network.segmentation_head = nn.Identity()  # type: ignore[assignment]
    prepare_encoder(network.encoder, cfg.norm)
    return SingleScale(network, cfg.filters[-1])


@register_architecture("fpn")
def build_fpn(cfg: FpnConfig, in_channels: int) -> Body:
    """Build a feature pyramid; sides must be multiples of 32."""
    return FeaturePyramid(cfg, in_channels)


class FeaturePyramid(Body):
    """A feature pyramid (Lin et al. 2017) with a level at full resolution, every level added to the finer ones.

    The outputs at each scale are made of all levels that are no finer (Kirillov et al. 2019, Panoptic FPN).

    Parameters
    ----------
    cfg
        Settings.
    in_channels
        Of the input.
    """

    def __init__(self, cfg: FpnConfig, in_channels: int) -> None:
        super().__init__()
        axes, width = cfg.dimensions, cfg.filters
        known = FLEXUNET_BACKBONE.register_dict[cfg.backbone]
        options = known["parameter"] | {"pretrained": False, "spatial_dims": axes, "in_channels": in_channels}
        levels = [width, *known["feature_channel"]]
        self.widths = (width,) * (len(levels) if cfg.deep_supervision else 1)
        self.finest = nn.Sequential(
            convolve(axes, in_channels, width, 3, cfg.norm), ResidualBlock(axes, width, norm=cfg.norm)
        )
        self.encoder = prepare_encoder(known["type"](**options), cfg.norm)
        self.pyramid = FeaturePyramidNetwork(axes, levels, width)
        self.norms = nn.ModuleList(get_norm_layer(choose_norm(cfg.norm, width), axes, width) for _ in self.widths)
        self.activation = Act["elu"]()

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map (N, C, [Z,] Y, X) to features, finest first."""
        levels = OrderedDict(enumerate([self.finest(x), *self.encoder(x)]))
        maps = list(self.pyramid(levels).values())
        for level in reversed(range(len(maps) - 1)):
            maps[level] = maps[level] + functional.interpolate(maps[level + 1], size=maps[level].shape[2:])
        return [self.activation(norm(level)) for norm, level in zip(self.norms, maps, strict=False)]


def prepare_encoder(encoder: nn.Module, norm: str) -> nn.Module:
    """Make one of MONAI's classifiers an encoder, in place: drop what only classes need, and choose the norm.

    Parameters
    ----------
    encoder
        A ResNet or EfficientNet of MONAI's FlexibleUNet.
    norm
        ``batch``, as it is, or ``instance``, which also learns from batches of one.

    Returns
    -------
    Module
        The encoder.
    """
    for name in _FOR_CLASSES_ONLY:
        if hasattr(encoder, name):
            setattr(encoder, name, nn.Identity())  # weights that get no gradient would stop training on several GPUs
    if isinstance(encoder, EfficientNet):
        encoder.set_swish(memory_efficient=False)  # the other one cannot be compiled
    if norm == "instance":
        for parent in list(encoder.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d | nn.BatchNorm3d):
                    kind = nn.InstanceNorm2d if isinstance(child, nn.BatchNorm2d) else nn.InstanceNorm3d
                    setattr(parent, name, kind(child.num_features, affine=True))
    return encoder
