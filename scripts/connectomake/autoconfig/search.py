"""What sizes of a training step there are to choose from, and which is the largest that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor, prod
from typing import TypeVar

from connectomake.geometry import Triple, to_triple

T = TypeVar("T")


def bisect_largest(candidates: Sequence[T], fits: Callable[[T], bool]) -> int:
    """Find the last candidate that fits.

    Parameters
    ----------
    candidates
        In ascending order of size: where one does not fit, none after it does.
    fits
        Asked at most log2(n) + 1 times.

    Returns
    -------
    int
        Its place; -1 where not even the first fits.
    """
    low, high = -1, len(candidates)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(candidates[middle]) else (low, middle)
    return low


def divisors(number: int) -> list[int]:
    """Return all divisors, ascending: the batches that can be accumulated to an effective batch.

    Examples
    --------
    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    return [d for d in range(1, number + 1) if number % d == 0]


def patch_sizes(patch_zyx: Sequence[int], divisor_zyx: Sequence[int], largest: float = 1.0) -> list[Triple]:
    """Return patches of about the same proportions that a network can take, ascending.

    Parameters
    ----------
    patch_zyx
        The patch whose proportions they have.
    divisor_zyx
        What sides must be multiples of.
    largest
        The largest has sides of so many times those of `patch_zyx`.

    Examples
    --------
    >>> patch_sizes((64, 64, 64), (16, 16, 16))
    [(32, 32, 32), (48, 48, 48), (64, 64, 64)]
    """
    steps = max(side // d for side, d in zip(patch_zyx, divisor_zyx, strict=True))
    found = set()
    for step in range(1, floor(steps * largest) + 1):
        sides = [max(d, side * step // steps // d * d) for side, d in zip(patch_zyx, divisor_zyx, strict=True)]
        if sides != list(divisor_zyx):  # one voxel is left at the coarsest level, and has no variance
            found.add(to_triple(sides))
    return sorted(found, key=lambda sides: (prod(sides), sides))
