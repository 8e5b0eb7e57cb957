"""The augmentations that settings can name, in the order in which they act.

A new one is a function (patch, its settings, generator) in this package, a section of `AugmentConfig`, and a line in
`AUGMENTATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from connectomake.augment.intensity import add_noise, change_intensity, cut_out
from connectomake.augment.patch import Patch
from connectomake.augment.sections import blur_sections, lose_sections, shift_sections
from connectomake.config.augment import AugmentConfig

AUGMENTATIONS: dict[str, Callable[[Patch, Any, np.random.Generator], None]] = {
    "shift_sections": shift_sections,
    "blur_sections": blur_sections,
    "intensity": change_intensity,
    "noise": add_noise,
    "missing_sections": lose_sections,
    "cutout": cut_out,
}


def augment(patch: Patch, cfg: AugmentConfig, rng: np.random.Generator) -> None:
    """Change a patch at random, in place, as it lies in its volume; `draw_orientation` tells how to turn it afterwards.

    Parameters
    ----------
    patch
        Grey values and labels; both may change.
    cfg
        Which augmentations there are, each with the probability that it acts on a patch.
    rng
        The same state gives the same result.
    """
    for name, change in AUGMENTATIONS.items():
        section = getattr(cfg, name)
        if section is not None and rng.random() < section.probability:
            change(patch, section, rng)
