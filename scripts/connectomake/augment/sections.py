"""What happens to single sections on the way from the block to the image: lost, torn, smeared, out of focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from connectomake.augment.grey import GreyScale
from connectomake.config.settings.augment_kinds import (
    Amount,
    Augmentation,
    AugmentationConfig,
    Counts,
    Fill,
    Share,
    Sides,
)
from connectomake.config.settings.data import UNKNOWN

if TYPE_CHECKING:
    import numpy as np

    from connectomake.augment.patch import Patch


class SectionsConfig(AugmentationConfig):
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


def lose_sections(patch: Patch, cfg: MissingSectionsConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Lose sections; both arrays are changed in place.

    Filled sections keep their labels, so nothing shifts. With ``fill: delete`` the sections after them move up and so
    do the labels, those after the patch too; what is then missing at the end is mirrored and unknown.
    """
    import numpy as np

    axis, chosen = draw_sections(patch, cfg, rng)
    raw = np.moveaxis(patch.raw, axis + 1, 1)
    if cfg.fill == "delete":
        _delete(raw, np.moveaxis(patch.labels, axis, 0), chosen[: raw.shape[1] - 1], patch.before_zyx[axis])
        return
    for section in chosen:
        raw[:, section] = grey.fill(cfg.fill, rng)


def _delete(raw: np.ndarray, labels: np.ndarray, chosen: np.ndarray, before: int) -> None:
    """Take sections out of (C, N, ...) raw, and the same ones out of (M, ...) labels, which begin `before` earlier."""
    import numpy as np

    count = raw.shape[1]
    kept = np.delete(np.arange(count), chosen)
    mirrored = np.pad(np.arange(kept.size), (0, chosen.size), mode="symmetric")
    raw[:] = raw[:, kept[mirrored]]
    labels[: labels.shape[0] - chosen.size] = np.delete(labels, chosen + before, axis=0)
    labels[labels.shape[0] - chosen.size :] = UNKNOWN
    labels[before + kept.size : before + count] = UNKNOWN


def lose_parts(patch: Patch, cfg: MissingPartsConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Blank a rectangle of each section; `patch.raw` is changed in place, labels stay."""
    import numpy as np

    axis, chosen = draw_sections(patch, cfg, rng)
    raw = np.moveaxis(patch.raw, axis + 1, 1)
    for section in chosen:
        sides = [max(1, round(rng.uniform(*cfg.size) * n)) for n in raw.shape[2:]]
        y, x = (int(rng.integers(0, n - side + 1)) for n, side in zip(raw.shape[2:], sides, strict=True))
        raw[:, section, y : y + sides[0], x : x + sides[1]] = grey.fill(cfg.fill, rng)


def smear_sections(patch: Patch, cfg: MotionBlurConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Smear sections, each along a line of its own direction; `patch.raw` is changed in place, labels stay."""
    import numpy as np
    from scipy import ndimage

    axis, chosen = draw_sections(patch, cfg, rng)
    raw = np.moveaxis(patch.raw, axis + 1, 1)
    for section in chosen:
        line = line_kernel(cfg.length_vx, rng.uniform(0, np.pi))
        for plane in raw[:, section]:
            plane[:] = ndimage.convolve(plane, line)


def line_kernel(length_vx: int, angle: float) -> np.ndarray:
    """Draw a line of weights through the middle of a square.

    Parameters
    ----------
    length_vx
        How long it is.
    angle
        Radians; 0 = along x.

    Returns
    -------
    ndarray of float32
        (N, N) with N odd, sum 1; voxels between which the line passes share its weight.
    """
    import numpy as np

    reach = (length_vx - 1) / 2
    half = int(np.ceil(reach))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float64)
    along = np.linspace(-reach, reach, 4 * length_vx + 1)
    y, x = half + along * np.sin(angle), half + along * np.cos(angle)
    low_y, low_x = (np.minimum(np.floor(c + 1e-9).astype(int), 2 * half - 1) for c in (y, x))
    for dy in (0, 1):
        for dx in (0, 1):
            np.add.at(kernel, (low_y + dy, low_x + dx), abs(1 - dy - (y - low_y)) * abs(1 - dx - (x - low_x)))
    return (kernel / kernel.sum()).astype(np.float32)


def blur_sections(patch: Patch, cfg: BlurSectionsConfig, rng: np.random.Generator, grey: GreyScale) -> None:
    """Blur sections inside their plane, each by its own amount; `patch.raw` is changed in place, labels stay."""
    import numpy as np
    from scipy import ndimage

    axis, chosen = draw_sections(patch, cfg, rng)
    raw = np.moveaxis(patch.raw, axis + 1, 1)
    for section in chosen:
        sigma = rng.uniform(min(0.5, cfg.sigma_vx), cfg.sigma_vx)
        raw[:, section] = ndimage.gaussian_filter(raw[:, section], (0, sigma, sigma), truncate=3)


def draw_sections(patch: Patch, cfg: SectionsConfig, rng: np.random.Generator) -> tuple[int, np.ndarray]:
    """Draw the axis that sections lie across (0 = z), and which sections of the patch something happens to.

    Either `cfg.count` of them, or each by itself with probability `cfg.share`; one of them where that gives none, so
    that `cfg.probability` is the probability that something happens.
    """
    import numpy as np

    axis = 0 if cfg.axis == "z" else int(rng.integers(3))
    sections = patch.raw.shape[axis + 1]
    if cfg.count is not None:
        count = min(int(rng.integers(cfg.count[0], cfg.count[1] + 1)), sections)
        return axis, np.sort(rng.choice(sections, count, replace=False))
    chosen = np.flatnonzero(rng.random(sections) < cfg.share)
    spare = rng.integers(sections)
    return axis, chosen if chosen.size or cfg.share == 0 else np.array([spare])


MISSING_SECTIONS = Augmentation(MissingSectionsConfig, lose_sections, "lost sections")
MISSING_PARTS = Augmentation(MissingPartsConfig, lose_parts, "holes in sections")
MOTION_BLUR = Augmentation(MotionBlurConfig, smear_sections, "smeared sections")
BLUR_SECTIONS = Augmentation(BlurSectionsConfig, blur_sections, "sections out of focus")
