"""On a real Slurm: the results are those of a local run, and no interruption loses anything."""

import logging
import random
import shutil
import time
from pathlib import Path

import pytest
from one_node import slurm

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

log = logging.getLogger(__name__)

TABLES = ("metrics.json", "skeletons.tsv", "errors.tsv", "metrics.tsv", "comparison.tsv")


def tables_of(results: Path) -> dict[str, bytes]:
    """Read every table of numbers below a results folder."""
    found = {str(p.relative_to(results)): p.read_bytes() for p in results.rglob("*") if p.name in TABLES}
    assert any(name.endswith("comparison.tsv") for name in found)
    return found


@pytest.fixture(scope="module")
def interrupted(on_slurm, cluster, project, tmp_path_factory):
    """Start jobs that are to be interrupted. One waits for its time limit of a minute, while other tests run."""
    folder = tmp_path_factory.mktemp("interruptions")
    shutil.copy(project / "tests/slurm/interruptions.smk", folder / "Snakefile")
    return on_slurm(folder)


@pytest.fixture(scope="module")
def local(here, check_out):
    """Start the run that those on Slurm are compared with."""
    return here(check_out(), "evaluate", "--configfile", "small.yaml")


def history(run, name: str) -> list[str]:
    path = run.said.parent / f"{name}.history"
    return path.read_text().split() if path.exists() else []


@pytest.mark.usefixtures("local")  # which takes its time
def test_jobs_are_cancelled_requeued_and_wait_for_a_drained_node(interrupted, cluster):
    interrupted.wait_until(lambda: history(interrupted, "cancelled") and history(interrupted, "requeued"))
    (cancelled,), (requeued,) = history(interrupted, "cancelled"), history(interrupted, "requeued")
    node = slurm("sinfo", "--noheader", "--format=%n")
    slurm("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    slurm("scancel", cancelled)
    slurm("scontrol", "requeue", requeued)
    interrupted.wait_until(lambda: cluster.jobs()[requeued][0] == "PENDING")
    slurm("scontrol", "update", f"JobId={requeued}", "StartTime=now")  # Slurm itself waits two minutes
    time.sleep(2)
    assert cluster.jobs()[requeued][0] == "PENDING"
    slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    interrupted.wait_until(lambda: (interrupted.said.parent / "cancelled.txt").exists())
    interrupted.wait_until(lambda: (interrupted.said.parent / "requeued.txt").exists())
    assert len(set(history(interrupted, "cancelled"))) == 2
    assert history(interrupted, "requeued") == [requeued, requeued]


def test_killed_run_ends_as_a_local_one(on_slurm, cluster, check_out, local):
    folder, other = check_out(), local.said.parent
    command = ["evaluate", "--configfile", "small.yaml"]
    local.wait()
    for made in ("results/phantom", "results/ingest", ".snakemake/metadata"):  # the same in both, to save time
        shutil.copytree(other / made, folder / made)
    results = folder / "results"

    run = on_slurm(folder, *command)
    run.wait_until(lambda: list(results.glob("train/**/run/states/*")))
    (orphan,) = cluster.running("train_model")
    run.kill()  # the training goes on, and would meet that of the next run
    run = on_slurm(folder, *command)
    run.wait_until(lambda: {*cluster.running("train_model")} - {orphan})
    assert f"{orphan} are cancelled" in run.said.read_text()
    slurm("scancel", *cluster.running("train_model"))  # by hand: Snakemake starts it again
    run.wait_until(lambda: list(results.glob("train/**/model.ckpt")))
    for longest_s in (10, 20):
        pause_s = random.uniform(0, longest_s)
        log.info("killed %.1f s after it began", pause_s)
        time.sleep(pause_s)
        run.kill()
        run = on_slurm(folder, *command)
    run.wait()
    assert tables_of(results) == tables_of(other / "results")


def test_jobs_that_were_stopped_at_their_limits_are_done(interrupted):
    interrupted.wait()
    assert history(interrupted, "hungry") == ["700", "1400"]
    assert history(interrupted, "late") == ["begun", "told"]
