"""Settings of the networks: one class for each architecture, told apart by the key `architecture`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from connectomake.config.engine.explain import nearest
from connectomake.config.settings.train_network import FOREIGN, NetworkConfig, Triple, Width, check_length, multiply

Widths = Annotated[tuple[Width, ...], Field(min_length=2)]
Factor = Annotated[int, Field(ge=1, le=4)]
Nine = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=9, max_length=9)]
Dropout = Annotated[float, Field(ge=0, lt=1, description="share of channels left out at random while training")]
DeepSupervision = Annotated[
    bool, Field(description="while training, give outputs at the coarser levels too, which are learnt as well")
]
Checkpointing = Annotated[
    bool, Field(description="keep little in memory and compute it again for the gradient: slower, for large patches")
]
Norm = Literal["instance", "batch", "group", "none"]
Activation = Literal["elu", "relu", "leakyrelu", "prelu", "gelu", "swish"]
Backbone = Literal[
    "resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200",
    "efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3", "efficientnet-b4",
    "efficientnet-b5", "efficientnet-b6", "efficientnet-b7", "efficientnet-b8",
]  # fmt: skip


class BasicUnetConfig(NetworkConfig):
    """MONAI's BasicUNet: two convolutions with instance norm per level, five levels."""

    architecture: Literal["monai_basic_unet3d"] = Field("monai_basic_unet3d", description="the plain U-Net of MONAI")
    filters: tuple[Width, Width, Width, Width, Width, Width] = Field(
        (32, 64, 128, 256, 256, 32), description="channels of the five levels, finest first, and of the last layer"
    )
    dropout: Dropout = 0.0


class UnetConfig(NetworkConfig):
    """MONAI's UNet: strided convolutions and residual units (Kerfoot et al. 2018), with any strides."""

    architecture: Literal["monai_unet"] = Field("monai_unet", description="the residual U-Net of MONAI")
    filters: Widths = Field((32, 64, 128, 256, 512), description="channels of the levels, finest first")
    strides_zyx: tuple[tuple[Factor, Factor, Factor], ...] = Field(
        ((2, 2, 2),) * 4,
        description="how much each level shrinks the one before (z, y, x); [1, 2, 2] for thick sections",
    )
    residual_units: int = Field(2, ge=0, description="convolutions in a residual unit; 0 = plain convolutions")
    norm: Norm = Field("instance", description="how features are normalised")
    dropout: Dropout = 0.0

    @model_validator(mode="after")
    def _check_strides(self) -> Self:
        check_length("strides_zyx", self.strides_zyx, len(self.filters) - 1)
        return self

    @property
    def shrink_zyx(self) -> Triple:
        """By how much the coarsest level is smaller than the input (z, y, x)."""
        return multiply(self.strides_zyx)


class UnetrConfig(NetworkConfig):
    """MONAI's UNETR: a transformer over cubes of 16 voxels with a convolutional decoder (Hatamizadeh et al. 2022)."""

    architecture: Literal["monai_unetr"] = Field("monai_unetr", description="UNETR of MONAI")
    image_zyx_vx: tuple[Width, Width, Width] = Field(
        (64, 64, 64),
        description="the only patch and window that this network takes, since it learns an embedding for each "
        "position: equal to patch_zyx_vx (voxels; z, y, x)",
    )
    filters: Width = Field(16, description="channels of the finest level; each coarser one has twice as many")
    hidden_channels: Width = Field(768, description="channels of the transformer")
    mlp_channels: Width = Field(3072, description="channels inside its perceptrons")
    attention_heads: Width = Field(12, description="heads of its attention; hidden_channels is a multiple")
    dropout: Dropout = 0.0

    @model_validator(mode="after")
    def _check_image(self) -> Self:
        if any(side % d for side, d in zip(self.image_zyx_vx, self.divisor_zyx, strict=True)):
            raise ValueError(f"image_zyx_vx {list(self.image_zyx_vx)} must be multiples of {list(self.divisor_zyx)}")
        if self.hidden_channels % self.attention_heads:
            raise ValueError(f"hidden_channels must be a multiple of the {self.attention_heads} attention_heads")
        return self

    @property
    def smallest_patch_zyx(self) -> Triple:
        """The one patch, in voxels (z, y, x); in 2-D any number of sections."""
        return (1, *self.image_zyx_vx[1:]) if self.dimensions == 2 else self.image_zyx_vx

    def check_patch(self, patch_zyx: Sequence[int]) -> None:
        """Reject a patch or window other than `image_zyx_vx`, by ValueError; in 2-D any number of sections is taken."""
        if list(patch_zyx)[-self.dimensions :] != list(self.image_zyx_vx)[-self.dimensions :]:
            raise ValueError(
                f"{list(patch_zyx)} must equal model.image_zyx_vx {list(self.image_zyx_vx)}: monai_unetr learns an "
                "embedding for each position"
            )


class SwinUnetrConfig(NetworkConfig):
    """MONAI's SwinUNETR: attention within shifted windows, with a convolutional decoder (Hatamizadeh et al. 2022)."""

    architecture: Literal["monai_swin_unetr"] = Field("monai_swin_unetr", description="SwinUNETR of MONAI")
    filters: int = Field(24, gt=0, multiple_of=12, description="channels of the finest level, a multiple of 12")
    dropout: Dropout = 0.0
    gradient_checkpointing: Checkpointing = False

    @property
    def shrink_zyx(self) -> Triple:
        """By how much the coarsest level is smaller than the input (z, y, x)."""
        return 32, 32, 32


class MedNextConfig(NetworkConfig):
    """MedNeXt, the ConvNeXt-like U-Net of Roy et al. 2023, as its authors wrote it."""

    architecture: Literal["mednext"] = Field("mednext", description="MedNeXt (Roy et al. 2023)")
    size: Literal["S", "B", "M", "L"] = Field(
        "S", description="5.6, 10.5, 17.5 or 61.8 million parameters (with kernels of 3)"
    )
    kernel_size: Literal[3, 5, 7] = Field(3, description="side of the depthwise convolutions (voxels)")
    filters: Width = Field(32, description="channels of the finest level; each coarser one has twice as many")
    deep_supervision: DeepSupervision = False
    grn: bool = Field(False, description="global response normalisation (Woo et al. 2023) in every block")
    gradient_checkpointing: Checkpointing = False


class MedNextCustomConfig(NetworkConfig):
    """MedNeXt with any number of blocks and any expansion at its nine positions."""

    architecture: Literal["mednext_custom"] = Field("mednext_custom", description="MedNeXt of any size")
    blocks: Nine = Field(
        (2,) * 9, description="blocks at the nine positions: four levels down, the coarsest, four levels up"
    )
    expansions: Nine | Width = Field(
        (2,) * 9, description="how much blocks expand the channels, at each position or at all of them"
    )
    kernel_size: Annotated[int, Field(ge=3, le=15)] = Field(
        3, description="side of the depthwise convolutions, odd (voxels)"
    )
    filters: Width = Field(32, description="channels of the finest level; each coarser one has twice as many")
    deep_supervision: DeepSupervision = False
    grn: bool = Field(False, description="global response normalisation (Woo et al. 2023) in every block")
    gradient_checkpointing: Checkpointing = False

    @model_validator(mode="after")
    def _check_kernel(self) -> Self:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        return self


class RsunetConfig(NetworkConfig):
    """The residual symmetric U-Net of Lee et al. 2017, made for thick sections."""

    architecture: Literal["rsunet"] = Field("rsunet", description="residual symmetric U-Net (Lee et al. 2017)")
    filters: Widths = Field((28, 36, 48, 64, 80), description="channels of the levels, finest first")
    factors_zyx: tuple[tuple[Factor, Factor, Factor], ...] = Field(
        ((1, 2, 2),) * 4,
        description="how much each level shrinks the one before (z, y, x); [2, 2, 2] for isotropic voxels",
    )
    planar_levels: int = Field(
        1, ge=0, description="so many levels, from the finest, convolve within sections only; 0 for isotropic voxels"
    )
    norm: Norm = Field("instance", description="how features are normalised")
    activation: Activation = Field("elu", description="what follows the norm")
    deep_supervision: DeepSupervision = False

    @model_validator(mode="after")
    def _check_factors(self) -> Self:
        check_length("factors_zyx", self.factors_zyx, len(self.filters) - 1)
        return self

    @property
    def shrink_zyx(self) -> Triple:
        """By how much the coarsest level is smaller than the input (z, y, x)."""
        return multiply(self.factors_zyx)

    @property
    def planar(self) -> tuple[bool, ...]:
        """For each level, finest first, whether it convolves within sections only."""
        return tuple(level < self.planar_levels for level in range(len(self.filters)))


class ResidualUnetConfig(NetworkConfig):
    """The anisotropic residual U-Net of PyTorch Connectomics (Lin et al. 2021), with or without squeeze-excitation."""

    architecture: Literal["residual_unet"] = Field("residual_unet", description="anisotropic residual U-Net")
    filters: Widths = Field((28, 36, 48, 64, 80), description="channels of the levels, finest first")
    isotropy: tuple[bool, ...] = Field(
        (False, False, False, True, True),
        description="for each level, finest first: true = it convolves along z too and halves z, false = only y and x",
    )
    block: Literal["residual", "residual_se"] = Field(
        "residual", description="residual_se = with squeeze and excitation (Hu et al. 2018)"
    )
    norm: Norm = Field("instance", description="how features are normalised; the original's is batch")
    activation: Activation = Field("elu", description="what follows the norm")
    deep_supervision: DeepSupervision = False

    @model_validator(mode="after")
    def _check_isotropy(self) -> Self:
        check_length("isotropy", self.isotropy, len(self.filters))
        return self

    @property
    def factors_zyx(self) -> tuple[Triple, ...]:
        """How much each level shrinks the one before (z, y, x)."""
        return tuple((2, 2, 2) if isotropic else (1, 2, 2) for isotropic in self.isotropy[1:])

    @property
    def shrink_zyx(self) -> Triple:
        """By how much the coarsest level is smaller than the input (z, y, x)."""
        return multiply(self.factors_zyx)

    @property
    def planar(self) -> tuple[bool, ...]:
        """For each level, finest first, whether it convolves within sections only."""
        return tuple(not isotropic for isotropic in self.isotropy)


class FlexibleUnetConfig(NetworkConfig):
    """MONAI's FlexibleUNet: a U-Net whose encoder is a ResNet or an EfficientNet."""

    architecture: Literal["monai_flexible_unet"] = Field("monai_flexible_unet", description="U-Net over a backbone")
    backbone: Backbone = Field("resnet18", description="the encoder; it starts from random weights")
    filters: tuple[Width, Width, Width, Width, Width] = Field(
        (256, 128, 64, 32, 16), description="channels of the decoder's levels, coarsest first"
    )
    norm: Literal["instance", "batch"] = Field(
        "instance", description="how features are normalised; batch, as in the backbones' papers, needs large batches"
    )
    dropout: Dropout = 0.0

    @property
    def shrink_zyx(self) -> Triple:
        """By how much the coarsest level is smaller than the input (z, y, x)."""
        return 32, 32, 32


class FpnConfig(NetworkConfig):
    """A feature pyramid (Lin et al. 2017) over a ResNet or EfficientNet, its levels added up (Kirillov et al. 2019)."""

    architecture: Literal["fpn"] = Field("fpn", description="feature pyramid over a backbone")
    backbone: Backbone = Field("resnet18", description="the encoder; it starts from random weights")
    filters: Width = Field(64, description="channels of every level of the pyramid")
    norm: Literal["instance", "batch"] = Field(
        "instance", description="how features are normalised; batch, as in the backbones' papers, needs large batches"
    )
    deep_supervision: DeepSupervision = False

    @property
    def shrink_zyx(self) -> Triple:
        """By how much the coarsest level is smaller than the input (z, y, x)."""
        return 32, 32, 32


ARCHITECTURES: dict[str, type[NetworkConfig]] = {
    cls.model_fields["architecture"].default: cls for cls in NetworkConfig.__subclasses__()
}
DEFAULT_ARCHITECTURE = "monai_basic_unet3d"


def _architecture_of(value: Any) -> Any:
    """Read which architecture settings are for; a preset that changes other keys only need not say."""
    if isinstance(value, dict):
        return value.get("architecture", DEFAULT_ARCHITECTURE)
    return getattr(value, "architecture", DEFAULT_ARCHITECTURE)


def _check_architecture(value: Any) -> Any:
    """Reject a name that no class of settings has, with the nearest one."""
    name = _architecture_of(value)
    if name in FOREIGN:
        raise ValueError(f"{name!r} is a network from elsewhere, which can predict (predict.checkpoints) but not learn")
    if name not in ARCHITECTURES:
        raise ValueError(f"no architecture {name!r}: {nearest(str(name), ARCHITECTURES)}")
    return value


ModelConfig = Annotated[
    Annotated[BasicUnetConfig, Tag("monai_basic_unet3d")]
    | Annotated[UnetConfig, Tag("monai_unet")]
    | Annotated[UnetrConfig, Tag("monai_unetr")]
    | Annotated[SwinUnetrConfig, Tag("monai_swin_unetr")]
    | Annotated[FlexibleUnetConfig, Tag("monai_flexible_unet")]
    | Annotated[MedNextConfig, Tag("mednext")]
    | Annotated[MedNextCustomConfig, Tag("mednext_custom")]
    | Annotated[RsunetConfig, Tag("rsunet")]
    | Annotated[ResidualUnetConfig, Tag("residual_unet")]
    | Annotated[FpnConfig, Tag("fpn")],
    Discriminator(_architecture_of),
    BeforeValidator(_check_architecture),
]
