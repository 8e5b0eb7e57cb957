"""The levels of a store: which voxels they have, how they are cut into files, and the means that fill them.

A level halves the axes whose voxels are fine, so that voxels become cubes and then stay cubes. Voxel i of a halved axis
is the mean of voxels 2 i and 2 i + 1 of the level before, or of 2 i alone at the far face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

import numpy as np
import numpy.typing as npt
from numba import njit
from numpy.typing import NDArray

from connectomake.geometry import Triple, TripleNm, to_triple, to_triple_nm
from connectomake.volumes.store import fit_shard, name_level

LONGEST_VX = 256  # of the coarsest level
COARSER = 2**0.5  # voxels that are longer than the shortest by more than this are not made longer still
LEAST_OF_CHUNK = 8  # a file of fewer voxels than this part of a chunk is not worth writing for each block
COARSE_BYTES = 2**24  # of a shard that is made at the end, for which eight times as much is read
_SLAB = 16


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Parameters
    ----------
    name
        Of its array in the store.
    factor_zyx
        The voxels of the finest level that one of its voxels stands for, along each axis.
    shape_zyx
        Its voxels; those at the far faces may stand for fewer.
    chunk_zyx, shard_zyx
        See `create_store`.
    voxel_size_zyx_nm, offset_zyx_nm
        Voxel size, and centre of its first voxel.
    in_blocks
        Whether its shard is what it has of a block, so that the job that computes the block writes it.
    """

    name: str
    factor_zyx: Triple
    shape_zyx: Triple
    chunk_zyx: Triple
    shard_zyx: Triple
    voxel_size_zyx_nm: TripleNm
    offset_zyx_nm: TripleNm
    in_blocks: bool


def plan_levels(
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    chunk_zyx: Sequence[int],
    shard_zyx: Sequence[int],
    *,
    voxel_size_zyx_nm: Sequence[float],
    offset_zyx_nm: Sequence[float],
) -> tuple[Level, ...]:
    """Lay out all levels of a store, down to one of at most 256 voxels a side.

    Parameters
    ----------
    shape
        (C, Z, Y, X) of the finest.
    dtype
        Type of the values.
    chunk_zyx, shard_zyx
        Of the finest; a shard is a block.
    voxel_size_zyx_nm, offset_zyx_nm
        Of the finest, in nm.
    """
    finest = Level(
        name=name_level(0),
        factor_zyx=(1, 1, 1),
        shape_zyx=to_triple(shape[-3:]),
        chunk_zyx=to_triple(chunk_zyx),
        shard_zyx=to_triple(shard_zyx),
        voxel_size_zyx_nm=to_triple_nm(voxel_size_zyx_nm),
        offset_zyx_nm=to_triple_nm(offset_zyx_nm),
        in_blocks=True,
    )
    levels = [finest]
    while max(levels[-1].shape_zyx) > LONGEST_VX:
        levels.append(_plan_next(levels, shape[0], dtype))
    return tuple(levels)


def choose_steps(shape_zyx: Sequence[int], voxel_size_zyx_nm: Sequence[float]) -> Triple:
    """Return 2 for the axes that the next level halves, and 1 for those whose voxels are too long already, or but one.

    >>> choose_steps((100, 1000, 1000), (30, 8, 8)), choose_steps((100, 250, 250), (30, 32, 32))
    ((1, 2, 2), (2, 2, 2))
    """
    shortest = min(size for n, size in zip(shape_zyx, voxel_size_zyx_nm, strict=True) if n > 1)
    sizes = zip(shape_zyx, voxel_size_zyx_nm, strict=True)
    return to_triple([2 if n > 1 and size <= COARSER * shortest else 1 for n, size in sizes])


def average(values: NDArray, steps_zyx: Sequence[int]) -> NDArray:
    """Return the means of 1 or 2 voxels along each axis; at the far faces, of those that there are.

    About 6 billion voxels of uint8, or 0.27 billion of float16, in a second on one core.

    Parameters
    ----------
    values
        (C, Z, Y, X) uint8, float16 or float32.
    steps_zyx
        1 or 2 for each axis.

    Returns
    -------
    ndarray
        (C, ceil(Z / step), ...) of the same type: uint8 rounded, half up; floats as summed in float32.
    """
    shape = [ceil(n / step) for n, step in zip(values.shape[1:], steps_zyx, strict=True)]
    coarse = np.empty((len(values), *shape), values.dtype)
    for channel, low in product(range(len(values)), range(0, shape[0], _SLAB)):
        fine = values[channel, low * steps_zyx[0] : (low + _SLAB) * steps_zyx[0]]
        into = coarse[channel, low : low + _SLAB]
        if values.dtype != np.float16:
            _average(fine, to_triple(steps_zyx), np.float32(0.5 if values.dtype == np.uint8 else 0), into)
            continue
        means = np.empty(into.shape, np.float32)  # compiled code has no float16
        _average(fine.astype(np.float32), to_triple(steps_zyx), np.float32(0), means)
        into[...] = means
    return coarse


@njit(cache=True, nogil=True, error_model="numpy")
def _average(fine, steps_zyx, added, coarse):  # type: ignore[no-untyped-def]
    """Write the means of `fine` (Z, Y, X), plus a number, into `coarse`; sums of 8 bytes are exact in float32."""
    depth, height, width = fine.shape
    step_z, step_y, step_x = steps_zyx
    total = np.empty(width, np.float32)
    for z in range(coarse.shape[0]):
        for y in range(coarse.shape[1]):
            planes = range(z * step_z, min((z + 1) * step_z, depth))
            rows = range(y * step_y, min((y + 1) * step_y, height))
            total[:] = 0
            for a in planes:
                for b in rows:
                    for x in range(width):
                        total[x] += np.float32(fine[a, b, x])
            share = np.float32(1 / (len(planes) * len(rows)))  # of a power of two: exact
            if step_x == 1:
                for x in range(width):
                    coarse[z, y, x] = total[x] * share + added
                continue
            for x in range(width // 2):
                coarse[z, y, x] = (total[2 * x] + total[2 * x + 1]) * (share * np.float32(0.5)) + added
            if width % 2:
                coarse[z, y, width // 2] = total[width - 1] * share + added


def _plan_next(levels: Sequence[Level], channels: int, dtype: npt.DTypeLike) -> Level:
    """Lay out the level after these."""
    finest, finer = levels[0], levels[-1]
    steps = choose_steps(finer.shape_zyx, finer.voxel_size_zyx_nm)
    factor = to_triple([f * s for f, s in zip(finer.factor_zyx, steps, strict=True)])
    shape = to_triple([ceil(n / s) for n, s in zip(finer.shape_zyx, steps, strict=True)])
    shard = to_triple([n // f for n, f in zip(finest.shard_zyx, factor, strict=True)])
    is_whole = all(n * f == side for n, f, side in zip(shard, factor, finest.shard_zyx, strict=True))
    in_blocks = finer.in_blocks and is_whole and prod(shard) * LEAST_OF_CHUNK >= prod(finest.chunk_zyx)
    if not in_blocks:
        shard = fit_shard((channels, *shape), dtype, finest.chunk_zyx, most_bytes=COARSE_BYTES)
    sizes = zip(finest.offset_zyx_nm, finest.voxel_size_zyx_nm, factor, strict=True)
    return Level(
        name=name_level(len(levels)),
        factor_zyx=factor,
        shape_zyx=shape,
        chunk_zyx=to_triple([_largest_divisor(n, most) for n, most in zip(shard, finest.chunk_zyx, strict=True)]),
        shard_zyx=shard,
        voxel_size_zyx_nm=to_triple_nm([size * f for size, f in zip(finest.voxel_size_zyx_nm, factor, strict=True)]),
        offset_zyx_nm=to_triple_nm([offset + size * (f - 1) / 2 for offset, size, f in sizes]),
        in_blocks=in_blocks,
    )


def _largest_divisor(side: int, most: int) -> int:
    return max(n for n in range(1, most + 1) if side % n == 0)
