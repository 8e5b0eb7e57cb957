"""The lock of a killed run is given back, that of a living one never."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import connectomake
from connectomake.lock import free_dead_lock, sign_in, sign_out


@pytest.fixture
def state(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/0.output.lock").write_text("results/a\n")
    return tmp_path


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def entry(state, host, process):
    (state / "runs").mkdir(exist_ok=True)
    (state / f"runs/{host}.{process}").touch()


def test_lock_of_killed_run_is_freed_with_its_entry(state):
    entry(state, socket.gethostname(), dead_process())
    assert free_dead_lock(state)
    assert not list(state.glob("*/*"))
    assert not free_dead_lock(state)


def test_lock_without_entry_is_kept(state):
    assert not free_dead_lock(state)
    assert list((state / "locks").iterdir())


@pytest.mark.parametrize("alive", ["this machine", "another machine"])
def test_lock_is_kept_while_one_of_two_may_live(state, alive):
    entry(state, socket.gethostname(), dead_process())
    entry(state, *((socket.gethostname(), os.getpid()) if alive == "this machine" else ("elsewhere", 1)))
    assert not free_dead_lock(state)
    assert list((state / "locks").iterdir())


def test_signed_out_run_leaves_nothing(state):
    sign_in(state)
    assert not free_dead_lock(state)
    sign_out(state)
    assert not list((state / "runs").iterdir())
    sign_out(state)


@pytest.mark.parametrize(("end", "entries"), [("pass", 0), ("sys.exit(1)", 0), ("os.kill(os.getpid(), 9)", 1)])
def test_process_signs_out_unless_killed(state, end, entries):
    code = f"import os, sys, pathlib, connectomake.lock as lock; lock.sign_in(pathlib.Path(sys.argv[1])); {end}"
    environment = {**os.environ, "PYTHONPATH": str(Path(connectomake.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, str(state)], env=environment, check=False)
    assert len(list((state / "runs").iterdir())) == entries
