"""Settings of the augmentation: how training patches are changed at random, so that a network sees more than there is.

A key that is null, or left out, changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from connectomake.config.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Angle = Annotated[float, Field(ge=0, le=180)]
Side = Annotated[float, Field(gt=0, le=1)]
Fill = Literal["mean", "black", "random"]


def _check_order(limits: tuple[float, float]) -> tuple[float, float]:
    """Reject a range that ends before it begins."""
    if limits[0] > limits[1]:
        raise ValueError(f"the least comes first, then the most, got {list(limits)}")
    return limits


Sides = Annotated[tuple[Side, Side], AfterValidator(_check_order)]
Shares = Annotated[tuple[Share, Share], AfterValidator(_check_order)]
Counts = Annotated[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], AfterValidator(_check_order)]


class CopyPasteConfig(Section):
    """Paste a turned copy of an object somewhere else in the patch, as a new object (Ghiasi et al. 2021)."""

    probability: Share = Field(0.5, description="for each patch")
    largest_object: Share = Field(0.7, description="objects that fill more than this share of the patch are not copied")
    angles_deg: tuple[float, ...] = Field(
        tuple(range(30, 360, 30)),
        min_length=1,
        description="angles by which the copy is turned in the plane of the sections (degrees)",
    )
    border_vx: int = Field(3, ge=0, description="distance that the copy keeps from the object itself (voxels)")


class MixupConfig(Section):
    """Mix in the grey values of another patch of the training data; the labels stay (Zhang et al. 2018)."""

    probability: Share = Field(0.5, description="for each patch")
    weight: Shares = Field((0.7, 0.9), description="share of the patch's own grey values, least and most")


class SectionsConfig(Section):
    """What the augmentations of single sections have in common."""

    probability: Share = Field(0.3, description="for each patch")
    share: Share = Field(0.05, description="of the sections of such a patch")
    count: Counts | None = Field(None, description="so many sections, least and most, instead of a share (sections)")
    axis: Literal["z", "any"] = Field(
        "z", description="sections lie across z, or across an axis drawn for each patch (BANIS)"
    )


class MissingSectionsConfig(SectionsConfig):
    """Lose sections, and let the network learn to bridge them."""

    fill: Literal["mean", "black", "random", "delete"] = Field(
        "mean",
        description="grey value of lost sections, whose labels stay; delete = those after them move up, labels too",
    )


class MisalignmentConfig(Section):
    """Displace one section, or all from one on, inside their plane."""

    probability: Share = Field(0.3, description="for each patch")
    distance_vx: int = Field(16, ge=1, description="largest displacement along either axis (voxels)")
    slip: Share = Field(0.5, description="how often it is one section; else all from one on")
    rotate: Share = Field(
        0.0, description="how often the sections are turned instead, by what moves their corners that far"
    )
    axis: Literal["z", "any"] = Field("z", description="sections lie across z, or across an axis drawn for each patch")


class ShiftSectionsConfig(SectionsConfig):
    """Displace single sections inside their plane, each by its own distance."""

    distance_vx: int = Field(8, ge=1, description="largest displacement along either axis (voxels)")
    labels: Literal["follow", "stay"] = Field(
        "follow", description="whether the labels move with the image, or stay where they are (BANIS)"
    )


class MissingPartsConfig(SectionsConfig):
    """Blank a rectangle of a section; the labels stay."""

    count: Counts | None = Field((1, 1), description="so many sections, least and most; null = a share (sections)")
    size: Sides = Field((0.1, 0.3), description="sides of the rectangle, least and most, as shares of the section's")
    fill: Fill = Field("black", description="its grey value")


class MotionBlurConfig(SectionsConfig):
    """Smear sections along a line inside their plane, as a drifting stage does."""

    count: Counts | None = Field((2, 2), description="so many sections, least and most; null = a share (sections)")
    length_vx: int = Field(11, ge=2, description="length of the line, whose direction is drawn (voxels)")


class BlurSectionsConfig(SectionsConfig):
    """Put sections out of focus."""

    sigma_vx: Amount = Field(2.0, description="largest sd of the Gaussian (voxels); drawn evenly from 0.5")


class CutBlurConfig(Section):
    """Image a box at a lower resolution (Yoo et al. 2020)."""

    probability: Share = Field(0.5, description="for each patch")
    size: Side = Field(0.25, description="sides of the box, as a share of the patch's")
    factor: Counts = Field((2, 8), description="voxels that become one, along each axis, least and most (voxels)")
    axes: Literal["yx", "zyx"] = Field("yx", description="axes that lose resolution")


class CutNoiseConfig(Section):
    """Add even noise to a box."""

    probability: Share = Field(0.5, description="for each patch")
    size: Side = Field(0.25, description="sides of the box, as a share of the patch's")
    strength: Amount = Field(0.2, description="largest amount added or taken away (grey_unit)")


class BrightnessConfig(Section):
    """Add one amount to all grey values."""

    probability: Share = Field(0.5, description="for each patch")
    shift: Amount = Field(0.1, description="largest amount added or taken away (grey_unit)")


class ContrastConfig(Section):
    """Multiply all grey values by one number."""

    probability: Share = Field(0.5, description="for each patch")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="contrast changes by up to this share")


class IntensityConfig(Section):
    """Other contrast and brightness, both at once."""

    probability: Share = Field(0.5, description="for each patch")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="contrast changes by up to this share")
    shift: Amount = Field(0.3, description="brightness changes by up to this (grey_unit)")


class NoiseConfig(Section):
    """Gaussian noise."""

    probability: Share = Field(0.3, description="for each patch")
    strength: Amount = Field(0.3, description="largest sd of the noise, which is drawn evenly from 0 (grey_unit)")


class CutoutConfig(Section):
    """Blank a box; the labels stay, and the network learns to bridge it (DeVries & Taylor 2017)."""

    probability: Share = Field(0.2, description="for each patch")
    size: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="largest side of the box, as a share of the patch's"
    )


class FlipConfig(Section):
    """Mirror."""

    probability: Share = Field(0.5, description="for each of the axes by itself")
    axes: Literal["z", "y", "x", "zy", "zx", "yx", "zyx"] = Field("zyx", description="axes that may be mirrored")


class RotateConfig(Section):
    """Exchange axes, which with mirroring makes every rotation by quarter turns."""

    probability: Share = Field(
        1.0, description="of taking one of all orders of the axes; only axes of equal voxel size are exchanged"
    )


class AffineConfig(Section):
    """Turn, stretch and shear a patch about its middle, in nm."""

    probability: Share = Field(0.5, description="for each patch")
    rotate_deg: tuple[Angle, Angle, Angle] = Field(
        (180.0, 10.0, 10.0), description="largest angle about z, y and x (degrees)"
    )
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="each axis is stretched by up to this share")
    shear: Amount = Field(0.0, description="largest displacement along one axis for each nm along another, all six")


class ElasticConfig(Section):
    """Bend a patch smoothly."""

    probability: Share = Field(0.3, description="for each patch")
    distance_nm: Amount = Field(30.0, description="sd of the displacement along each axis (nm)")
    spacing_nm: Annotated[float, Field(gt=0)] = Field(
        400.0, description="distance of the points that are displaced independently; between them it is smooth (nm)"
    )


class AugmentConfig(Section):
    """Which augmentations there are. They act in this order; the last four act together, in one resampling."""

    grey_unit: Literal["sd", "range"] = Field(
        "sd",
        description="amounts of grey are in standard deviations of the training data, about their mean, or shares of "
        "the range of the raw data's type, about black: range makes numbers for images of 0 to 1 right",
    )
    read_beyond: Share = Field(
        0.125,
        description="affine and elastic read real data up to this share of the patch's sides beyond it; farther out "
        "grey values are mirrored and labels unknown",
    )
    copy_paste: CopyPasteConfig | None = Field(None, description="copied objects")
    mixup: MixupConfig | None = Field(None, description="another patch mixed in")
    missing_sections: MissingSectionsConfig | None = Field(None, description="lost sections")
    misalignment: MisalignmentConfig | None = Field(None, description="one displaced section, or all from one on")
    shift_sections: ShiftSectionsConfig | None = Field(None, description="displaced sections")
    missing_parts: MissingPartsConfig | None = Field(None, description="holes in sections")
    motion_blur: MotionBlurConfig | None = Field(None, description="smeared sections")
    blur_sections: BlurSectionsConfig | None = Field(None, description="sections out of focus")
    cut_blur: CutBlurConfig | None = Field(None, description="boxes of lower resolution")
    cut_noise: CutNoiseConfig | None = Field(None, description="noisy boxes")
    brightness: BrightnessConfig | None = Field(None, description="brightness")
    contrast: ContrastConfig | None = Field(None, description="contrast")
    intensity: IntensityConfig | None = Field(None, description="contrast and brightness")
    noise: NoiseConfig | None = Field(None, description="Gaussian noise")
    cutout: CutoutConfig | None = Field(None, description="blanked boxes")
    flip: FlipConfig | None = Field(None, description="mirroring")
    rotate: RotateConfig | None = Field(None, description="quarter turns")
    affine: AffineConfig | None = Field(None, description="turns by any angle, stretching, shear")
    elastic: ElasticConfig | None = Field(None, description="bending")

    @property
    def names(self) -> list[str]:
        """Those that there are, in order."""
        return [name for name in type(self).model_fields if isinstance(getattr(self, name), Section)]
