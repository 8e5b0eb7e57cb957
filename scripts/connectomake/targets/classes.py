"""Classes of voxels, such as organelles: one channel for each.

Channel c is 1 where the label is one of the class's values, else 0; where classes exclude one another, a first channel
is 1 in all that is in none of them, the background. Labels that are in no class are background too. Known where the
label is. Read by the decoder semantic.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from connectomake.config.data import UNKNOWN
from connectomake.config.targets import ClassesConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm

_MOST_SHOWN = 20


class ClassesTarget:
    """The classes of labels.

    Parameters
    ----------
    cfg
        The classes, and whether they exclude one another.
    voxel_size_zyx_nm
        Not looked at.
    """

    def __init__(self, cfg: ClassesConfig, voxel_size_zyx_nm: TripleNm) -> None:
        self.channels = cfg.channels
        self.exclusive = cfg.exclusive
        self.classes = list(cfg.labels.values())

    @property
    def context(self) -> tuple[Triple, Triple]:
        """None: each voxel has its class."""
        return (0, 0, 0), (0, 0, 0)

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Tell the classes inside a patch; see `Target.make`."""
        inside = labels[patch.slices]
        known = inside != UNKNOWN
        of_class = [np.isin(inside, values) for values in self.classes]
        if self.exclusive:
            of_class.insert(0, known & ~np.any(of_class, axis=0))
        values = np.stack(of_class).view(np.uint8)
        return values, np.repeat(known[None], len(values), axis=0)


def check_classes(cfg: ClassesConfig, present: Iterable[int]) -> None:
    """Refuse labels in which a class to learn does not occur.

    Parameters
    ----------
    cfg
        The classes.
    present
        The values that occur in the training labels, all volumes taken together.

    Raises
    ------
    DataError
        With the class, its values, and the values that there are.
    """
    there = sorted({int(value) for value in present} - {UNKNOWN})
    for name, values in cfg.labels.items():
        if not set(values) & set(there):
            shown = ", ".join(map(str, there[:_MOST_SHOWN])) + (", ..." if len(there) > _MOST_SHOWN else "")
            raise DataError(
                f"train.targets.classes.labels: the training labels hold no voxel of the class {name!r}",
                expected=" or ".join(map(str, values)),
                got=f"the values {shown}" if there else "no known voxel",
                hint="give the class the value that it has in the labels, or leave it out",
            )
