"""Write a volume block by block, each computed when it is written."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from connectomake.geometry import BlockGrid, Box, Triple
from connectomake.log import progress
from connectomake.volumes.store import create_store, finish_store, fit_shard, remove_store
from connectomake.volumes.volume import Lattice


def choose_blocks(shape_zyx: Triple) -> BlockGrid:
    """Divide a crop into blocks, each a shard of its stores: up to 256 voxels a side."""
    return BlockGrid(shape_zyx, fit_shard(shape_zyx, np.uint32))


def write_blocks(
    store: Path,
    grid: Lattice,
    dtype: npt.DTypeLike,
    compute: Callable[[Box], np.ndarray],
    *,
    threads: int = 1,
    is_temporary: bool = False,
) -> None:
    """Write a store from nothing; one that lies there is replaced.

    Parameters
    ----------
    store
        Its folder.
    grid
        Its voxels.
    dtype
        Type of the values.
    compute
        Gives the (Z, Y, X) values of a block; called by several threads.
    threads
        Blocks at a time.
    is_temporary
        Whether to compress for speed alone.

    Raises
    ------
    DataError
        The disk refuses, or what `compute` raises.
    """
    remove_store(store)
    blocks = choose_blocks(grid.shape_zyx)
    array = create_store(
        store,
        shape=grid.shape_zyx,
        dtype=dtype,
        shard_zyx=blocks.block_zyx,
        voxel_size_zyx_nm=grid.voxel_size_zyx_nm,
        offset_zyx_nm=grid.offset_zyx_nm,
        is_temporary=is_temporary,
    )

    def fill(box: Box) -> None:
        array[box.slices] = compute(box)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for _ in progress(pool.map(fill, blocks), len(blocks)):
            pass
    finish_store(store, attributes={})
