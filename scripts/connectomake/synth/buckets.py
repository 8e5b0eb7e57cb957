"""Which samples each step of a training takes where they have several shapes: all of one, in batches of its own size.

3D MedDiffusion (Wang et al. 2025, arXiv 2412.13059) learns volumes of several resolutions in one training that way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np

_ORDER, _MEMBERS = range(2)  # parts of the seed: which bucket comes when, and its members' order


class Buckets:
    """Samples by shape.

    In each round every bucket has as many batches as it takes to show its samples once, in an order drawn anew. A
    bucket shows all its samples before it shows one again, also from round to round. All is a function of seed and
    step alone: a training that goes on takes the samples that it would have taken, and all processes the same shape.

    Parameters
    ----------
    shapes
        Of each sample.
    batches
        For each shape that occurs, the samples that a process takes at once.
    seed
        Of the order.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], batches: Mapping[tuple[int, ...], int], seed: int) -> None:
        found = np.array(shapes)
        kinds = sorted(set(shapes))
        self.members = [np.flatnonzero((found == kind).all(1)) for kind in kinds]
        self.batches = [batches[kind] for kind in kinds]
        self.seed = seed

    def numbers_of(self, step: int, rank: int = 0, world: int = 1) -> list[int]:
        """Return the numbers of the samples that one of several processes takes in a step.

        Parameters
        ----------
        step
            From 0.
        rank, world
            The process, and how many there are.
        """
        sizes = zip(self.members, self.batches, strict=True)
        counts = [ceil(len(members) / (batch * world)) for members, batch in sizes]
        this_round, place = divmod(step, sum(counts))
        order = self._draw(_ORDER, this_round).permutation(np.repeat(np.arange(len(counts)), counts))
        bucket = int(order[place])
        before = this_round * counts[bucket] + int((order[:place] == bucket).sum())
        first = (before * world + rank) * self.batches[bucket]
        return self._members_from(bucket, first, self.batches[bucket])

    def _members_from(self, bucket: int, first: int, count: int) -> list[int]:
        """Return members of a bucket from a place in the endless row of its permutations."""
        members = self.members[bucket]
        rows, skipped = range(first // len(members), (first + count - 1) // len(members) + 1), first % len(members)
        shown = np.concatenate([self._draw(_MEMBERS, bucket, row).permutation(members) for row in rows])
        return shown[skipped : skipped + count].tolist()

    def _draw(self, *parts: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *parts))
