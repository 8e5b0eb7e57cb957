"""What a target is: something to learn, made from labels patch by patch; and what all of them need."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Literal, Protocol

import fastremap
import numpy as np

from connectomake.channels import Channel
from connectomake.geometry import Box, Triple, TripleNm, to_triple

MOST_CONTEXT_VX = 96
"""No target asks for more labels than this before and after a patch: they have to be read, turned and looked at."""


class Target(Protocol):
    """Something to learn, that can be computed from instance labels."""

    @property
    def channels(self) -> list[Channel]:
        """The channels that it fills, in order."""

    @property
    def context(self) -> tuple[Triple, Triple]:
        """How many voxels of labels it looks at before and after a patch (z, y, x each)."""

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Compute the target inside a patch.

        Parameters
        ----------
        labels
            (Z, Y, X) int64, not changed, 0 = background, -1 = unknown: the patch and what is known around it. What
            lies beyond the array is unknown too.
        patch
            The patch, in voxels of `labels`.

        Returns
        -------
        tuple of ndarray
            The values (C, Z, Y, X), uint8 where all channels are binary, else float32; and the mask (C, Z, Y, X)
            bool that is true where they are known. A value is known where nothing that is unknown could change it,
            and 0 where it is not known.
        """


def context_of_reach(
    reach_nm: float, voxel_size_zyx_nm: TripleNm, planes: Literal["3d", "2d"]
) -> tuple[Triple, Triple]:
    """Return the context, before and after a patch, of a target that looks so far.

    Parameters
    ----------
    reach_nm
        How far it looks along each axis, in nm.
    voxel_size_zyx_nm
        In nm.
    planes
        Whether it looks in space, or only within a section.
    """
    needed = [min(MOST_CONTEXT_VX, ceil(reach_nm / size)) for size in voxel_size_zyx_nm]
    reach = to_triple([0 if planes == "2d" else needed[0], *needed[1:]])
    return reach, reach


def crop_to_context(
    labels: np.ndarray, patch: Box, context: tuple[Sequence[int], Sequence[int]]
) -> tuple[np.ndarray, Box]:
    """Cut a patch with its context out of labels, as far as they go.

    Returns
    -------
    labels : ndarray
        (Z, Y, X), a view.
    patch : Box
        The patch in voxels of it.
    """
    before, after = context
    start = to_triple([max(0, a - c) for a, c in zip(patch.start_zyx, before, strict=True)])
    stop = to_triple([min(n, b + c) for n, b, c in zip(labels.shape, patch.stop_zyx, after, strict=True)])
    around = Box(start, stop)
    return labels[around.slices], patch.within(around)


def number_objects(labels: np.ndarray, is_2d: bool = False) -> tuple[np.ndarray, int]:
    """Return objects the numbers from 1, in 2d those of each section by themselves.

    Parameters
    ----------
    labels
        (Z, Y, X) int64; what is not above 0 becomes 0.
    is_2d
        Whether an object in two sections is two.

    Returns
    -------
    ids : ndarray
        (Z, Y, X) int64.
    count : int
        The largest id; in 2d some ids below it may be without voxels.
    """
    ids, found = fastremap.renumber(np.maximum(labels, 0), preserve_zero=True)
    ids, count = ids.astype(np.int64), len(found)
    if is_2d:
        ids = np.where(ids > 0, ids + count * np.arange(len(ids))[:, None, None], 0)
        count *= len(ids)
    return ids, count
