"""A stage that is asked to stop ends with one line and status 75, and what it has done need not be done again."""

import logging
import os
import signal
import sys

import numpy as np
import pytest
import torch
from small_prediction import draw_raw, plan, read_files, run_jobs, write_checkpoint, write_volume

from connectomake.decode.blocks.job import run_block_job
from connectomake.geometry import BlockGrid
from connectomake.ledger import Ledger
from connectomake.predict.block_work import BlockWork
from connectomake.stage import TRY_AGAIN, run

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture
def stop(monkeypatch, caplog):
    """Run a stage and give the one line that it ends with, when it was asked to stop."""
    monkeypatch.setattr("connectomake.stage.setup_logging", lambda log_file: None)  # it stays for all tests that follow
    monkeypatch.setattr(sys, "argv", ["a_stage"])

    def told(main):
        before = [signal.getsignal(number) for number in SIGNALS]
        caplog.clear()
        with caplog.at_level(logging.WARNING), pytest.raises(SystemExit) as ended:
            run(main)
        assert ended.value.code == TRY_AGAIN == 75
        assert [signal.getsignal(number) for number in SIGNALS] == before
        (line,) = caplog.messages
        return line

    return told


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_is_one_line_and_a_status_of_its_own(stop, number):
    cleaned = []

    def main() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGTERM)  # the second of several does not break off the cleaning up
            cleaned.append(True)

    assert stop(main).endswith(f"stopped by {number.name}; the same command goes on with what is left")
    assert cleaned


def test_decoding_job_keeps_the_blocks_that_are_done(stop, tmp_path):
    ledger, written, marker = Ledger(tmp_path / "ledger", {}), [], tmp_path / "marker.json"
    steps = {"read": lambda block: block, "write": lambda block, result: written.append(result), "marker": marker}

    def compute(block: int, loaded: int) -> int:
        if block == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return loaded

    def main() -> None:
        run_block_job(ledger, BlockGrid((6, 1, 1), (1, 1, 1)), 0, 1, compute=compute, **steps)

    stop(main)
    assert written == [0, 1, 2]
    assert ledger.done() == {0, 1, 2}
    assert not marker.exists()


def test_prediction_job_stops_and_goes_on(stop, tmp_path, monkeypatch):
    volume, trained = write_volume(tmp_path / "in", draw_raw()), write_checkpoint(tmp_path / "model.ckpt")
    stores = [tmp_path / name / "x.zarr" for name in "ab"]
    for store in stores:
        store.parent.mkdir()
    planned = plan(volume, [trained], stores[0])
    computed, whole = [], BlockWork.compute

    def main() -> None:
        run_jobs(planned, volume, [trained], stores[0])

    def compute(self: BlockWork, *args: object) -> np.ndarray:
        computed.append(args)
        if len(computed) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(BlockWork, "compute", compute)
        stop(main)
    assert len(Ledger.open(stores[0] / "ledger").done()) == 3
    assert not list(tmp_path.rglob("*.partial"))
    main()
    run_jobs(planned, volume, [trained], stores[1])
    assert read_files(stores[0]) == read_files(stores[1])
