"""Settings of the networks of the synth stage; their defaults are those of 3D MedDiffusion 8x (Wang et al. 2025)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from connectomake.config.section import Section

PerAxisVx = tuple[PositiveInt, PositiveInt, PositiveInt]
Decay = Annotated[float, Field(ge=0, lt=1)]


class AutoencoderConfig(Section):
    """The PatchVolume autoencoder: encodes patch by patch, decodes whole volumes."""

    ratio_zyx: PerAxisVx = Field(
        (8, 8, 8),
        description="voxels per latent along z, y, x: powers of two; 1 = an axis that stays, of thick sections",
    )
    patch_zyx_vx: PerAxisVx = Field((64, 64, 64), description="what is encoded by itself: z, y, x in voxels")
    hidden: PositiveInt = Field(
        48, description="channels at full resolution; they double with each halving but the last"
    )
    groups: PositiveInt = Field(24, description="groups of the norms; a divisor of hidden")
    embedding: PositiveInt = Field(8, description="numbers of a latent")
    codes: Annotated[int, Field(ge=2)] = Field(8192, description="latents that the codebook holds")
    heads: PositiveInt = Field(4, description="heads of the attention at the lowest resolution")
    head_channels: PositiveInt = Field(32, description="channels of each head")
    commitment: PositiveFloat = Field(
        0.25, description="weight of the distance from latents to codes, within that term"
    )
    code_decay: Decay = Field(0.99, description="how slowly codes follow the latents that are nearest to them")
    restart_below: NonNegativeFloat = Field(
        1.0, description="codes that fewer latents than this use, on average, start anew at a latent; 0 = never"
    )

    @property
    def halvings_zyx(self) -> tuple[int, int, int]:
        """How often each axis is halved."""
        z, y, x = (ratio.bit_length() - 1 for ratio in self.ratio_zyx)
        return z, y, x

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        """Reject ratios that are no powers of two, patches that they do not divide, and groups that do not fit."""
        for ratio, side in zip(self.ratio_zyx, self.patch_zyx_vx, strict=True):
            if ratio & (ratio - 1):
                raise ValueError(f"ratio_zyx: expected powers of two, got {list(self.ratio_zyx)}")
            if side % ratio:
                raise ValueError(f"patch_zyx_vx: expected multiples of the ratio {ratio}, got {side}")
        if max(self.ratio_zyx) == 1:
            raise ValueError("ratio_zyx: at least one axis must be halved")
        if self.hidden % self.groups:
            raise ValueError(f"groups: expected a divisor of hidden ({self.hidden}), got {self.groups}")
        return self


class DiscriminatorConfig(Section):
    """A 3-D PatchGAN: it tells, place by place, real volumes from reconstructions."""

    channels: PositiveInt = Field(32, description="channels of the first layer; they double with each further one")
    layers: PositiveInt = Field(3, description="layers beyond the first")
    padding: NonNegativeInt = Field(2, description="voxels of zeros around each layer's input; 1 for small patches")
    norm: Literal["batch", "instance"] = Field("batch", description="norm of the inner layers; instance for batch 1")
    loss: Literal["hinge", "softplus"] = Field("hinge", description="loss of the discriminator")


class DenoiserConfig(Section):
    """BiFlowNet: transformers within sub-volumes of the latents feed a U-Net over all of them."""

    dim: PositiveInt = Field(72, description="channels of the first level; a multiple of 6, and of groups and heads")
    mults: tuple[PositiveInt, ...] = Field(
        (1, 1, 2, 4, 8), min_length=3, description="channels of each level, times dim"
    )
    attention: tuple[bool, ...] = Field(
        (False, False, False, True, True), description="for each level, whether it has attention over all its voxels"
    )
    subvolume: PositiveInt = Field(8, description="side of a sub-volume, in latents")
    token: PositiveInt = Field(1, description="side of a transformer's token, in latents; a divisor of subvolume")
    heads: PositiveInt = Field(8, description="heads of every attention; a divisor of dim")
    head_channels: PositiveInt = Field(32, description="channels of each head in the U-Net")
    groups: PositiveInt = Field(24, description="groups of the norms")
    middle: PositiveInt = Field(1, description="transformer blocks between the input and the output blocks")

    @property
    def fused(self) -> int:
        """Levels that the transformers feed: the first, which have as many channels as they."""
        return self.mults.count(1)

    @property
    def halvings(self) -> int:
        """How often the U-Net halves the latents."""
        return len(self.mults) - self.fused

    @property
    def divisor(self) -> int:
        """What each side of the latents must be a multiple of: sub-volumes, and what the U-Net halves."""
        return max(self.subvolume, 2**self.halvings)

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        """Reject numbers that do not divide one another."""
        for key, value in (("6 (positions along three axes)", 6), ("heads", self.heads), ("groups", self.groups)):
            if self.dim % value:
                raise ValueError(f"dim: expected a multiple of {key} = {value}, got {self.dim}")
        if len(self.attention) != len(self.mults):
            raise ValueError(f"attention: expected one for each of {len(self.mults)} levels, got {len(self.attention)}")
        if self.subvolume % self.token:
            raise ValueError(f"token: expected a divisor of subvolume ({self.subvolume}), got {self.token}")
        if not 0 < self.fused < len(self.mults) or any(b < a for a, b in pairwise(self.mults)):
            raise ValueError(f"mults: expected to begin with 1 and to rise, got {list(self.mults)}")
        if self.subvolume & (self.subvolume - 1):
            raise ValueError(f"subvolume: expected a power of two, got {self.subvolume}")
        return self
