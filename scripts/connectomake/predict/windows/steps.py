"""What a job does for each of its blocks: which windows, what they are read from, and what is kept of the block above.

Windows that reach from a block into the next one along z are computed once: their part of its sums is kept. Within a
chain, blocks that follow each other along z in one process, each window belongs to the first block that it reaches,
so a voxel's sum adds the same windows in the same order as if its block were computed alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import BlockGrid, Box, enclose
from connectomake.predict.windows.grid import WindowGrid
from connectomake.volumes.region import Region


def blocks_of_job(grid: BlockGrid, job: int, jobs: int) -> list[int]:
    """Return the numbers of the blocks of job `job` of `jobs`, in the order in which they are best computed.

    The blocks in column order (z fastest) are cut into `jobs` runs of nearly equal length.

    Parameters
    ----------
    grid
        The blocks.
    job, jobs
        Which job this is, from 0, and how many there are.

    Raises
    ------
    DataError
        There is no such job.
    """
    if not 0 <= job < jobs:
        raise DataError("no such job", expected=f"0 to {jobs - 1}", got=job)
    nz, ny, nx = grid.counts_zyx
    places = range(job * len(grid) // jobs, (job + 1) * len(grid) // jobs)
    return [place % nz * ny * nx + place // nz for place in places]


def job_of_block(grid: BlockGrid, jobs: int) -> Callable[[int], int]:
    """Return the function from a block's number to its job: the inverse of `blocks_of_job`."""
    nz, ny, nx = grid.counts_zyx

    def find(block: int) -> int:
        place = block % (ny * nx) * nz + block // (ny * nx)
        return ((place + 1) * jobs - 1) // len(grid)

    return find


@dataclass(frozen=True)
class Step:
    """One block of a chain; boxes are in voxels of the working volume.

    Parameters
    ----------
    block
        Its number.
    core
        What it covers.
    windows
        Numbers of the windows to compute, ascending, int64; none where the blocks above did all.
    reads
        The box around these windows; None where there are none.
    sums
        The box that has sums while the windows are added: what those above left, and what these reach.
    goes_on
        Whether there are sums of the step before to go on from.
    """

    block: int
    core: Box
    windows: np.ndarray
    reads: Box | None
    sums: Box
    goes_on: bool


def plan_steps(grid: WindowGrid, region: Region, blocks: BlockGrid, todo: Sequence[int]) -> list[Step]:
    """Divide the windows of blocks among them.

    Parameters
    ----------
    grid
        The windows of the working volume.
    region
        What is wanted.
    blocks
        The blocks of ``region.box``.
    todo
        Numbers of blocks, in the order of `blocks_of_job`.

    Returns
    -------
    list of Step
        One for each block of which anything is wanted, in the same order. It costs a few microseconds a window, more
        under a mask.
    """
    return [step for chain in find_chains(region, blocks, todo) for step in _plan_chain(grid, region, blocks, chain)]


def find_chains(region: Region, blocks: BlockGrid, todo: Sequence[int]) -> list[list[int]]:
    """Cut blocks into chains: runs of blocks, each right below the last, that all hold something wanted."""
    in_section = blocks.counts_zyx[1] * blocks.counts_zyx[2]
    found: list[list[int]] = []
    for block in todo:
        if not region.touches(locate(blocks, region, block)):
            continue
        if found and block - found[-1][-1] == in_section:
            found[-1].append(block)
        else:
            found.append([block])
    return found


def locate(blocks: BlockGrid, region: Region, block: int) -> Box:
    """Return the box of a block in voxels of the working volume."""
    return blocks[block].shift(region.box.start_zyx)


def _plan_chain(grid: WindowGrid, region: Region, blocks: BlockGrid, chain: Sequence[int]) -> list[Step]:
    cores = [locate(blocks, region, block) for block in chain]
    windows = _find_wanted(grid, region, enclose(cores))
    z_starts, y_starts, x_starts = grid.starts_zyx
    steps: list[Step] = []
    first = 0
    for block, core in zip(chain, cores, strict=True):
        sections = bisect_left(z_starts, core.stop_zyx[0])  # of windows that begin above the core's end
        last = int(np.searchsorted(windows, sections * len(y_starts) * len(x_starts)))
        reads = grid.hull_of(windows[first:last]) if last > first else None
        left = Box(core.start_zyx, cores[-1].stop_zyx)  # of the chain: sums are needed in no other voxels
        reached = [box.intersect(left) for box in (reads, steps[-1].sums if steps else None) if box is not None]
        sums = enclose([box for box in reached if box.size])
        steps.append(Step(block, core, windows[first:last], reads, sums, goes_on=bool(steps)))
        first = last
    return steps


def _find_wanted(grid: WindowGrid, region: Region, column: Box) -> np.ndarray:
    """Return the numbers, ascending, of the windows that touch a wanted voxel of a box."""
    parts = [crop.intersect(column) for crop in region.crops or (region.box,)]
    near = [grid.touching(part) for part in parts if part.size]
    found = np.unique(np.concatenate([np.array(numbers, np.int64) for numbers in near]))
    if region.stencil is None:
        return found
    touched = [region.touches(grid[int(number)].intersect(column)) for number in found]
    return found[np.array(touched, bool)]
