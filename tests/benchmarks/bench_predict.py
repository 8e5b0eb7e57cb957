"""What prediction costs above the bare network. Run with: pytest tests/benchmarks/bench_predict.py

The two tests of a network compute the same windows; the goal is at least 95 % of the bare network's throughput.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from connectomake.config.architectures import BasicUnetConfig, MedNextConfig, NetworkConfig
from connectomake.config.predict import PredictConfig
from connectomake.models.arithmetic import choose_dtype, choose_memory_format
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, load_checkpoint, save_checkpoint
from connectomake.models.registry import build_model
from connectomake.predict.job import predict_blocks
from connectomake.predict.windows import WindowGrid
from connectomake.volumes.store import write_store

WINDOW = (48, 48, 48)
SHAPE = (48, 96, 144)
VOXEL_SIZE = (20.0, 9.0, 9.0)
CPU = torch.device("cpu")
CFG = PredictConfig(device="cpu")
NETWORKS = [BasicUnetConfig(), MedNextConfig()]


@pytest.fixture(params=NETWORKS, ids=lambda settings: settings.architecture)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An untrained network of the default size with three outputs."""
    settings: NetworkConfig = request.param
    channels = [{"name": str(c), "offset_zyx_vx": [0, 0, -1], "activation": "sigmoid"} for c in range(3)]
    meta = CheckpointMeta(
        architecture=describe_architecture(settings),
        in_channels=1,
        channels=channels,
        normalisation={"mean": 128.0, "std": 50.0},
        voxel_size_zyx_nm=VOXEL_SIZE,
        window_zyx=WINDOW,
        divisor_zyx=settings.divisor_zyx,
    )
    save_checkpoint(tmp_path / "model.ckpt", build_model(settings, 1, 3), meta)
    return tmp_path / "model.ckpt"


@pytest.fixture
def raw() -> np.ndarray:
    """Noise, which compresses as badly as anything."""
    return np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same number of threads for both."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_bare_network(benchmark: BenchmarkFixture, checkpoint: Path, raw: np.ndarray) -> None:
    """The network alone, on windows that are normalised and laid out beforehand."""
    network, _ = load_checkpoint(checkpoint)
    dtype, layout = choose_dtype("auto", CPU, network), choose_memory_format(network)
    network = network.to(memory_format=layout)
    grid = WindowGrid(SHAPE, WINDOW, CFG.overlap)
    parts = [(raw[grid[i].slices].astype(np.float32) - 128) / 50 for i in range(len(grid))]
    windows = [torch.from_numpy(part)[None, None].contiguous(memory_format=layout) for part in parts]

    def run() -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            for window in windows:
                network(window)

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    benchmark.extra_info["windows"] = len(windows)


def test_predict_blocks(benchmark: BenchmarkFixture, checkpoint: Path, raw: np.ndarray, tmp_path: Path) -> None:
    """Everything from the volume on disk to the store on disk, loading the checkpoint included."""
    write_store(tmp_path / "raw.zarr", raw, voxel_size_zyx_nm=VOXEL_SIZE)
    description = {
        "name": "noise",
        "voxel_size_zyx_nm": VOXEL_SIZE,
        "offset_zyx_nm": [0, 0, 0],
        "raw": {"source": "raw.zarr::s0", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], SHAPE], "dtype": "uint8"},
    }
    (tmp_path / "volume.json").write_text(json.dumps(description))
    stores = (tmp_path / f"{n}.zarr" for n in range(9))
    benchmark.pedantic(
        lambda: predict_blocks(tmp_path / "volume.json", checkpoint, next(stores), CFG), rounds=3, warmup_rounds=1
    )
    benchmark.extra_info["windows"] = len(WindowGrid(SHAPE, WINDOW, CFG.overlap))
