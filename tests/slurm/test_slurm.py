"""On a real Slurm: the results are those of a local run, and no interruption loses anything."""

import json
import logging
import random
import shutil
import time
from pathlib import Path

import pytest
import yaml
from one_node import slurm
from small_training import assert_same_result

pytestmark = [pytest.mark.slurm, pytest.mark.slow("starts Slurm, and Snakemake on it")]

log = logging.getLogger(__name__)

TABLES = ("metrics.json", "skeletons.tsv", "errors.tsv", "metrics.tsv", "comparison.tsv")
SMALL = ("--configfile", "small.yaml")
# What a run of small.yaml does on the cluster, in turn. At each of some of these, it is killed twice.
RULES = (
    "make_datasplit",
    "train_model",
    "plan_prediction",
    "predict_affinities",
    "finish_prediction",
    "decode_affinities",
    "measure_segmentation",
    "compare_variants",
)
KILLS, SEED = 10, 8
LONG = {"max_steps": 300, "validate_every_steps": 300, "checkpoint_every_steps": 100}


def tables_of(results: Path) -> dict[str, bytes]:
    """Read every table of numbers below a results folder."""
    found = {str(p.relative_to(results)): p.read_bytes() for p in results.rglob("*") if p.name in TABLES}
    assert any(name.endswith("comparison.tsv") for name in found)
    return found


def model_folder(folder: Path) -> Path:
    """Return the folder of the one model that was trained in a checkout."""
    (model,) = (folder / "results/train").rglob("model.ckpt")
    return model.parent


@pytest.fixture(scope="module")
def interrupted(on_slurm, cluster, project, tmp_path_factory):
    """Start jobs that are to be interrupted. One waits for its time limit of a minute, while other tests run."""
    folder = tmp_path_factory.mktemp("interruptions")
    shutil.copy(project / "tests/slurm/interruptions.smk", folder / "Snakefile")
    return on_slurm(folder)


@pytest.fixture(scope="module")
def with_volumes(here, check_out):
    """Return a function that makes a checkout with volumes, which are made once."""
    made = here(check_out(), "evaluate", *SMALL, "--until", "ingest_volume")

    def make(**train: object) -> Path:
        made.wait()
        folder = check_out(**train)
        for name in ("results/phantom", "results/ingest", ".snakemake/metadata"):
            shutil.copytree(made.folder / name, folder / name)
        return folder

    return make


@pytest.fixture(scope="module")
def local(here, with_volumes):
    """Start the run that those on Slurm are compared with."""
    return here(with_volumes(), "figures", *SMALL)


@pytest.fixture(scope="module")
def on_nodes(on_slurm, with_volumes):
    """Start a training in two tasks, which share the one node."""
    changes = ("--set-resources", "train_on_nodes:nodes=1", "--set-threads", "train_on_nodes=1")
    return on_slurm(with_volumes(nodes=2), "--until", "train_on_nodes", *SMALL, *changes)


@pytest.fixture(scope="module")
def at_its_limit(on_slurm, here, cluster, with_volumes):
    """Start a training, have it reach the end of its job's time, and let it go on; and one that is not disturbed."""
    whole = here(with_volumes(**LONG), "--until", "train_model", *SMALL)
    folder = with_volumes(**LONG)
    run = on_slurm(folder, "--until", "train_model", *SMALL, "--set-threads", "train_model=2")
    run.wait_until(lambda: cluster.jobs_of("train_model", folder))
    (job,) = cluster.jobs_of("train_model", folder)

    def begins() -> bool:
        """Put the end of the job off until training begins, which asks for it then."""
        slurm("scontrol", "update", f"JobId={job}", "EndTime=now+10")
        return any("parameters, " in file.read_text() for file in folder.glob("results/log/train_model/**/*.log"))

    run.wait_until(lambda: cluster.state(job) == "RUNNING")
    run.wait_until(begins)
    run.wait_until(lambda: cluster.state(job) == "PENDING")
    assert list(folder.glob("results/train/**/run/states/*"))
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now", "TimeLimit=10")
    return run, whole, job


@pytest.fixture(scope="module")
def reported(on_slurm, local, tmp_path_factory):
    """Start the report, and one of its figures, over a copy of the results that are there."""
    local.wait()
    folder = shutil.copytree(local.folder, tmp_path_factory.mktemp("report") / "checkout", symlinks=True)
    return on_slurm(folder, "report", *SMALL, "--forcerun", "draw_curves")


def history(run, name: str) -> list[str]:
    path = run.folder / f"{name}.history"
    return path.read_text().split() if path.exists() else []


@pytest.mark.usefixtures("with_volumes")  # which takes its time
def test_jobs_are_cancelled_requeued_and_wait_for_a_drained_node(interrupted, cluster):
    interrupted.wait_until(lambda: history(interrupted, "cancelled") and history(interrupted, "requeued"))
    (cancelled,), (requeued,) = history(interrupted, "cancelled"), history(interrupted, "requeued")
    node = slurm("sinfo", "--noheader", "--format=%n")
    slurm("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    slurm("scancel", cancelled)
    slurm("scontrol", "requeue", requeued)
    interrupted.wait_until(lambda: cluster.state(requeued) == "PENDING")
    slurm("scontrol", "update", f"JobId={requeued}", "StartTime=now")  # Slurm itself waits two minutes
    time.sleep(2)
    assert cluster.state(requeued) == "PENDING"
    slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    interrupted.wait_until(lambda: (interrupted.folder / "cancelled.txt").exists())
    interrupted.wait_until(lambda: (interrupted.folder / "requeued.txt").exists())
    assert len(set(history(interrupted, "cancelled"))) == 2
    assert history(interrupted, "requeued") == [requeued, requeued]


@pytest.mark.usefixtures("at_its_limit", "on_nodes")  # likewise
def test_run_that_is_killed_again_and_again_ends_as_a_local_one(on_slurm, cluster, with_volumes, local):
    choose, folder = random.Random(SEED), with_volumes()
    run, left = on_slurm(folder, "evaluate", *SMALL), set()
    for number in sorted(choose.sample(range(len(RULES)), KILLS // 2)):
        run.wait_until(lambda rule=RULES[number]: cluster.jobs_of(rule, folder))
        for victim in choose.sample(["Snakemake", choose.choice(["job", "processes"])], 2):
            pause_s = choose.uniform(0, 5)
            log.info("%s: %s killed after %.1f s", RULES[number], victim, pause_s)
            time.sleep(pause_s)
            if victim == "Snakemake":  # its jobs go on, and would meet those of the next run
                run.kill()
                left = set(cluster.running(folder))
                run = on_slurm(folder, "evaluate", *SMALL)
            else:
                run.wait_until(lambda left=left: set(cluster.running(folder)) - left)
                cluster.cancel(folder, *["--signal=KILL"] * (victim == "processes"))
    run.wait()
    assert any("left jobs behind" in said.read_text() for said in folder.glob("said*"))
    local.wait()
    ours, theirs = tables_of(folder / "results"), tables_of(local.folder / "results")
    assert ours == {name: theirs[name] for name in ours}  # it made figures, and their tables, as well


def test_training_at_its_time_limit_goes_on_in_the_same_job(at_its_limit, cluster):
    run, whole, job = at_its_limit
    run.wait()
    whole.wait()
    assert cluster.jobs_of("train_model", run.folder) == [job]
    assert "Restarts=1 " in slurm("scontrol", "show", "job", job)
    assert_same_result(model_folder(run.folder), model_folder(whole.folder))


def test_two_tasks_train_one_model(on_nodes):
    on_nodes.wait()
    folder = model_folder(on_nodes.folder)
    record = json.loads((folder / "provenance/train_model.json").read_text())
    assert record["arguments"]["cfg"]["nodes"] == 2
    (told,) = (on_nodes.folder / "results/log/train_on_nodes").rglob("*.log")
    assert told.read_text().count(" parameters, ") == 1  # one process writes it


@pytest.mark.usefixtures("reported")  # which takes its time, too
def test_another_number_of_jobs_remakes_no_prediction(on_slurm, local):
    """One volume is complete, of the other one the jobs were done, but not what gathers them."""
    local.wait()
    config = yaml.safe_load((local.folder / "small.yaml").read_text())
    config["override"]["predict.jobs"] = 3
    (local.folder / "three.yaml").write_text(yaml.safe_dump(config))
    three = ("--configfile", "three.yaml")
    assert "Nothing to be done" in on_slurm(local.folder, "evaluate", *three).wait()
    stores = sorted((local.folder / "results/predict").rglob("affinities.zarr"))
    shards = {path: path.stat().st_mtime_ns for store in stores for path in store.glob("0/c/**/*") if path.is_file()}
    complete, begun = stores
    (begun / "zarr.json").unlink()
    finish = ("--until", "finish_prediction", "--forcerun", "finish_prediction")
    on_slurm(local.folder, "evaluate", *three, *finish).wait()
    assert all((store / "zarr.json").exists() for store in stores)
    assert shards == {path: path.stat().st_mtime_ns for path in shards}
    assert not list(complete.parent.glob("jobs/*-of-3.json"))
    assert len(list(begun.parent.glob("jobs/*-of-3.json"))) == 3


def test_report_is_written_by_a_job(reported):
    reported.wait()
    page = (reported.folder / "results/report/report.html").read_text()
    assert "curves.png" in page
    assert "overview.png" in page


def test_jobs_that_were_stopped_at_their_limits_are_done(interrupted):
    interrupted.wait()
    assert history(interrupted, "hungry") == ["700", "1400"]
    assert history(interrupted, "late") == ["begun", "told"]
