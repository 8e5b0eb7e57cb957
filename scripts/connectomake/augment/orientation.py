"""Mirrors and quarter turns: one of the 48 ways to lay a box of voxels on the axes.

The orientation is drawn before anything is read, so that the labels around the patch are read on the sides where they
will be needed, and no voxel is read in vain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectomake.config.settings.augment import FlipConfig, RotateConfig
from connectomake.geometry import Triple, Turn, to_triple

AXES = "zyx"
SAME_SIZE = 0.01  # voxel sizes that differ by less than 1 % count as equal


class Orientation(Turn):
    """A turn of arrays."""

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Turn a (..., Z, Y, X) array; a view."""
        first = array.ndim - 3
        turned = array.transpose(*range(first), *(first + axis for axis in self.order))
        return turned[(..., *(slice(None, None, -1 if m else None) for m in self.mirrored))]

    def context_in_source(self, before_zyx: Sequence[int], after_zyx: Sequence[int]) -> tuple[Triple, Triple]:
        """Return the voxels before and after a source box that come to lie before and after the result."""
        swapped = [(a, b) if m else (b, a) for b, a, m in zip(before_zyx, after_zyx, self.mirrored, strict=True)]
        return self._to_source([b for b, _ in swapped]), self._to_source([a for _, a in swapped])

    def _to_source(self, values: Sequence[int]) -> Triple:
        return to_triple([values[self.order.index(axis)] for axis in range(3)])


def draw_orientation(
    rng: np.random.Generator,
    flip: FlipConfig | None,
    rotate: RotateConfig | None,
    voxel_size_zyx_nm: Sequence[float],
    patch_zyx: Sequence[int],
) -> Orientation:
    """Draw how a patch shall lie.

    Parameters
    ----------
    rng
        Draws the same numbers whatever the outcome.
    flip, rotate
        What is allowed, and how often.
    voxel_size_zyx_nm, patch_zyx
        Only axes that are equal in both are exchanged: an exchange must not change what a voxel is, nor the patch's
        shape.

    Returns
    -------
    Orientation
        With probability ``rotate.probability`` any order of the exchangeable axes, all equally likely; each axis
        mirrored with ``flip.probability``.
    """
    chances, shuffled = rng.random(4), rng.permutation(3)
    order = [0, 1, 2]
    if rotate is not None and chances[3] < rotate.probability:
        order = _exchange(shuffled, voxel_size_zyx_nm, patch_zyx)
    mirrored = [flip is not None and axis in flip.axes and chances[i] < flip.probability for i, axis in enumerate(AXES)]
    return Orientation(to_triple(order), (mirrored[0], mirrored[1], mirrored[2]))


def _exchange(shuffled: np.ndarray, voxel_size_zyx_nm: Sequence[float], patch_zyx: Sequence[int]) -> list[int]:
    """Put axes in the order of `shuffled` as far as only equal ones change places."""
    groups: dict[int, list[int]] = {}  # first axis of its kind -> all axes that may take each other's place
    for axis in range(3):
        first = next(o for o in range(axis + 1) if _are_equal(o, axis, voxel_size_zyx_nm, patch_zyx))
        groups.setdefault(first, []).append(axis)
    order = [0, 1, 2]
    for members in groups.values():
        for axis, source in zip(members, (int(s) for s in shuffled if s in members), strict=True):
            order[axis] = source
    return order


def _are_equal(a: int, b: int, voxel_size_zyx_nm: Sequence[float], patch_zyx: Sequence[int]) -> bool:
    close = abs(voxel_size_zyx_nm[a] / voxel_size_zyx_nm[b] - 1) < SAME_SIZE
    return close and patch_zyx[a] == patch_zyx[b]
