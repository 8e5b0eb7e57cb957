"""Read label volumes of any size in blocks of a fixed number of voxels."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import BlockGrid, to_triple

if TYPE_CHECKING:
    from connectomake.volumes.volume import Readable

BLOCK_VX = 1 << 23  # 8 M voxels: 64 MB of uint64


def require_labels(volume: Readable) -> None:
    """Raise DataError unless this is a (Z, Y, X) volume of integers."""
    if volume.has_channels or volume.dtype.kind not in "iub":
        raise DataError(
            f"{volume.source} is not a label volume",
            expected="(Z, Y, X) integers",
            got=f"{volume.dtype}" + (f" with {volume.channels} channels" if volume.has_channels else ""),
        )


def reading_grid(volumes: list[Readable], block_vx: int) -> BlockGrid:
    """Cover volumes of one shape with blocks of whole chunks, so that hardly any chunk is decoded twice.

    Parameters
    ----------
    volumes
        What will be read block by block.
    block_vx
        Voxels of a block at most; a single chunk may be more, since it is decoded whole anyway.

    Returns
    -------
    BlockGrid
        Blocks as near to cubes as the chunks allow.
    """
    shape = np.array(volumes[0].shape_zyx)
    block = np.ones(3, np.int64)
    for chunk in (volume.file_chunks_zyx for volume in volumes):
        block = np.maximum(block, chunk or 1)
    block = np.minimum(block, np.maximum(shape, 1))
    while (block < shape).any():
        axis = int(np.argmin(np.where(block < shape, block, np.iinfo(np.int64).max)))
        larger = block.copy()
        larger[axis] *= 2
        if prod(np.minimum(larger, shape).tolist()) > block_vx:
            break
        block = larger
    return BlockGrid(to_triple(shape.tolist()), to_triple(block.tolist()))
