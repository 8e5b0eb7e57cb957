"""A training ends before its Slurm job is ended, has itself queued again, and loses nothing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from math import inf
from types import SimpleNamespace

import pytest
from small_training import assert_same_result, settings, stop_at_step, train

from connectomake.errors import ConnectomakeError
from connectomake.fitting.states import NOTHING, SAVE, TIME_UP, KeepState, Signals, list_states
from connectomake.fitting.time_limit import MARGIN_S, TimeLimit, find_limit
from connectomake.fitting.workers import shield_new_processes

SQUEUE = """#!/bin/sh
[ "$*" = "--noheader --jobs 7 --format %e %k" ] && [ "$SLURM_TIME_FORMAT" = %s ] && echo "{}"
"""
SCONTROL = """#!/bin/sh
[ "$*" = "requeue 7" ] && exit {}
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Put commands that answer for Slurm first on the path, and begin job 7."""
    commands = tmp_path / "bin"
    commands.mkdir()
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")

    def answer(name, script):
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)

    return answer


@pytest.fixture
def clock(monkeypatch):
    """Let each step take ten seconds of a clock that starts at 0, and note which jobs are queued again."""
    told = SimpleNamespace(seconds=0.0, requeued=[])
    whole = KeepState.on_train_batch_end

    def lasting(self, *args):
        told.seconds += 10
        whole(self, *args)

    monkeypatch.setattr(KeepState, "on_train_batch_end", lasting)
    monkeypatch.setattr("connectomake.fitting.time_limit.now", lambda: told.seconds)
    monkeypatch.setattr(TimeLimit, "requeue", lambda self: told.requeued.append(self.job))
    return told


def begin_job(monkeypatch, clock, seconds):
    limit = TimeLimit(clock.seconds + seconds, job="7")
    monkeypatch.setattr("connectomake.train.train_model.find_limit", lambda: limit)


def test_time_limit_then_resume(split, uninterrupted, tmp_path, monkeypatch, clock):
    for newest in (5, 10):
        begin_job(monkeypatch, clock, 49)
        assert not train(split, tmp_path)
        assert list_states(tmp_path / "run/states")[0].name == f"step{newest:09}.state"
    assert not (tmp_path / "model.ckpt").exists()
    begin_job(monkeypatch, clock, 49)
    assert train(split, tmp_path)
    assert clock.requeued == ["7", "7"]
    assert_same_result(tmp_path, uninterrupted)


def test_job_without_time_for_a_step_is_an_error(split, tmp_path, monkeypatch, clock):
    begin_job(monkeypatch, clock, 0)
    with pytest.raises(ConnectomakeError, match=r"no time for a single step.*got an end at .*train_model:runtime"):
        train(split, tmp_path)
    assert not clock.requeued


def test_job_that_is_cancelled_is_not_queued_again(split, tmp_path, monkeypatch, clock):
    begin_job(monkeypatch, clock, 1000)
    stop_at_step(monkeypatch, split, tmp_path, 3, number=signal.SIGTERM)
    assert not clock.requeued


def test_signal_to_all_processes_leaves_those_that_make_patches(split, uninterrupted, tmp_path, monkeypatch):
    """A cluster signals every process of a job, and the step that is being made still needs its patches."""
    cfg, signalled = settings(workers=2), []
    whole = KeepState.on_train_batch_end

    def with_signals(self, trainer, *args):
        whole(self, trainer, *args)
        if trainer.global_step == 5:
            signalled.extend(child.pid for child in multiprocessing.active_children())
            subprocess.run(["kill", "-TERM", *map(str, (os.getpid(), *signalled))], check=True)  # not their parent
            time.sleep(0.1)  # for a worker to die of it

    with monkeypatch.context() as patched:
        patched.setattr(KeepState, "on_train_batch_end", with_signals)
        assert not train(split, tmp_path, cfg)
    assert len(signalled) >= 2
    assert list_states(tmp_path / "run/states")[0].name == "step000000005.state"
    assert train(split, tmp_path, cfg)
    assert_same_result(tmp_path, uninterrupted)


CHOICES = {
    "nothing": ({}, NOTHING),
    "long since the last state": ({"step": 8}, SAVE),
    "step longer than a signal leaves": ({"step_s": 30}, SAVE),
    "validation longer than that": ({"step": 3, "validation_s": 30}, SAVE),
    "first validation": ({"step": 3, "validation_s": 0}, SAVE),
    "no validation": ({"step": 3, "validation_s": 0, "validates": False}, NOTHING),
    "time for a step and a state": ({"step_s": 10, "save_s": 5, "left_s": 16}, NOTHING),
    "no time for the state": ({"step_s": 10, "save_s": 5, "left_s": 14}, TIME_UP),
    "no time for the validation": ({"step": 3, "step_s": 10, "validation_s": 9, "left_s": 16}, TIME_UP),
    "signal": ({"left_s": 0, "received": signal.SIGTERM}, signal.SIGTERM),
}


@pytest.mark.parametrize("name", CHOICES)
def test_before_a_step_it_is_chosen_whether_to_go_on(tmp_path, monkeypatch, name):
    """Every 4th step is validated, and no more than 8 are made without a state."""
    case, wanted = CHOICES[name]
    case = {"step": 1, "step_s": 1, "validation_s": 1, "save_s": 1, "left_s": inf, "validates": True} | case
    monkeypatch.setattr("connectomake.fitting.time_limit.now", lambda: 0.0)
    signals = Signals()
    signals.received = case.get("received")
    keep = KeepState(tmp_path, settings(checkpoint_every_steps=8), signals, TimeLimit(case["left_s"]))
    keep.saved_step, keep.step_s, keep.validation_s, keep.save_s = (
        0,
        *(case[f"{n}_s"] for n in ("step", "validation", "save")),
    )
    assert keep._choose(SimpleNamespace(global_step=case["step"], enable_validation=case["validates"])) == wanted


def test_outside_of_slurm_there_is_no_limit(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert find_limit() == TimeLimit()
    assert find_limit().leaves(1e9)
    assert not find_limit().requeue()


@pytest.mark.parametrize(
    ("answer", "job"), [("rule_train_model_wildcards_a", "7"), ("rule_predict_affinities", None), ("(null)", None)]
)
def test_slurm_tells_when_the_job_ends_and_whose_it_is(slurm, answer, job):
    end = int(time.time()) + 86400
    slurm("squeue", SQUEUE.format(f"{end} {answer}"))
    assert find_limit() == TimeLimit(end, MARGIN_S, job)


def test_margin_of_a_short_job_is_short(slurm, monkeypatch):
    monkeypatch.setattr("connectomake.fitting.time_limit.now", lambda: 1000.0)
    slurm("squeue", SQUEUE.format("1060 rule_train_model"))
    limit = find_limit()
    assert limit.margin_s == 6
    assert limit.leaves(53)
    assert not limit.leaves(55)


def test_job_without_an_end_has_no_limit(slurm):
    slurm("squeue", SQUEUE.format("NONE rule_train_model"))
    assert find_limit() == TimeLimit()


def test_where_slurm_cannot_be_asked_the_environment_tells(slurm, monkeypatch):
    slurm("squeue", "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "2000000000")
    assert find_limit().end_s == 2e9
    assert find_limit().job is None


@pytest.mark.parametrize("status", [0, 1])
def test_requeue_says_whether_slurm_does_it(slurm, status):
    slurm("scontrol", SCONTROL.format(status))
    assert TimeLimit(0, 0, "7").requeue() == (status == 0)
    assert not TimeLimit(0, 0, None).requeue()


def test_a_signal_that_comes_while_workers_start_is_kept_from_them():
    """What is started meanwhile does not hear it, and this process hears it all the same."""
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    asks = [sys.executable, "-c", "import signal; print(signal.pthread_sigmask(0, ()))"]
    try:
        with shield_new_processes():
            assert "SIGTERM" in subprocess.run(asks, capture_output=True, text=True, check=True).stdout
            os.kill(os.getpid(), signal.SIGTERM)
        assert "SIGTERM" not in subprocess.run(asks, capture_output=True, text=True, check=True).stdout
        assert received == [1]
    finally:
        signal.signal(signal.SIGTERM, before)
