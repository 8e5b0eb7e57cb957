"""Labels where a voxel may be of several classes, and each class known or not: numbers of combinations of states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from connectomake.config.settings.data import UNKNOWN

PRESENT, ABSENT = 1, 0


@dataclass(frozen=True, eq=False)
class Combinations:
    """What the numbers in labels mean.

    The sign of a number says what sampling and augmentation ask of any label: above 0 one of the classes is there; 0 =
    all are known to be absent; -1 = of none anything is known; below -1 = none is there, and of some it is not known.

    Parameters
    ----------
    classes
        Their names.
    states
        (K, N) int8: of each combination and class 1 (present), 0 (absent) or -1 (unknown). They belong to the numbers
        `lowest`, `lowest` + 1, and so on.
    lowest
        The lowest number: -1 or below.
    """

    classes: tuple[str, ...]
    states: np.ndarray
    lowest: int

    @classmethod
    def of(cls, classes: Sequence[str], states: np.ndarray) -> Combinations:
        """Return numbers to combinations; their order, and how often each is there, change nothing.

        Parameters
        ----------
        classes
            Their names.
        states
            (M, N) 1, 0 or -1, in the order of the classes.
        """
        found = np.unique(np.asarray(states, np.int8).reshape(-1, len(classes)), axis=0)
        present, known = (found == PRESENT).any(1), (found != UNKNOWN).any(1)
        partly = found[~present & known & (found == UNKNOWN).any(1)]
        nothing = np.array([[UNKNOWN], [ABSENT]], np.int8).repeat(len(classes), axis=1)
        return cls(tuple(classes), np.concatenate([partly, nothing, found[present]]), UNKNOWN - len(partly))

    def number(self, states: np.ndarray) -> np.ndarray:
        """Return the numbers, (M,) int32, of (M, N) states; all of them must be among those that `of` was given."""
        number_of = {row.tobytes(): self.lowest + i for i, row in enumerate(self.states)}
        return np.array([number_of[row.tobytes()] for row in np.asarray(states, np.int8)], np.int32)

    def having(self, name: str) -> set[int]:
        """Return the numbers of the combinations in which a class is present."""
        rows = np.flatnonzero(self.states[:, self.classes.index(name)] == PRESENT)
        return {int(row) + self.lowest for row in rows}
