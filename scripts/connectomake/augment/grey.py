"""Grey values: contrast, brightness, noise; and the unit in which settings give their amounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from connectomake.config.settings.augment_kinds import Amount, Augmentation, AugmentationConfig, Share

if TYPE_CHECKING:
    import numpy as np

    from connectomake.augment.patch import Patch


@dataclass(frozen=True)
class GreyScale:
    """What settings mean by an amount of grey.

    Parameters
    ----------
    unit
        What an amount of 1 is in normalised grey values.
    zero
        The normalised grey value that a change of contrast leaves as it is.
    black, range
        What 0 and the range of the raw data's type have become.
    """

    unit: float
    zero: float
    black: float
    range: float

    @classmethod
    def of(cls, patch: Patch, unit: str) -> GreyScale:
        """Return the scale of a patch in a `grey_unit`: sd (about the mean) or range (about black)."""
        unit_and_zero = (patch.grey_range, patch.grey_black) if unit == "range" else (1.0, 0.0)
        return cls(*unit_and_zero, patch.grey_black, patch.grey_range)

    def fill(self, kind: str, rng: np.random.Generator) -> np.float32:
        """Return the grey value of what is lost: the mean, black, or one drawn evenly from the type's range."""
        import numpy as np

        drawn = self.black + rng.random() * self.range
        return np.float32({"mean": 0.0, "black": self.black, "random": drawn}[kind])


class NoiseConfig(AugmentationConfig):
    """Gaussian noise."""

    probability: Share = Field(0.3, description="for each patch")
    strength: Amount = Field(0.3, description="largest sd of the noise, which is drawn evenly from 0 (grey_unit)")


class BrightnessConfig(AugmentationConfig):
    """Add one amount to all grey values."""

    probability: Share = Field(0.5, description="for each patch")
    shift: Amount = Field(0.1, description="largest amount added or taken away (grey_unit)")


class ContrastConfig(AugmentationConfig):
    """Multiply all grey values by one number."""

    probability: Share = Field(0.5, description="for each patch")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="contrast changes by up to this share")


class IntensityConfig(AugmentationConfig):
    """Other contrast and brightness, both at once."""

    probability: Share = Field(0.5, description="for each patch")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="contrast changes by up to this share")
    shift: Amount = Field(0.3, description="brightness changes by up to this (grey_unit)")


def change_brightness(patch: Patch, cfg: BrightnessConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Shift all grey values; `patch.raw` is changed in place, labels stay."""
    import numpy as np

    patch.raw += np.float32(rng.uniform(-cfg.shift, cfg.shift) * grey.unit)


def change_contrast(patch: Patch, cfg: ContrastConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Scale all grey values; `patch.raw` is changed in place, labels stay."""
    _scale(patch.raw, rng.uniform(1 - cfg.scale, 1 + cfg.scale), 0.0, grey)


def change_intensity(patch: Patch, cfg: IntensityConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Scale and shift all grey values, as BANIS does; `patch.raw` is changed in place, labels stay."""
    scale = rng.uniform(1 - cfg.scale, 1 + cfg.scale)
    _scale(patch.raw, scale, rng.uniform(-cfg.shift, cfg.shift) * grey.unit, grey)


def add_noise(patch: Patch, cfg: NoiseConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Add Gaussian noise of a strength drawn for the patch; `patch.raw` is changed in place, labels stay."""
    import numpy as np

    from connectomake.augment.gaussian import add_gaussian, normal_quantiles

    strength = rng.uniform(0, cfg.strength) * grey.unit
    patch.raw = np.ascontiguousarray(patch.raw)
    key = rng.integers(0, 2**64, dtype=np.uint64)
    add_gaussian(patch.raw.reshape(-1), np.float32(strength), key, normal_quantiles())


def _scale(raw: np.ndarray, scale: float, shift: float, grey: GreyScale) -> None:
    import numpy as np

    raw *= np.float32(scale)
    raw += np.float32(shift + grey.zero * (1 - scale))


BRIGHTNESS = Augmentation(BrightnessConfig, change_brightness, "brightness")
CONTRAST = Augmentation(ContrastConfig, change_contrast, "contrast")
INTENSITY = Augmentation(IntensityConfig, change_intensity, "contrast and brightness")
NOISE = Augmentation(NoiseConfig, add_noise, "Gaussian noise")
