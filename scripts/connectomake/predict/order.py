"""Which blocks a job takes, and in which order: columns of blocks along z, so that windows are computed once there."""

from __future__ import annotations

from collections.abc import Callable

from connectomake.errors import DataError
from connectomake.geometry import BlockGrid


def blocks_of_job(grid: BlockGrid, job: int, jobs: int) -> list[int]:
    """Give the numbers of the blocks of job `job` of `jobs`, in the order in which they are best computed.

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
    """Give the function from a block's number to its job: the inverse of `blocks_of_job`."""
    nz, ny, nx = grid.counts_zyx

    def find(block: int) -> int:
        place = block % (ny * nx) * nz + block // (ny * nx)
        return ((place + 1) * jobs - 1) // len(grid)

    return find
