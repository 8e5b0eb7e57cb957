"""What every format hands over: an array in a file, in the file's own axis order, and what the file says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SPATIAL = "zyx"

PerAxis = Mapping[str, float] | tuple[float, ...]
"""A number per spatial axis: by the axis's letter, or in the order in which the array holds its spatial axes."""


@dataclass(frozen=True)
class Metadata:
    """What a file says about its axes and its place; None wherever it is silent.

    Parameters
    ----------
    axes
        One letter per axis of the array, as in ``czyx``.
    voxel_size_nm, offset_nm
        Voxel size, and position of the centre of the first voxel, in nm.
    offset_vx
        The same position in voxels, for files that tell it so.
    """

    axes: str | None = None
    voxel_size_nm: PerAxis | None = None
    offset_nm: PerAxis | None = None
    offset_vx: PerAxis | None = None


@dataclass(frozen=True)
class FileArray:
    """An array in a file or folder, read in parts; can be pickled, so that worker processes open the file themselves.

    Parameters
    ----------
    source
        Its path, with ``::dataset`` where there is one; for messages and for opening it again.
    kind
        What a person calls the format.
    shape, dtype
        As in the file, all axes.
    metadata
        What the file says about itself.
    fetch
        Function that reads the part in a tuple of slices, one per axis, as an array of the same rank.
    chunks
        The part that the file holds (and so decodes) as one, per axis; None where any part costs only its own bytes.
    usual_axes
        The format's axis order where the file does not state one; the config may say otherwise.
    """

    source: str
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    metadata: Metadata
    fetch: Callable[[tuple[slice, ...]], np.ndarray]
    chunks: tuple[int, ...] | None = None
    usual_axes: str | None = None
