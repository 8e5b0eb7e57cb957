"""Write a plan down: a table, and lines to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from math import ceil
from pathlib import Path

from connectomake.planning.stages import Machine, Row
from connectomake.tables import QUOTED, write_table


def write_plan(rows: Sequence[Row], path: Path) -> None:
    """Write all rows as TSV, numbers with four digits.

    Raises
    ------
    DataError
        The disk refuses.
    """
    values = ([f"{v:.4g}" if isinstance(v, float) else v for v in asdict(row).values()] for row in rows)
    write_table(path, [field.name for field in fields(Row)], values, QUOTED)


def describe(rows: Sequence[Row], machine: Machine) -> Iterator[str]:
    """Return the plan as lines: one for each stage and volume, sums of the stages, and how long all of it takes.

    Parameters
    ----------
    rows
        Of `plan_stages`.
    machine
        What they were planned for.
    """
    heads = f"{'GPU hours':>10} {'core hours':>10} {'GB stored':>10} {'GB memory':>9}"
    yield f"{'stage':8} {'volume':24} {'jobs':>7} {heads}   from"
    for row in rows:
        numbers = f"{_short(row.gpu_hours):>10} {_short(row.cpu_hours):>10} {_short(row.storage_gb):>10}"
        what = f"{row.stage:8} {(row.volume or row.name)[-24:]:24} {row.jobs:7}"
        yield f"{what} {numbers} {_short(row.memory_gb):>9}   {row.told_by}"
    yield ""
    total = 0.0
    for stage in dict.fromkeys(row.stage for row in rows):
        hours = time_of_stage([row for row in rows if row.stage == stage], machine)
        total += hours
        yield f"{stage:8} {_short(hours):>9} h with {machine.gpus} GPUs and {machine.cores} cores"
    sums = [sum(getattr(row, key) for row in rows) for key in ("gpu_hours", "cpu_hours", "storage_gb")]
    yield (
        f"in all   {_short(total):>9} h; {sum(row.jobs for row in rows)} jobs, {_short(sums[0])} hours of a GPU, "
        f"{_short(sums[1])} of a core, {_short(sums[2])} GB before compression"
    )
    yield "rates of a GPU are guesses for an old one (T4), a new one may take a tenth; no waiting in queues is counted"


def time_of_stage(rows: Sequence[Row], machine: Machine) -> float:
    """Return the hours from the first job of a stage to its last: as much as its volumes take together or the longest.

    Parameters
    ----------
    rows
        Of one stage.
    machine
        Volumes share it.
    """
    shared = sum(row.gpu_hours for row in rows) / max(1, machine.gpus)
    shared += sum(row.cpu_hours for row in rows) / max(1, machine.cores)
    return max(shared, max(row.wall_hours for row in rows))


def _short(value: float) -> str:
    """Write a number with three digits, large ones whole, and of small ones that they are."""
    if value >= 1000:
        return f"{ceil(value)}"
    return f"{value:.3g}" if value >= 0.01 or not value else "<0.01"
