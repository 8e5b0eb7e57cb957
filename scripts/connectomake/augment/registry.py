"""Let augmentations act on a patch, in the order of `config.registries.AUGMENTATIONS`.

A new one is a file in this package with its settings and a function (patch, settings, generator, grey scale), and a
line in `AUGMENTATIONS`. All of them treat the channels of raw alike. `placement` turns and bends what they made.
"""

from __future__ import annotations

import numpy as np

from connectomake.augment.grey import GreyScale
from connectomake.augment.patch import Patch
from connectomake.config.registries import AUGMENTATIONS
from connectomake.config.settings.augment import AugmentConfig


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
    for name, kind in AUGMENTATIONS.items():
        section = cfg.section(name)
        if section is not None and rng.random() < section.probability:
            kind.act(patch, section, rng, grey)
