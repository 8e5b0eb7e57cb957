"""A prediction that is killed at any moment, and begun again, ends with the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_prediction import CFG, change, draw_raw, plan, read, read_files, run_jobs, write_checkpoint, write_volume

import connectomake
from connectomake.ledger import Ledger
from connectomake.predict.block_work import BlockWork
from connectomake.predict.finish import finish_prediction

KILLS = 20
JOBS = 2
MANY = change(block_zyx_vx=(8, 8, 8))  # 75 blocks

# Each run is forked off a process that has predicted before: to import and load everything takes longer than the rest.
CHILD = """
    import os, sys, time
    from pathlib import Path
    import small_prediction as small
    from connectomake.predict.windows.sliding import SlidingWindow

    planned, volume, checkpoint, store = map(Path, sys.argv[1:])
    small.run_jobs(planned, volume, [checkpoint], store.with_name("warm.zarr"), jobs=18, order=[0])
    real = SlidingWindow.finish
    SlidingWindow.finish = lambda *args: time.sleep(0.03) or real(*args)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                small.run_jobs(planned, volume, [checkpoint], store, jobs=2)
                os._exit(0)
            finally:
                os._exit(1)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def runner():
    """Start a process that runs the jobs again for every line that it is sent."""
    started = []

    def start(*arguments):
        paths = os.pathsep.join([str(Path(connectomake.__file__).parents[1]), str(Path(__file__).parent)])
        command = [sys.executable, "-c", textwrap.dedent(CHILD), *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        started.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, **pipes))
        return started[0]

    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()


@pytest.mark.slow("is killed twenty times")
def test_killed_at_random_and_finished_it_holds_the_same_bytes(tmp_path, runner):
    volume, trained = write_volume(tmp_path / "in", draw_raw()), write_checkpoint(tmp_path / "model.ckpt")
    store, other = tmp_path / "a/x.zarr", tmp_path / "b/x.zarr"
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    planned = plan(volume, [trained], store, MANY)
    process = runner(planned, volume, trained, store)
    chance, longest, held = random.Random(0), 0.3, [0]
    for _ in range(KILLS):
        process.stdin.write("again\n")
        child = int(process.stdout.readline())
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        assert int(process.stdout.readline()) == -signal.SIGKILL, "the jobs ended by themselves"
        held.append(len(Ledger.open(store / "ledger").done()) if (store / "ledger/settings.json").exists() else 0)
        longest *= 0.7 if held[-1] > held[-2] else 1.3  # as fast as this machine is just now
    assert held == sorted(held)
    assert len(set(held)) > 4
    assert held[-1] < 3 * 5 * 5
    markers = run_jobs(planned, volume, [trained], store, jobs=JOBS)
    finish_prediction(markers, store)
    finish_prediction(run_jobs(planned, volume, [trained], other, jobs=JOBS), other)
    assert read_files(store) == read_files(other)
    assert np.ptp(read(store)) > 50
    assert not list(store.rglob("*.partial"))


@pytest.mark.slow("kills a process that loads torch")
def test_what_was_finished_before_a_kill_is_not_computed_again(tmp_path, runner, monkeypatch):
    volume, trained = write_volume(tmp_path / "in", draw_raw()), write_checkpoint(tmp_path / "model.ckpt")
    store = tmp_path / "x.zarr"
    planned = plan(volume, [trained], store)
    process = runner(planned, volume, trained, store)
    process.stdin.write("once\n")
    child = int(process.stdout.readline())
    ledger_file, deadline = store / "ledger" / f"0-of-{JOBS}.json", time.monotonic() + 120
    while time.monotonic() < deadline:
        if ledger_file.exists() and len(json.loads(ledger_file.read_text())["blocks"]) >= 3:
            break
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    assert int(process.stdout.readline()) == -signal.SIGKILL, "the jobs ended by themselves"
    done = Ledger.open(store / "ledger").done()
    computed = []
    real = BlockWork.compute
    monkeypatch.setattr(BlockWork, "compute", lambda self, s, raw: computed.append(s.block) or real(self, s, raw))
    run_jobs(planned, volume, [trained], store, jobs=JOBS)
    assert len(done) >= 3
    assert sorted(computed) == sorted(set(range(18)) - done)
    assert CFG.device == "cpu"


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
