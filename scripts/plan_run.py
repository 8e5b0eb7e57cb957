"""Say what a run will take, before anything of it runs: jobs, hours, storage, memory of every stage and volume.

in   results  folder of earlier results, whose jobs tell how fast stages are; by default the one that holds report/
out  table    TSV, one row for each stage and volume
"""

import logging
from pathlib import Path

from connectomake.stage import run

log = logging.getLogger("plan_run")


def main(*, table: Path, work: dict, gpus: int = 1, cores: int = 16, results: Path | None = None) -> None:
    """Plan `work`, the variants as the workflow tells them, for a machine with so many GPUs and cores."""
    from connectomake.planning.rates import measure_rates
    from connectomake.planning.stages import Machine, plan_stages
    from connectomake.planning.table import describe, write_plan
    from connectomake.planning.work import read_work

    machine = Machine(gpus, cores)
    rows = plan_stages(read_work(work), machine, measure_rates(results or table.parents[1]))
    write_plan(rows, table)
    log.info("%s\n%s", table, "\n".join(describe(rows, machine)))


if __name__ == "__main__":
    run(main)
