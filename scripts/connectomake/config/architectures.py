"""Settings of the networks: one class for each architecture, told apart by the key `architecture`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from connectomake.config.section import Section

Width = Annotated[int, Field(gt=0)]


class NetworkConfig(Section):
    """What every network has, whatever its architecture."""

    architecture: str = Field(description="the kind of network")
    stem_factor: Literal[1, 2, 4] = Field(
        1,
        description="work at 1/n of the resolution on n^3 times the channels (pixel shuffle); 2 makes training on a "
        "CPU about half as expensive per voxel, at some cost in the finest detail",
    )

    @property
    def halvings(self) -> int:
        """How often the network halves the resolution, the stem not counted."""
        return 4

    @property
    def divisor_zyx(self) -> tuple[int, int, int]:
        """What each side of a patch or window must be a multiple of, in voxels (z, y, x)."""
        side = self.stem_factor * 2**self.halvings
        return side, side, side


class BasicUnetConfig(NetworkConfig):
    """MONAI's BasicUNet: two convolutions with instance norm per level, five levels."""

    architecture: Literal["monai_basic_unet3d"] = Field("monai_basic_unet3d", description="the plain U-Net of MONAI")
    filters: tuple[Width, Width, Width, Width, Width, Width] = Field(
        (32, 64, 128, 256, 256, 32), description="channels of the five levels, finest first, and of the last layer"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of channels left out at random while training")


class MedNextConfig(NetworkConfig):
    """MedNeXt, the ConvNeXt-like U-Net of Roy et al. 2023, as its authors wrote it."""

    architecture: Literal["mednext"] = Field("mednext", description="MedNeXt (Roy et al. 2023)")
    size: Literal["S", "B", "M", "L"] = Field(
        "S", description="5.6, 10.5, 17.5 or 61.8 million parameters (with kernels of 3)"
    )
    kernel_size: Literal[3, 5, 7] = Field(3, description="side of the depthwise convolutions (voxels)")
    filters: Width = Field(32, description="channels of the finest level; each coarser one has twice as many")


DEFAULT_ARCHITECTURE = "monai_basic_unet3d"


def _architecture_of(value: Any) -> Any:
    """Read which architecture settings are for; a preset that changes other keys only need not say."""
    if isinstance(value, dict):
        return value.get("architecture", DEFAULT_ARCHITECTURE)
    return getattr(value, "architecture", DEFAULT_ARCHITECTURE)


ModelConfig = Annotated[
    Annotated[BasicUnetConfig, Tag("monai_basic_unet3d")] | Annotated[MedNextConfig, Tag("mednext")],
    Discriminator(
        _architecture_of,
        custom_error_type="unknown_architecture",
        custom_error_message="no such architecture; known: monai_basic_unet3d, mednext",
    ),
]
