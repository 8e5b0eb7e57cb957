"""Settings of the augmentation: how training patches are changed at random, so that a network sees more than there is.

A key that is null, or left out, changes nothing. Grey values are those that the
network sees: in standard deviations of the training data, unless train.raw_std says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from connectomake.config.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]


class FlipConfig(Section):
    """Mirror."""

    probability: Share = Field(0.5, description="for each of the axes by itself")
    axes: Literal["z", "y", "x", "zy", "zx", "yx", "zyx"] = Field("zyx", description="axes that may be mirrored")


class RotateConfig(Section):
    """Exchange axes, which with mirroring makes every rotation by quarter turns."""

    probability: Share = Field(
        1.0, description="of taking one of all orders of the axes; only axes of equal voxel size are exchanged"
    )


class IntensityConfig(Section):
    """Other contrast and brightness, alike for the whole patch."""

    probability: Share = Field(0.5, description="for each patch")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="contrast changes by up to this share")
    shift: Amount = Field(0.3, description="brightness changes by up to this (sd)")


class NoiseConfig(Section):
    """Gaussian noise."""

    probability: Share = Field(0.3, description="for each patch")
    strength: Amount = Field(0.3, description="largest sd of the noise (sd of the data); drawn evenly from 0")


class SectionsConfig(Section):
    """What the augmentations of single sections have in common."""

    probability: Share = Field(0.3, description="for each patch")
    share: Share = Field(0.05, description="of the sections of such a patch")
    axis: Literal["z", "any"] = Field(
        "z", description="sections lie across z, or across an axis drawn for each patch (BANIS)"
    )


class MissingSectionsConfig(SectionsConfig):
    """Lose sections: they become grey, the labels stay, and the network learns to bridge them."""


class ShiftSectionsConfig(SectionsConfig):
    """Displace single sections inside their plane."""

    distance_vx: int = Field(8, ge=1, description="largest displacement along either axis (voxels)")
    labels: Literal["follow", "stay"] = Field(
        "follow", description="whether the labels move with the image, or stay where they are (BANIS)"
    )


class BlurSectionsConfig(SectionsConfig):
    """Put sections out of focus."""

    sigma_vx: Amount = Field(2.0, description="largest sd of the Gaussian (voxels); drawn evenly from 0.5")


class CutoutConfig(Section):
    """Blank a box; the labels stay, and the network learns to bridge it."""

    probability: Share = Field(0.2, description="for each patch")
    size: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="largest side of the box, as a share of the patch's"
    )


class AugmentConfig(Section):
    """Which augmentations there are. They act in this order; flip and rotate act on what all others made."""

    shift_sections: ShiftSectionsConfig | None = Field(None, description="displaced sections")
    blur_sections: BlurSectionsConfig | None = Field(None, description="sections out of focus")
    intensity: IntensityConfig | None = Field(None, description="contrast and brightness")
    noise: NoiseConfig | None = Field(None, description="Gaussian noise")
    missing_sections: MissingSectionsConfig | None = Field(None, description="lost sections")
    cutout: CutoutConfig | None = Field(None, description="blanked boxes")
    flip: FlipConfig | None = Field(None, description="mirroring")
    rotate: RotateConfig | None = Field(None, description="quarter turns")
