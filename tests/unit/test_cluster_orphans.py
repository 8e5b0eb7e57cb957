"""Jobs that a killed run left in Slurm's queue, with small scripts in place of squeue and scancel."""

import logging
import os
import subprocess
import sys
import uuid

import pytest

from connectomake.cluster import orphans
from connectomake.cluster.orphans import cancel_orphans
from connectomake.errors import ConnectomakeError

OURS, PREFIXED = str(uuid.uuid4()), f"connectomake_{uuid.uuid4()}"


@pytest.fixture
def state(tmp_path, monkeypatch):
    """Make a working directory and a queue; a cancelled job is seen once more before it is gone."""
    commands, queue = tmp_path / "bin", tmp_path / "queue"
    commands.mkdir()
    queue.mkdir()
    squeue = "for job in QUEUE/*; do [ -f $job ] && /bin/cat $job; done; /bin/rm -f $(/bin/cat QUEUE/../gone); true"
    scancel = "for job; do echo QUEUE/$job >> QUEUE/../gone; done"
    (tmp_path / "gone").touch()
    for name, body in {"squeue": squeue, "scancel": scancel}.items():
        (commands / name).write_text(f"#!/bin/sh\n{body.replace('QUEUE', str(queue))}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands))
    monkeypatch.setattr(orphans, "POLL_S", 0)
    (tmp_path / "work/.snakemake/runs").mkdir(parents=True)
    return tmp_path / "work/.snakemake"


@pytest.fixture
def submit(state, tmp_path):
    def write(number, name, folder):
        (tmp_path / f"queue/{number}").write_text(f"{number}|{name}|{folder}\n")

    return write


def test_only_the_jobs_of_this_folder_are_cancelled_and_waited_for(state, submit, tmp_path, caplog):
    submit(1, OURS, state.parent)
    submit(2, PREFIXED, state.parent)
    submit(3, OURS, tmp_path)
    submit(4, "interactive", state.parent)
    with caplog.at_level(logging.WARNING):
        assert cancel_orphans(state) == ["1", "2"]
    assert "1, 2" in caplog.text
    assert sorted(path.name for path in (tmp_path / "queue").iterdir()) == ["3", "4"]
    assert cancel_orphans(state) == []


def test_jobs_that_do_not_end_stop_the_run(state, submit, tmp_path, monkeypatch):
    submit(1, OURS, state.parent)
    (tmp_path / "bin/scancel").write_text("#!/bin/sh\ntrue\n")
    monkeypatch.setattr(orphans, "LONGEST_S", 0)
    with pytest.raises(ConnectomakeError, match="jobs 1 were cancelled and do not end"):
        cancel_orphans(state)


def test_jobs_of_a_run_that_may_live_are_left_alone(state, submit, tmp_path, caplog):
    submit(1, OURS, state.parent)
    (state / "runs/elsewhere.1").touch()
    with caplog.at_level(logging.WARNING):
        assert cancel_orphans(state) == []
    assert "scancel 1" in caplog.text
    assert (tmp_path / "queue/1").exists()


def test_nothing_is_asked_where_there_is_no_slurm(state, submit, monkeypatch):
    submit(1, OURS, state.parent)
    monkeypatch.setenv("PATH", "")
    assert cancel_orphans(state) == []


@pytest.mark.parametrize("killed", [True, False])
def test_a_killed_run_of_this_machine_is_told_from_one_that_lives(state, submit, killed):
    submit(1, OURS, state.parent)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        (state / f"runs/{os.uname().nodename}.{process.pid}").touch()
        if killed:
            process.kill()
            process.wait()
        assert cancel_orphans(state) == (["1"] if killed else [])
