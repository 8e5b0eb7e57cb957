"""A small patch, and settings with which each augmentation changes it for certain."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectomake.augment.patch import Patch
from connectomake.augment.registry import augment
from connectomake.config.settings.augment import AugmentConfig

BEFORE, AFTER = (1, 2, 0), (2, 0, 3)
SHAPE = (12, 14, 16)
# Settings with which each changes every patch that it acts on.
CERTAIN = {
    "copy_paste": {"border_vx": 0, "largest_object": 0.04},
    "mixup": {},
    "missing_sections": {"share": 0.01},
    "misalignment": {"distance_vx": 9, "rotate": 0.5},
    "shift_sections": {"share": 1, "distance_vx": 3},
    "missing_parts": {"fill": "random"},
    "motion_blur": {},
    "blur_sections": {"share": 0.5},
    "cut_blur": {"size": 0.5},
    "cut_noise": {},
    "brightness": {},
    "contrast": {},
    "intensity": {},
    "noise": {},
    "cutout": {},
}


def make_patch(seed: int = 0) -> Patch:
    """Return a patch of noise in blocks of labels, some of them unknown, and a small one that can be copied."""
    rng = np.random.default_rng(seed)
    shape = [b + n + a for b, n, a in zip(BEFORE, SHAPE, AFTER, strict=True)]
    labels = np.kron(rng.integers(-1, 50, [-(-n // 6) for n in shape]), np.ones((6, 6, 6), int))
    labels = labels[tuple(map(slice, shape))].copy()
    labels[4:8, 5:9, 3:8] = 60
    patch = Patch(rng.standard_normal((2, *SHAPE), np.float32), labels, BEFORE, grey_range=4.0, grey_black=-2.0)
    patch.partner = lambda: make_patch(seed + 1000)
    return patch


def config(name: str, **changes: Any) -> AugmentConfig:
    """Let one augmentation act, and no other."""
    return AugmentConfig.model_validate({name: {"probability": 1, **CERTAIN[name], **changes}})


def run(cfg: AugmentConfig, seed: int = 0, patch: Patch | None = None) -> Patch:
    """Augment a patch; by default that of `make_patch`."""
    patch = patch or make_patch()
    augment(patch, cfg, np.random.default_rng(seed))
    return patch
