"""One job's share of the blocks of a store: what label_blocks and relabel_blocks do around their own work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from connectomake.files import write_json
from connectomake.geometry import BlockGrid
from connectomake.ledger import Ledger, job_name
from connectomake.log import progress
from connectomake.pipeline import run_overlapped

Loaded = TypeVar("Loaded")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


def run_block_job(
    ledger: Ledger,
    blocks: BlockGrid,
    job: int,
    jobs: int,
    read: Callable[[int], Loaded],
    compute: Callable[[int, Loaded], Result],
    write: Callable[[int, Result], None],
    marker: Path | None,
) -> None:
    """Take the blocks job, job + jobs, job + 2 jobs, ... that are not in the ledger through read, compute and write.

    Parameters
    ----------
    ledger
        Of the store; a block is put into it after it was written.
    blocks
        The grid.
    job, jobs
        Which job this is, from 0, and how many there are.
    read, compute, write
        See `run_overlapped`.
    marker
        A small file that says the job is done; written last.
    """
    mine = blocks.of_job(job, jobs)
    todo = sorted(set(mine) - ledger.done())
    log.info("this job has %d blocks, %d done before", len(mine), len(mine) - len(todo))
    ticks = progress(todo)
    next(ticks, None)

    def write_and_mark(block: int, result: Result) -> None:
        write(block, result)
        ledger.mark(block, job_name(job, jobs))
        next(ticks, None)

    run_overlapped(todo, read, compute, write_and_mark)
    if marker is not None:
        counts = {"blocks": len(mine), "computed": len(todo)}
        write_json(marker, {"job": job, "jobs": jobs, "settings_hash": ledger.settings_hash, **counts})
