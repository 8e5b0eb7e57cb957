"""What happens to a box inside a patch: blank, noisy, of lower resolution. Labels stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from connectomake.augment.grey import GreyScale
from connectomake.config.settings.augment_kinds import Amount, Augmentation, AugmentationConfig, Counts, Share, Side

if TYPE_CHECKING:
    import numpy as np

    from connectomake.augment.patch import Patch


class CutBlurConfig(AugmentationConfig):
    """Image a box at a lower resolution (Yoo et al. 2020)."""

    probability: Share = Field(0.5, description="for each patch")
    size: Side = Field(0.25, description="sides of the box, as a share of the patch's")
    factor: Counts = Field((2, 8), description="voxels that become one, along each axis, least and most (voxels)")
    axes: Literal["yx", "zyx"] = Field("yx", description="axes that lose resolution")


class CutNoiseConfig(AugmentationConfig):
    """Add even noise to a box."""

    probability: Share = Field(0.5, description="for each patch")
    size: Side = Field(0.25, description="sides of the box, as a share of the patch's")
    strength: Amount = Field(0.2, description="largest amount added or taken away (grey_unit)")


class CutoutConfig(AugmentationConfig):
    """Blank a box; the labels stay, and the network learns to bridge it (DeVries & Taylor 2017)."""

    probability: Share = Field(0.2, description="for each patch")
    size: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="largest side of the box, as a share of the patch's"
    )


def cut_out(patch: Patch, cfg: CutoutConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Fill a box with the mean grey value (0); `patch.raw` is changed in place (DeVries & Taylor 2017)."""
    sides = [int(rng.integers(1, max(1, int(cfg.size * n)) + 1)) for n in patch.raw.shape[1:]]
    _part(patch.raw, sides, rng)[:] = 0


def add_box_noise(patch: Patch, cfg: CutNoiseConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Add noise to a box, evenly distributed; `patch.raw` is changed in place."""
    import numpy as np

    part = _part(patch.raw, _sides(patch, cfg.size), rng)
    part += np.float32(2 * cfg.strength * grey.unit) * (rng.random(part.shape, np.float32) - np.float32(0.5))


def blur_box(patch: Patch, cfg: CutBlurConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Take means of a box's voxels, and lay lines between them; `patch.raw` is changed in place (Yoo et al. 2020)."""
    part = _part(patch.raw, _sides(patch, cfg.size), rng)
    factor = int(rng.integers(cfg.factor[0], cfg.factor[1] + 1))
    steps = [min(factor, n) if axis in cfg.axes else 1 for axis, n in zip("zyx", part.shape[1:], strict=True)]
    for channel in part:
        channel[:] = lower_resolution(channel, steps)


def lower_resolution(image: np.ndarray, steps_zyx: Sequence[int]) -> np.ndarray:
    """Return (Z, Y, X) grey values as if imaged with voxels so many times as large, then interpolated linearly."""
    from scipy import ndimage

    means = ndimage.uniform_filter(image, steps_zyx, mode="nearest")
    coarse = means[tuple(slice(step // 2, None, step) for step in steps_zyx)]
    scale = [1 / step for step in steps_zyx]
    first = [-(step // 2) / step for step in steps_zyx]
    return ndimage.affine_transform(coarse, scale, first, image.shape, order=1, mode="nearest")


def _sides(patch: Patch, share: float) -> list[int]:
    return [max(1, round(share * n)) for n in patch.raw.shape[1:]]


def _part(raw: np.ndarray, sides: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Draw a place for a box of (C, Z, Y, X) raw; a view of all its channels."""
    starts = [int(rng.integers(0, n - side + 1)) for n, side in zip(raw.shape[1:], sides, strict=True)]
    return raw[(slice(None), *(slice(start, start + side) for start, side in zip(starts, sides, strict=True)))]


CUT_BLUR = Augmentation(CutBlurConfig, blur_box, "boxes of lower resolution")
CUT_NOISE = Augmentation(CutNoiseConfig, add_box_noise, "noisy boxes")
CUTOUT = Augmentation(CutoutConfig, cut_out, "blanked boxes")
