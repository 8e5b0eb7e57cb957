"""Settings of the augmentation: how training patches are changed at random, so that a network sees more than there is.

A key that is null, or left out, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, create_model

from connectomake.config.registries import AUGMENTATIONS
from connectomake.config.section import Section
from connectomake.config.settings.augment_kinds import Amount, AugmentationConfig, Share

Angle = Annotated[float, Field(ge=0, le=180)]


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


class _Amounts(Section):
    """What all augmentations have in common."""

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


def _sections() -> dict[str, Any]:
    """Return the keys of the augmentations, in the order in which they act."""
    kinds = AUGMENTATIONS.items()
    return {name: (kind.settings | None, Field(None, description=kind.description)) for name, kind in kinds}


if TYPE_CHECKING:
    _Augmentations: TypeAlias = _Amounts
else:
    _Augmentations = create_model("_Augmentations", __base__=_Amounts, **_sections())


class AugmentConfig(_Augmentations):
    """Which augmentations there are. They act in this order; the last four act together, in one resampling."""

    flip: FlipConfig | None = Field(None, description="mirroring")
    rotate: RotateConfig | None = Field(None, description="quarter turns")
    affine: AffineConfig | None = Field(None, description="turns by any angle, stretching, shear")
    elastic: ElasticConfig | None = Field(None, description="bending")

    def section(self, name: str) -> AugmentationConfig | None:
        """Return the settings of one of `AUGMENTATIONS`; None where it does not act."""
        found: AugmentationConfig | None = getattr(self, name)
        return found

    @property
    def names(self) -> list[str]:
        """Those that there are, in order."""
        return [name for name in type(self).model_fields if isinstance(getattr(self, name), Section)]
