"""A training that takes a second: two small volumes, a tiny network, twelve steps."""

import csv
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from connectomake.augment.grey import NoiseConfig
from connectomake.config.settings.augment import AugmentConfig, FlipConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.files import write_json
from connectomake.fitting.states import KeepState
from connectomake.geometry import Box
from connectomake.models.checkpoint import load_checkpoint
from connectomake.split.table import SplitRow, write_split
from connectomake.train import train_model as run
from connectomake.train.train_model import train_model
from connectomake.volumes.store import write_store

SCRIPTS = Path(__file__).parents[2] / "scripts"
AUGMENT = AugmentConfig(flip=FlipConfig(), noise=NoiseConfig())

# What a window costs in an architecture: to list it is half of the time of so small a training.
COSTS = {}


def list_costs_once(network, in_channels, window_zyx, listing=run.list_costs):
    key = str(network.cfg), str(network), in_channels, tuple(window_zyx)
    if key not in COSTS:
        COSTS[key] = listing(network, in_channels, window_zyx)
    return COSTS[key]


run.list_costs = list_costs_once


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


def refuse(match, **values):
    with pytest.raises(ValidationError, match=match):
        TrainConfig.model_validate(values)


def make_volume(folder, name, role, seed, shape=(24, 32, 40), nm=(10.0, 10.0, 10.0)):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, 5, [-(-n // 8) for n in shape], np.uint32)
    labels = np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 8), np.uint32))[tuple(map(slice, shape))])
    raw = (labels * 40 + rng.integers(0, 20, shape)).astype(np.uint8)
    return make_volume_of(folder, name, role, raw, labels, nm)


def make_volume_of(folder, name, role, raw, labels, nm=(10.0, 10.0, 10.0)):
    entries, shape = {}, raw.shape
    for part, array in (("raw", raw), ("labels", labels)):
        write_store(folder / f"{part}.zarr", array, voxel_size_zyx_nm=nm, offset_zyx_nm=(0.0, 0.0, 0.0), attributes={})
        box = [[0, 0, 0], list(shape)]
        entries[part] = {"source": f"{part}.zarr", "axes": "zyx", "box_zyx_vx": box, "dtype": array.dtype.name}
    common = {"shape_zyx": shape, "voxel_size_zyx_nm": nm, "offset_zyx_nm": (0, 0, 0), "settings": {}}
    write_json(folder / "volume.json", {"name": name, "role": role, "weight": 1.0, **common, **entries})
    return SplitRow(name, role, folder / "volume.json", Box.of_shape(shape))


def make_split(folder):
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


def assert_same_result(folder, expected):
    ours, theirs = weights_of(folder), weights_of(expected)
    assert ours[1].hash == theirs[1].hash
    for name, value in ours[0].items():
        torch.testing.assert_close(value, theirs[0][name], rtol=0, atol=0)
    assert read_rows(folder / "metrics.csv") == read_rows(expected / "metrics.csv")


def stop_at_step(monkeypatch, split, folder, step, cfg=None, number=signal.SIGTERM):
    whole = KeepState.on_train_batch_start

    def with_signal(self, trainer, *args):
        if trainer.global_step == step:
            os.kill(os.getpid(), number)
        whole(self, trainer, *args)

    with monkeypatch.context() as patched:
        patched.setattr(KeepState, "on_train_batch_start", with_signal)
        assert not train(split, folder, cfg)
