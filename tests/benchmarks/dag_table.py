"""Print what `snakemake -n` takes for a volume in few and in thousands of block jobs, against an empty workflow.

Run: python tests/benchmarks/dag_table.py [--jobs 1000 10000] [--rounds 3]
Each number is the least of some rounds, of a process of its own; cases take turns, so that a busy machine slows all.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tables import name_machine, show_head, show_row

ROOT = Path(__file__).parents[2]
EMPTY = "rule all:\n    input: []\n"


def plan(arguments, folder):
    """Run `snakemake -n` in a folder; give seconds of the clock, of the processor, and peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-n", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise RuntimeError(f"snakemake -n {' '.join(arguments)} failed in {folder}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def in_jobs(jobs, results):
    """Return the arguments that plan the prediction of one volume in so many jobs."""
    store = f"{results}/predict/phantom/default/demo/demo/test/affinities.zarr/zarr.json"
    return ["--config", "experiments=phantom", f"results={results}", f"override=predict.jobs={jobs}", "--", store]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(EMPTY)
        cases = {"an empty workflow": ([], folder)}
        cases |= {f"{jobs} block jobs": (in_jobs(jobs, folder), ROOT) for jobs in (1, *given.jobs)}
        found = {name: [] for name in cases}
        for _ in range(given.rounds):
            for name, case in cases.items():
                found[name].append(plan(*case))
    least = {name: [min(values) for values in zip(*rounds, strict=True)] for name, rounds in found.items()}
    base = least["an empty workflow"]
    print(name_machine(["snakemake"]))
    show_head("`snakemake -n`", "clock", "above empty", "processor", "above empty", "memory")
    for name, (clock, processor, memory) in least.items():
        above = f"{clock - base[0]:.1f} s", f"{processor - base[1]:.1f} s"
        show_row(name, f"{clock:.1f} s", above[0], f"{processor:.1f} s", above[1], f"{memory:.0f} MB")


if __name__ == "__main__":
    main()
