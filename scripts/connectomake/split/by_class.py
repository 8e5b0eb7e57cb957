"""Choose what to validate on, so that each class has its share there and none is without.

Whole units (crops, or datasets) are kept for validation. Chance leaves rare classes without validation, and gives
others far too much or too little where a few units hold most of a class. Here what is wrong with a choice is a number,
made small by moving and exchanging units. Every other start deals out the units of the rarest classes first, as do
Sechidis, Tsoumakas & Vlahavas (2011), *On the stratification of multi-label data*, and ends nearer to the shares; the
others are random, and leave fewer classes without validation where that is hard to avoid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MISSING = 1e3
"""Cost of a class without training or validation: above the squared deviations of hundreds of classes."""
MOST_TRIED = 12
STARTS = 16
SMALLEST_GAIN = 1e-9  # far above the rounding of sums


@dataclass(frozen=True)
class Balance:
    """What makes one choice of units better than another.

    Parameters
    ----------
    shares
        (units, classes) float64: part of a class's voxels that lie in a unit; columns sum to 1.
    holds
        (units, classes) bool: which units have the class.
    fraction
        Share that is wanted in validation.
    """

    shares: np.ndarray
    holds: np.ndarray
    fraction: float

    @classmethod
    def of_voxels(cls, present: np.ndarray, fraction: float) -> Balance:
        """Take (units, classes) voxels; classes that fewer than two units have are left out: nothing can be chosen."""
        some = present[:, (present > 0).sum(0) > 1]
        return cls(some / some.sum(0), some > 0, fraction)

    @property
    def terms(self) -> np.ndarray:
        """(units, 2 x classes) float64: what is summed over the units that validate, for `cost`."""
        return np.hstack([self.shares, self.holds])

    def cost(self, sums: np.ndarray) -> np.ndarray:
        """Return how bad choices are.

        Parameters
        ----------
        sums
            (..., 2 x classes) sums of `terms` over the units that validate.

        Returns
        -------
        ndarray
            (...) sum over classes of the squared deviation from the fraction, and `MISSING` for each class that is not
            both trained on and validated.
        """
        share, count = np.split(sums, 2, axis=-1)
        lacks = (count == 0) | (count == self.holds.sum(0))
        return ((share - self.fraction) ** 2 + MISSING * lacks).sum(-1)


def choose_validation(present: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose the units to validate on.

    Parameters
    ----------
    present
        (units, classes) voxels that a class has in a unit, >= 0.
    fraction
        Share of each class's voxels that is wanted in validation, in (0, 1).
    seed
        Chooses among about equally good ones.

    Returns
    -------
    ndarray
        (units,) bool. A unit that alone has some class, or has none, is trained on. Of up to 12 others the choice is
        the best there is; of more, the best of 16 searches: a second for 300 units and 50 classes.
    """
    chosen = np.zeros(len(present), bool)
    free = np.random.default_rng(seed).permutation(np.flatnonzero(may_validate(present)))
    balance = Balance.of_voxels(present, fraction)
    terms = balance.terms[free]
    chosen[free] = _try_all(terms, balance) if free.size <= MOST_TRIED else _search(terms, balance, seed)
    return chosen


def may_validate(present: np.ndarray) -> np.ndarray:
    """Return which units have a class, and none that no other has: (units, classes) voxels give (units,) bool."""
    holds = np.asarray(present) > 0
    return np.logical_and(holds.any(1), ~holds[:, holds.sum(0) == 1].any(1))


def _try_all(terms: np.ndarray, balance: Balance) -> np.ndarray:
    """Return the best of all choices."""
    choices = (np.arange(2 ** len(terms))[:, None] >> np.arange(len(terms))) & 1
    return choices[balance.cost(choices @ terms).argmin()].astype(bool)


def _search(terms: np.ndarray, balance: Balance, seed: int) -> np.ndarray:
    """Return the best choice that is found from several starts."""
    rng = np.random.default_rng(seed)
    starts = [
        rng.random(len(terms)) < balance.fraction if number % 2 else _deal_out(terms, balance, rng)
        for number in range(STARTS)
    ]
    found = [_improve(start, terms, balance) for start in starts]
    return min(found, key=lambda validates: float(balance.cost(validates @ terms)))


def _deal_out(terms: np.ndarray, balance: Balance, rng: np.random.Generator) -> np.ndarray:
    """Go through the classes, that with the fewest units left first, and give its units to the side that lacks more."""
    share, holds = np.split(terms, 2, axis=-1)
    validates, is_left = np.zeros(len(terms), bool), np.ones(len(terms), bool)
    while is_left.any():
        left = holds[is_left].sum(0)
        rarest = np.where(left > 0, left, np.inf).argmin()
        for unit in rng.permutation(np.flatnonzero(is_left & (holds[:, rarest] > 0))):
            validates[unit] = share[validates, rarest].sum() + share[unit, rarest] / 2 < balance.fraction
            is_left[unit] = False
    return validates


def _improve(validates: np.ndarray, terms: np.ndarray, balance: Balance) -> np.ndarray:
    """Move single units, and exchange two where that does not help, until neither does."""
    while True:
        sums = validates @ terms
        limit = float(balance.cost(sums)) - SMALLEST_GAIN
        costs = balance.cost(sums + np.where(validates, -1, 1)[:, None] * terms)
        changed = [costs.argmin()] if costs.min() < limit else _find_exchange(validates, terms, balance, limit)
        if not changed:
            return validates
        validates[changed] ^= True


def _find_exchange(validates: np.ndarray, terms: np.ndarray, balance: Balance, limit: float) -> list[np.intp]:
    """Find a unit of each side that, exchanged, cost less than the limit; none where there are none."""
    sums, others = validates @ terms, np.flatnonzero(~validates)
    for unit in np.flatnonzero(validates) if others.size else ():
        costs = balance.cost(sums - terms[unit] + terms[others])
        if costs.min() < limit:
            return [unit, others[costs.argmin()]]
    return []
