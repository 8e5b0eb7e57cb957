"""Count the voxels of every label of a volume of any size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import fastremap
import numpy as np

from connectomake.log import progress
from connectomake.volumes.label_volumes import BLOCK_VX, reading_grid

if TYPE_CHECKING:
    from connectomake.geometry import Box
    from connectomake.volumes.volume import Volume

_WAITING = 1 << 20  # labels of finished blocks that wait to be added up


def find_small(labels: Volume, least_vx: int, *, block_vx: int = BLOCK_VX, threads: int = 1) -> np.ndarray:
    """Find the labels that have fewer voxels than some number, counted in the whole volume.

    Parameters
    ----------
    labels
        (Z, Y, X) integers. It is read once, unless no label can be that small.
    least_vx
        A label of so many voxels is large enough.
    block_vx
        Voxels read at a time by each thread.
    threads
        Blocks counted at the same time.

    Returns
    -------
    ndarray
        (S,) labels, sorted, in the volume's dtype; 0 among them only where it is that rare.
    """
    if least_vx <= 1:
        return np.zeros(0, labels.dtype)
    ids, counts = count_labels(labels, block_vx=block_vx, threads=threads)
    return ids[counts < least_vx]


def count_labels(labels: Volume, *, block_vx: int = BLOCK_VX, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Count voxels by label, block by block.

    Parameters
    ----------
    labels, block_vx, threads
        See `find_small`.

    Returns
    -------
    ids
        (L,) the labels that occur, sorted, in the volume's dtype.
    counts
        (L,) int64 voxels of each.
    """
    grid = reading_grid([labels], block_vx)
    found = [(np.zeros(0, labels.dtype), np.zeros(0, np.int64))]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for block in progress(pool.map(partial(_count_block, labels), grid), total=len(grid)):
            found.append(block)
            if sum(len(ids) for ids, _ in found[1:]) > max(_WAITING, len(found[0][0])):
                found = [_add(found)]
    return _add(found)


def _count_block(labels: Volume, box: Box) -> tuple[np.ndarray, np.ndarray]:
    array = labels.read(box)
    ids, counts = fastremap.unique(array.view(np.uint8) if array.dtype == bool else array, return_counts=True)
    return ids.astype(labels.dtype), counts.astype(np.int64)


def _add(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    ids, where = np.unique(np.concatenate([ids for ids, _ in found]), return_inverse=True)
    counts = np.zeros(len(ids), np.int64)
    np.add.at(counts, where, np.concatenate([counts for _, counts in found]))
    return ids, counts
