"""Classes of voxels, such as organelles: one channel for each.

Channel c is 1 where the label is one of the class's values, else 0; where classes exclude one another, a first channel
is 1 in all that is in none of them, the background. Labels that are in no class are background too. Known where the
label is. Read by the decoder semantic.

Of crops of the CellMap challenge, whose classes are annotated one by one, labels are numbers of `Combinations`: channel
c is 1 where its class is present, and known where that class is, whatever is known of the others.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit

from connectomake.config.settings.data import UNKNOWN
from connectomake.config.settings.train_target_kinds import ClassesConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm
from connectomake.targets.combinations import PRESENT, Combinations

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
        """Return the classes inside a patch; see `Target.make`."""
        inside = labels[patch.slices]
        known = inside != UNKNOWN
        of_class = [np.isin(inside, values) for values in self.classes]
        if self.exclusive:
            of_class.insert(0, known & ~np.any(of_class, axis=0))
        values = np.stack(of_class).view(np.uint8)
        return values, np.repeat(known[None], len(values), axis=0)


class NamedClassesTarget:
    """The classes of crops, each of them known or not.

    Parameters
    ----------
    cfg
        The classes, by name.
    combinations
        Of these classes, in their order: what the labels are numbers of.
    """

    def __init__(self, cfg: ClassesConfig, combinations: Combinations) -> None:
        self.channels = cfg.channels
        self.lowest = combinations.lowest
        self.present = np.ascontiguousarray(combinations.states.T == PRESENT).view(np.uint8)
        self.known = np.ascontiguousarray(combinations.states.T != UNKNOWN)

    @property
    def context(self) -> tuple[Triple, Triple]:
        """None: each voxel has its classes."""
        return (0, 0, 0), (0, 0, 0)

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Return the classes inside a patch; see `Target.make`."""
        rows = (labels[patch.slices] - self.lowest).astype(np.int32).ravel()
        values = np.empty((len(self.channels), rows.size), np.uint8)
        mask = np.empty(values.shape, np.bool_)
        look_up(rows, self.present, self.known, values, mask)
        shape = (len(self.channels), *patch.shape_zyx)
        return values.reshape(shape), mask.reshape(shape)


@njit(cache=True, nogil=True)
def look_up(rows: np.ndarray, present: np.ndarray, known: np.ndarray, values: np.ndarray, mask: np.ndarray) -> None:
    """Fill `values` and `mask` (C, N) with the columns `rows` (N,) of `present` and `known` (C, K)."""
    for channel in range(len(present)):
        for i in range(len(rows)):
            values[channel, i] = present[channel, rows[i]]
            mask[channel, i] = known[channel, rows[i]]


def check_classes(cfg: ClassesConfig, present: Iterable[int]) -> None:
    """Reject labels in which a class to learn does not occur.

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


def check_named(combinations: Combinations, present: Iterable[int]) -> None:
    """Reject crops in which a class to learn does not occur.

    Parameters
    ----------
    combinations
        Of the classes.
    present
        The numbers that occur in the training labels, all crops taken together.

    Raises
    ------
    DataError
        With the class, and those that do occur.
    """
    numbers = set(present)
    there = [name for name in combinations.classes if combinations.having(name) & numbers]
    for name in combinations.classes:
        if name not in there:
            raise DataError(
                f"train.targets.classes.named: no training crop holds a voxel of the class {name!r}",
                got=f"voxels of {', '.join(there)}" if there else "no voxel of any of the classes",
                hint="leave it out, or learn from crops that hold it: class_voxels.tsv of the split lists them",
            )
