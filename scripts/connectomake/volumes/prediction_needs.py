"""What a prediction takes, as its plan.json says. The workflow reads it before jobs start: nothing heavy is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from connectomake.volumes.contract import Record, read_record

PLAN_VERSION = 1
AGAIN = "delete it and run plan_prediction again"


@dataclass(frozen=True)
class PredictionNeeds:
    """What the jobs of a prediction take; made by `predict.cost.estimate.estimate_needs`.

    Parameters
    ----------
    memory_bytes
        Memory of each job, by part.
    mem_mb
        The sum of that, and a margin.
    windows, windows_computed
        How many windows there are, and how many are computed: those at borders between blocks in y and x twice.
    flops
        Of all jobs together.
    minutes, most_minutes
        Of all jobs together, and with a safety of three.
    start_minutes
        Of each job, besides.
    """

    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    mem_mb: int = 0
    windows: int = 0
    windows_computed: int = 0
    flops: float = 0
    minutes: float = 0.0
    most_minutes: float = 0.0
    start_minutes: float = 0.0

    @classmethod
    def read(cls, plan_json: Path) -> PredictionNeeds:
        """Read them in a plan of a prediction.

        Raises
        ------
        MissingDataError
            There is no plan.
        DataError
            The file is of a version that is not known, damaged, or lacks something; the line says what.
        """
        return cls.of_record(read_record(plan_json, PLAN_VERSION, AGAIN).section("needs"))

    @classmethod
    def of_record(cls, record: Record) -> PredictionNeeds:
        """Take them out of a plan; of an older one, times may be missing, which is 0."""
        memory = record.section("memory_bytes")
        minutes, most, start = (
            record.optional(record.number, key) for key in ("minutes", "most_minutes", "start_minutes")
        )
        return cls(
            memory_bytes={part: memory.whole(part) for part in memory.values},
            mem_mb=record.whole("mem_mb"),
            windows=record.whole("windows"),
            windows_computed=record.whole("windows_computed"),
            flops=record.number("flops"),
            minutes=minutes or 0.0,
            most_minutes=most or 0.0,
            start_minutes=start or 0.0,
        )

    def as_plain(self) -> dict[str, Any]:
        """Return plain data for the plan."""
        return asdict(self)
