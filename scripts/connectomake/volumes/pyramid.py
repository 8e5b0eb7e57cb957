"""Stores with coarser levels beside their voxels, so that a viewer of a large volume reads little.

What the levels are is said in `volumes.levels`. Jobs write those that their blocks hold whole, and the rest, which is
small, is made at the end::

    pyramid = create_pyramid(store, shape=(C, Z, Y, X), shard_zyx=block_zyx_vx, ...)   # in every job
    pyramid.write_block(box, values)            # a block of BlockGrid((Z, Y, X), block_zyx_vx), all its levels
    create_pyramid(store, ...).fill_coarse()    # once, after all blocks
    finish_store(store, attributes=...)

Every voxel of every level depends on the store's voxels alone: not on blocks, jobs or interruptions. The ledger marks a
block after `write_block`: one that was killed between two levels is computed again, and gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from connectomake.errors import DataError
from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.volumes.levels import Level, average, plan_levels
from connectomake.volumes.store import CHUNK_ZYX, create_store

if TYPE_CHECKING:
    import zarr


@dataclass(frozen=True)
class Pyramid:
    """The levels of a store that is being written; made by `create_pyramid`.

    Several threads may write different blocks at once.

    Parameters
    ----------
    path
        The store's folder.
    levels
        All of them, the finest first.
    arrays
        The arrays of those that are written block by block, (C, Z, Y, X).
    """

    path: Path
    levels: tuple[Level, ...]
    arrays: tuple[zarr.Array, ...]

    def write_block(self, box: Box, values: np.ndarray) -> None:
        """Write a block at all levels that it holds whole; each file by temporary file and rename.

        Where all values of a chunk are 0 nothing is written.

        Parameters
        ----------
        box
            A block of the grid whose blocks are the shards of the finest level.
        values
            (C, Z, Y, X) of the block, of the store's type.

        Raises
        ------
        DataError
            The box is no such block, the values do not fit it, or the disk refuses.
        """
        shape = (self.arrays[0].shape[0], *box.shape_zyx)
        if values.shape != shape or values.dtype != self.arrays[0].dtype:
            raise DataError(
                f"the values do not fit a block of {self.path}",
                expected=f"{shape} {self.arrays[0].dtype}",
                got=f"{values.shape} {values.dtype}",
            )
        self._check_block(box)
        for level, finer, array in zip(self.levels, (None, *self.levels), self.arrays, strict=False):
            if finer is not None:
                values = average(values, _steps(finer, level))
            start = [a // f for a, f in zip(box.start_zyx, level.factor_zyx, strict=True)]
            part = Box.of_shape(values.shape[1:]).shift(start)
            array[(slice(None), *part.slices)] = values

    def fill_coarse(self, threads: int = 1) -> None:
        """Make the levels that no job writes, each from the one before, in memory that does not grow with the volume.

        Parameters
        ----------
        threads
            Blocks at once, each with up to about 0.3 GB.

        Raises
        ------
        DataError
            The disk refuses.
        """
        arrays = list(self.arrays)
        for finer, level in zip(self.levels[len(arrays) - 1 :], self.levels[len(arrays) :], strict=False):
            arrays.append(_create_level(self.path, level, arrays[0].shape[0], arrays[0].dtype))
            _fill(arrays[-2], arrays[-1], _steps(finer, level), level.shard_zyx, threads)

    def _check_block(self, box: Box) -> None:
        finest = self.levels[0]
        sides = zip(box.start_zyx, box.stop_zyx, finest.shard_zyx, finest.shape_zyx, strict=True)
        if any(a % side or b != min(a + side, n) for a, b, side, n in sides):
            raise DataError(
                f"no block of {self.path}",
                expected=f"a block of the grid of {finest.shard_zyx} in {finest.shape_zyx} (z, y, x)",
                got=f"{box.start_zyx} to {box.stop_zyx}",
            )


def create_pyramid(
    path: Path,
    *,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    chunk_zyx: Sequence[int] = CHUNK_ZYX,
    shard_zyx: Sequence[int],
    voxel_size_zyx_nm: Sequence[float],
    offset_zyx_nm: Sequence[float],
    coarser: bool = True,
) -> Pyramid:
    """Make the arrays of a store that jobs write, or open them where any job made them before.

    Parameters
    ----------
    path
        The store's folder.
    shape
        (C, Z, Y, X).
    dtype
        uint8, float16 or float32. Means of uint8 are rounded, half up; those of floats are taken in float32.
    chunk_zyx, shard_zyx, voxel_size_zyx_nm, offset_zyx_nm
        Of the finest level; see `create_store`. A shard is a block.
    coarser
        Whether there are coarser levels at all.

    Raises
    ------
    ResumeMismatchError, DataError
        See `create_store`.
    """
    levels = plan_levels(
        shape, dtype, chunk_zyx, shard_zyx, voxel_size_zyx_nm=voxel_size_zyx_nm, offset_zyx_nm=offset_zyx_nm
    )
    levels = levels if coarser else levels[:1]
    arrays = [_create_level(path, level, shape[0], dtype) for level in levels if level.in_blocks]
    return Pyramid(Path(path), levels, tuple(arrays))


def _create_level(path: Path, level: Level, channels: int, dtype: npt.DTypeLike) -> zarr.Array:
    return create_store(
        path,
        level=level.name,
        shape=(channels, *level.shape_zyx),
        dtype=dtype,
        chunk_zyx=level.chunk_zyx,
        shard_zyx=level.shard_zyx,
        voxel_size_zyx_nm=level.voxel_size_zyx_nm,
        offset_zyx_nm=level.offset_zyx_nm,
    )


def _fill(fine: zarr.Array, coarse: zarr.Array, steps_zyx: Triple, shard_zyx: Triple, threads: int) -> None:
    """Write a whole level from the one before it."""
    whole = Box.of_shape(fine.shape[1:])

    def fill(box: Box) -> None:
        start, stop = ([n * s for n, s in zip(side, steps_zyx, strict=True)] for side in (box.start_zyx, box.stop_zyx))
        part = Box(to_triple(start), to_triple(stop)).intersect(whole)
        coarse[(slice(None), *box.slices)] = average(np.asarray(fine[(slice(None), *part.slices)]), steps_zyx)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, BlockGrid(to_triple(coarse.shape[1:]), shard_zyx)))


def _steps(finer: Level, level: Level) -> Triple:
    return to_triple([b // a for a, b in zip(finer.factor_zyx, level.factor_zyx, strict=True)])
