"""A training that is stopped, by whatever means, ends with the weights of one that was not."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from connectomake.config.augment import AugmentConfig, FlipConfig, NoiseConfig
from connectomake.config.train import TrainConfig
from connectomake.errors import ResumeMismatchError
from connectomake.geometry import Box
from connectomake.models.checkpoint import load_checkpoint
from connectomake.split.table import SplitRow, write_split
from connectomake.train.run import train_model
from connectomake.train.states import KeepState, Interrupted, list_states
from connectomake.volumes.files import write_json
from connectomake.volumes.store import write_store

SCRIPTS = Path(__file__).parents[2] / "scripts"
AUGMENT = AugmentConfig(flip=FlipConfig(), noise=NoiseConfig())


def settings(**changes):
    values = {
        "model": {"filters": [4, 4, 4, 4, 4, 4], "dropout": 0.1},
        "patch_zyx_vx": [16, 16, 32],
        "targets": {"affinity": {"offsets_zyx_vx": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}},
        "batch": 1,
        "max_steps": 12,
        "validate_every_steps": 4,
        "validate_patches": 2,
        "checkpoint_every_steps": 3,
        "precision": "float32",
        "device": "cpu",
    }
    return TrainConfig.model_validate(values | changes)


def make_volume(folder, name, role, seed, shape=(24, 32, 40)):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, 5, [-(-n // 8) for n in shape], np.uint32)
    labels = np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 8), np.uint32))[tuple(map(slice, shape))])
    raw = (labels * 40 + rng.integers(0, 20, shape)).astype(np.uint8)
    nm = (10.0, 10.0, 10.0)
    entries = {}
    for part, array in (("raw", raw), ("labels", labels)):
        write_store(folder / f"{part}.zarr", array, voxel_size_zyx_nm=nm, offset_zyx_nm=(0.0, 0.0, 0.0), attributes={})
        box = [[0, 0, 0], list(shape)]
        entries[part] = {"source": f"{part}.zarr", "axes": "zyx", "box_zyx_vx": box, "dtype": array.dtype.name}
    common = {"shape_zyx": shape, "voxel_size_zyx_nm": nm, "offset_zyx_nm": (0, 0, 0), "settings": {}}
    write_json(folder / "volume.json", {"name": name, "role": role, "weight": 1.0, **common, **entries})
    return SplitRow(name, role, folder / "volume.json", Box.of_shape(shape))


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = [make_volume(folder / role, role, role, seed) for seed, role in enumerate(("train", "validate"))]
    write_split(folder / "split.tsv", rows)
    return folder / "split.tsv"


def train(split, folder, cfg=None):
    return train_model(split, folder / "model.ckpt", folder / "metrics.csv", folder / "run", cfg or settings(), AUGMENT)


def weights_of(folder):
    network, meta = load_checkpoint(folder / "model.ckpt")
    return network.state_dict(), meta


def read_rows(path):
    with path.open() as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "steps_per_s")} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def uninterrupted(split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert train(split, folder)
    return folder


def assert_same_result(folder, expected):
    ours, theirs = weights_of(folder), weights_of(expected)
    assert ours[1].hash == theirs[1].hash
    for name, value in ours[0].items():
        torch.testing.assert_close(value, theirs[0][name], rtol=0, atol=0)
    assert read_rows(folder / "metrics.csv") == read_rows(expected / "metrics.csv")


@pytest.mark.parametrize("stop_before", [1, 4, 5, 9, 11])
def test_signal_then_resume(split, uninterrupted, tmp_path, monkeypatch, stop_before):
    """A signal is noticed before some step; its state is written and the next call goes on from it."""
    whole = KeepState.on_train_batch_start

    def with_signal(self, trainer, *args):
        if trainer.global_step == stop_before:
            os.kill(os.getpid(), signal.SIGTERM if stop_before % 2 else signal.SIGUSR1)
        whole(self, trainer, *args)

    with monkeypatch.context() as patched:
        patched.setattr(KeepState, "on_train_batch_start", with_signal)
        assert not train(split, tmp_path)
    assert not (tmp_path / "model.ckpt").exists()
    assert list_states(tmp_path / "run/states")[0].name == f"step{stop_before:09}.state"
    assert train(split, tmp_path)
    assert_same_result(tmp_path, uninterrupted)


@pytest.mark.parametrize("lost_at", [2, 8, 10])
def test_crash_then_resume(split, uninterrupted, tmp_path, monkeypatch, lost_at):
    """A crash loses what came after the last state; those steps are made again and are in metrics.csv once."""
    whole = KeepState.on_train_batch_end

    def with_crash(self, trainer, *args):
        whole(self, trainer, *args)
        if trainer.global_step == lost_at:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(KeepState, "on_train_batch_end", with_crash)
        with pytest.raises(RuntimeError, match="power cut"):
            train(split, tmp_path)
    assert train(split, tmp_path)
    assert_same_result(tmp_path, uninterrupted)
