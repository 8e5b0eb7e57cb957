"""Whether a generator repeats what it has learnt: how near a volume is to the nearest one learnt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

BLOCK_MB = 256


class Learnt(Protocol):
    """Latents on disk, as `connectomake.synth.latents.Latent`."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(E, z, y, x)."""

    def read(self) -> np.ndarray:
        """Read them, float32."""


class NearestLatents:
    """Finds the learnt latents that are nearest to others, by brute force.

    Those learnt are read from disk one at a time, once for each block of others; so memory is that of a block, and of
    one volume's latents.

    Parameters
    ----------
    learnt
        All that was learnt, in each turn in which it was.
    block_mb
        How much of the others is held until they are compared.
    """

    def __init__(self, learnt: Sequence[Learnt], block_mb: float = BLOCK_MB) -> None:
        self._learnt: dict[tuple[int, ...], list[Learnt]] = defaultdict(list)
        for latents in learnt:
            self._learnt[latents.shape].append(latents)
        self._block_mb = block_mb
        self._waiting: list[np.ndarray] = []
        self._found: list[float] = []

    def add(self, z: np.ndarray) -> None:
        """Add latents (E, z, y, x) float32."""
        self._waiting.append(z)
        if sum(other.nbytes for other in self._waiting) > self._block_mb * 1e6:
            self._compare()

    def finish(self) -> list[float]:
        """Return the distance of each of those added to the nearest of those learnt, in the order of adding.

        Returns
        -------
        list of float
            Root of the mean squared difference, in the units of latents; NaN where nothing of that shape was learnt.
        """
        self._compare()
        return self._found

    def _compare(self) -> None:
        nearest = np.full(len(self._waiting), np.inf)
        by_shape = defaultdict(list)
        for place, z in enumerate(self._waiting):
            by_shape[z.shape].append(place)
        for shape, places in by_shape.items():
            for latents in self._learnt.get(shape, []):
                own = latents.read()
                for place in places:
                    nearest[place] = min(nearest[place], np.square(self._waiting[place] - own).mean(dtype=np.float64))
        self._found += [float(value) for value in np.sqrt(np.where(np.isfinite(nearest), nearest, np.nan))]
        self._waiting.clear()
