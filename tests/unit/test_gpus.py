"""Jobs of a workstation have GPUs of their own; files stand in place of devices, and processes in place of jobs."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from connectomake import gpus, stage
from connectomake.gpus import take_gpus

SCRIPTS = Path(__file__).parents[2] / "scripts"
JOB = """
import os, sys
from pathlib import Path
from connectomake import gpus
gpus.DEVICES, gpus.LOCKS, gpus.POLL_S = Path(sys.argv[1]), Path(sys.argv[1]), 0.02
gpus.take_gpus(int(sys.argv[2]))
print(os.environ.get("CUDA_VISIBLE_DEVICES", "all"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def workstation(tmp_path, monkeypatch):
    """Have three GPUs, and start jobs: each says which ones it has, and keeps them until it is ended."""
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    jobs = []

    def start(count):
        command = [sys.executable, "-c", JOB, tmp_path, str(count)]
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        jobs.append(subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, **options))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()
        job.communicate()


def gpus_of(job) -> str:
    return job.stdout.readline().strip()


def test_jobs_have_gpus_of_their_own_and_one_too_many_waits(workstation):
    first, second = workstation(1), workstation(2)
    taken = {gpus_of(first), *gpus_of(second).split(",")}
    assert taken == {"0", "1", "2"}
    waiting = workstation(1)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    first.kill()  # without a chance to give anything back
    first.wait()
    assert gpus_of(waiting) in taken - {"all"}


def test_of_the_gpus_that_are_shown_a_free_one_is_taken(workstation, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert {gpus_of(workstation(1)), gpus_of(workstation(1))} == {"GPU-a", "GPU-b"}


@pytest.mark.parametrize(("count", "variables"), [(0, {}), (4, {}), (1, {"SLURM_JOB_ID": "7"})])
def test_where_there_is_nothing_to_choose_all_stay(workstation, monkeypatch, count, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert gpus_of(workstation(count)) == "all"


def test_one_gpu_is_shared(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    monkeypatch.setattr(gpus, "_lock", lambda *_: pytest.fail("locked"))
    take_gpus(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_a_job_takes_what_its_rule_asks_for(monkeypatch):
    asked = []
    monkeypatch.setattr(stage, "take_gpus", asked.append)
    parts = {"rule": "train", "threads": 1, "log": [], "input": {}, "output": {}, "params": {}}
    for resources in ({"gpu": 2}, {}):
        monkeypatch.setattr(
            sys.modules["__main__"], "snakemake", SimpleNamespace(**parts, resources=resources), raising=False
        )
        stage.run(lambda: None)
    assert asked == [2, 0]
