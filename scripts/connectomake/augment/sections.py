"""What happens to single sections on the way from the block to the image: lost, displaced, out of focus."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from connectomake.augment.patch import Patch
from connectomake.config.augment import BlurSectionsConfig, MissingSectionsConfig, SectionsConfig, ShiftSectionsConfig

UNKNOWN = -1


def lose_sections(patch: Patch, cfg: MissingSectionsConfig, rng: np.random.Generator) -> None:
    """Set sections to the mean grey value (0); the labels stay, so nothing shifts. `patch.raw` is changed in place."""
    axis, chosen = draw_sections(patch, cfg, rng)
    np.moveaxis(patch.raw, axis + 1, 1)[:, chosen] = 0


def shift_sections(patch: Patch, cfg: ShiftSectionsConfig, rng: np.random.Generator) -> None:
    """Displace sections inside their plane; what leaves on one side enters on the other.

    Labels that follow become unknown (-1) where the image or they themselves are not continuous; so nothing is learnt
    there. Both arrays are changed in place.
    """
    axis, chosen = draw_sections(patch, cfg, rng)
    raw, labels = np.moveaxis(patch.raw, axis + 1, 1), np.moveaxis(patch.labels, axis, 0)
    before = [b for a, b in enumerate(patch.before_zyx) if a != axis]
    for section in chosen:
        steps = rng.integers(-cfg.distance_vx, cfg.distance_vx + 1, 2)
        raw[:, section] = np.roll(raw[:, section], steps, (1, 2))
        if cfg.labels == "follow":
            plane = labels[section + patch.before_zyx[axis]]
            plane[:] = np.roll(plane, steps, (0, 1))
            _forget(plane, steps[0], before[0], raw.shape[2])
            _forget(plane.T, steps[1], before[1], raw.shape[3])


def blur_sections(patch: Patch, cfg: BlurSectionsConfig, rng: np.random.Generator) -> None:
    """Blur sections inside their plane, each by its own amount; `patch.raw` is changed in place."""
    axis, chosen = draw_sections(patch, cfg, rng)
    raw = np.moveaxis(patch.raw, axis + 1, 1)
    for section in chosen:
        sigma = rng.uniform(min(0.5, cfg.sigma_vx), cfg.sigma_vx)
        raw[:, section] = ndimage.gaussian_filter(raw[:, section], (0, sigma, sigma), truncate=3)


def draw_sections(patch: Patch, cfg: SectionsConfig, rng: np.random.Generator) -> tuple[int, np.ndarray]:
    """Draw the axis that sections lie across (0 = z), and which sections of the patch something happens to.

    Each section by itself with probability `cfg.share`; one of them where that gives none, so that `cfg.probability`
    is the probability that something happens.
    """
    axis = 0 if cfg.axis == "z" else int(rng.integers(3))
    count = patch.raw.shape[axis + 1]
    chosen = np.flatnonzero(rng.random(count) < cfg.share)
    spare = rng.integers(count)
    return axis, chosen if chosen.size or cfg.share == 0 else np.array([spare])


def _forget(plane: np.ndarray, step: int, before: int, length: int) -> None:
    """Make the rows of a displaced plane of labels unknown that came, here or in the image, from the other side."""
    if step > 0:
        plane[: before + step] = UNKNOWN
    elif step < 0:
        plane[max(0, before + length + step) :] = UNKNOWN
