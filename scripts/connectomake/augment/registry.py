"""The augmentations that settings can name, in the order in which they act.

A new one is a function (patch, its settings, generator, grey scale) in this package, a section of `AugmentConfig`, and
a line in `AUGMENTATIONS`. All of them treat the channels of raw alike. `placement` turns and bends what they made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from connectomake.augment.boxes import add_box_noise, blur_box, cut_out
from connectomake.augment.displaced import misalign, shift_sections
from connectomake.augment.grey import GreyScale, add_noise, change_brightness, change_contrast, change_intensity
from connectomake.augment.mixing import mix_up, paste_copy
from connectomake.augment.patch import Patch
from connectomake.augment.sections import blur_sections, lose_parts, lose_sections, smear_sections
from connectomake.config.settings.augment import AugmentConfig

AUGMENTATIONS: dict[str, Callable[[Patch, Any, np.random.Generator, GreyScale], None]] = {
    "copy_paste": paste_copy,
    "mixup": mix_up,
    "missing_sections": lose_sections,
    "misalignment": misalign,
    "shift_sections": shift_sections,
    "missing_parts": lose_parts,
    "motion_blur": smear_sections,
    "blur_sections": blur_sections,
    "cut_blur": blur_box,
    "cut_noise": add_box_noise,
    "brightness": change_brightness,
    "contrast": change_contrast,
    "intensity": change_intensity,
    "noise": add_noise,
    "cutout": cut_out,
}


def augment(patch: Patch, cfg: AugmentConfig, rng: np.random.Generator) -> None:
    """Change a patch at random, in place, as it lies in its volume; `draw_placement` tells how to lay it afterwards.

    Parameters
    ----------
    patch
        Grey values and labels; both may change, and the arrays may be replaced.
    cfg
        Which augmentations there are, each with the probability that it acts on a patch.
    rng
        The same state gives the same result.
    """
    grey = GreyScale.of(patch, cfg.grey_unit)
    for name, change in AUGMENTATIONS.items():
        section = getattr(cfg, name)
        if section is not None and rng.random() < section.probability:
            change(patch, section, rng, grey)
