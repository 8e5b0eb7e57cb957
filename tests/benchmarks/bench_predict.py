"""What prediction costs above the bare network. Run with: pytest tests/benchmarks/bench_predict.py

The two tests of a network compute the same windows; the goal is at least 95 % of the bare network's throughput.
predict_table.py measures more, in processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import predict_peers as peers
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from connectomake.config.settings.train_architectures import BasicUnetConfig, MedNextConfig
from connectomake.predict.cost.network import measure_network

WINDOW = (48, 48, 48)
SHAPE = (64, 96, 144)
BLOCK = (64, 128, 192)
NETWORKS = [BasicUnetConfig(), MedNextConfig()]


@pytest.fixture(params=NETWORKS, ids=lambda settings: settings.architecture)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A volume of noise and an untrained network of the default size."""
    peers.write_volume(tmp_path, SHAPE)
    peers.write_checkpoint(tmp_path / "model.ckpt", request.param, WINDOW)
    return tmp_path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same number of threads for both."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_bare_network(benchmark: BenchmarkFixture, folder: Path) -> None:
    """The network alone, on windows that are normalised and laid out beforehand."""
    windows = peers.count_windows(SHAPE, WINDOW, 0.5)
    run = peers.prepare_bare(folder, WINDOW, windows)
    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    benchmark.extra_info["windows"] = windows


def test_predict_blocks(benchmark: BenchmarkFixture, folder: Path) -> None:
    """Everything from the volume on disk to the store on disk, loading the checkpoint included."""
    peers.plan(folder, "plan", 1, block_zyx_vx=BLOCK)
    numbers = count()
    benchmark.pedantic(
        lambda: peers.predict(folder, "plan", 1, store=f"store{next(numbers)}", block_zyx_vx=BLOCK),
        rounds=3,
        warmup_rounds=1,
    )
    benchmark.extra_info["windows"] = peers.count_windows(SHAPE, WINDOW, 0.5)


def test_measure_network(benchmark: BenchmarkFixture, folder: Path) -> None:
    """The estimate of memory and time, before anything is computed."""
    network, dtype, _ = peers.load_network(folder, "auto")
    benchmark.pedantic(lambda: measure_network(network, 1, WINDOW, dtype), rounds=3, warmup_rounds=1)
