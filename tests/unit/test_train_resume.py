"""A training that is stopped, by whatever means, ends with the weights of one that was not."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from proven import skip_where_refused
from slow_cases import slow_but
from small_training import (
    AUGMENT,
    SCRIPTS,
    assert_same_result,
    make_volume,
    read_rows,
    settings,
    stop_at_step,
    train,
    weights_of,
)

from connectomake.augment.grey import NoiseConfig
from connectomake.config.settings.augment import AugmentConfig, FlipConfig
from connectomake.errors import ConfigError, DataError, ModelError, ResumeMismatchError
from connectomake.fitting.states import KeepState, list_states
from connectomake.models.checkpoint import load_checkpoint
from connectomake.split.table import read_split, write_split
from connectomake.train.module import Training
from connectomake.train.train_model import train_model

WAYS = {
    "accumulate": {"accumulate": 3, "max_steps": 8},
    "plain average": {
        "model": {"architecture": "residual_unet", "filters": [4, 4, 4, 4, 4], "norm": "batch"},
        "ema_decay": 0,
        "swa_start": 0.3,
        "max_steps": 8,
    },
    "plateau": {"schedule": {"shape": "plateau", "patience": 1, "factor": 0.5}, "validate_every_steps": 2},
    "sgd": {"optimizer": {"name": "sgd", "learning_rate": 0.1}, "schedule": {"shape": "step", "milestones_steps": [6]}},
    "bfloat16": {"precision": "bfloat16", "max_steps": 8},
    "best": {"keep": "best", "keep_best": 2, "validate_every_steps": 2},
    "deep supervision": {
        "model": {"architecture": "mednext_custom", "filters": 4, "deep_supervision": True},
        "patch_zyx_vx": [16, 16, 32],
        "max_steps": 8,
    },
}


TRAINS_AGAIN = "trains several times"


@pytest.mark.parametrize("way", slow_but(["accumulate"], WAYS, TRAINS_AGAIN))
def test_every_way_of_training_goes_on_where_it_was(split, tmp_path, monkeypatch, way):
    cfg = settings(**WAYS[way])
    with skip_where_refused():
        assert train(split, tmp_path / "whole", cfg)
    for step in (3, 7):
        stop_at_step(monkeypatch, split, tmp_path / "parts", step, cfg)
    assert train(split, tmp_path / "parts", cfg)
    assert_same_result(tmp_path / "parts", tmp_path / "whole")
    best = [sorted(path.name for path in (tmp_path / name / "run").glob("best/*")) for name in ("parts", "whole")]
    assert best[0] == best[1]
    assert len(best[0]) == cfg.keep_best


@pytest.mark.parametrize("stop_before", slow_but([4, 5], [1, 4, 5, 9, 11], TRAINS_AGAIN))
def test_signal_then_resume(split, uninterrupted, tmp_path, monkeypatch, stop_before):
    """A signal is noticed before some step; its state is written and the next call goes on from it."""
    stop_at_step(
        monkeypatch, split, tmp_path, stop_before, number=signal.SIGTERM if stop_before % 2 else signal.SIGUSR1
    )
    assert not (tmp_path / "model.ckpt").exists()
    assert list_states(tmp_path / "run/states")[0].name == f"step{stop_before:09}.state"
    assert train(split, tmp_path)
    assert_same_result(tmp_path, uninterrupted)


def test_signal_inside_a_step_waits_for_its_end(split, uninterrupted, tmp_path, monkeypatch):
    whole = Training.training_step

    def with_signal(self, *args):
        if self.trainer.global_step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "training_step", with_signal)
        assert not train(split, tmp_path)
    assert list_states(tmp_path / "run/states")[0].name == "step000000007.state"
    assert train(split, tmp_path)
    assert_same_result(tmp_path, uninterrupted)


@pytest.mark.parametrize("lost_at", slow_but([8], [2, 8, 10], TRAINS_AGAIN))
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


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half of a state"])
def test_damaged_state_is_passed_over(split, uninterrupted, tmp_path, monkeypatch, caplog, damage):
    stop_at_step(monkeypatch, split, tmp_path, 8)
    states = list_states(tmp_path / "run/states")
    assert [path.name for path in states] == ["step000000008.state", "step000000006.state"]
    states[0].write_bytes(damage)
    (states[0].parent / ".step000000009.abc.partial.state").write_bytes(b"left by a kill")
    assert train(split, tmp_path)
    assert "an older state is used" in caplog.text
    assert_same_result(tmp_path, uninterrupted)


def test_other_settings_are_refused_by_name(split, tmp_path, monkeypatch):
    stop_at_step(monkeypatch, split, tmp_path, 2)
    with pytest.raises(ResumeMismatchError, match=r"train.optimizer.learning_rate was 0.002, is now 0.1"):
        train(split, tmp_path, settings(optimizer={"learning_rate": 0.1}))
    args = split, tmp_path / "m", tmp_path / "c", tmp_path / "run", settings()
    with pytest.raises(ResumeMismatchError, match=r"augment.flip.probability"):
        train_model(*args, AugmentConfig(flip=FlipConfig(probability=0.1), noise=NoiseConfig()))


def test_what_changes_no_step_may_change(split, uninterrupted, tmp_path, monkeypatch):
    stop_at_step(monkeypatch, split, tmp_path, 5)
    assert train(split, tmp_path, settings(checkpoint_every_steps=1, memory_gb=0, workers=2, max_minutes=60))
    ours, theirs = weights_of(tmp_path)[0], weights_of(uninterrupted)[0]
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_finished_training_is_not_repeated(split, uninterrupted, tmp_path, monkeypatch):
    assert train(split, tmp_path)
    (tmp_path / "model.ckpt").unlink()
    monkeypatch.setattr("pytorch_lightning.Trainer.fit", None)
    assert train(split, tmp_path)
    assert_same_result(tmp_path, uninterrupted)


def test_time_limit_ends_the_training(split, tmp_path):
    assert train(split, tmp_path, settings(max_minutes=1e-6))
    rows = read_rows(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows] == ["1", "1"]
    assert rows[0]["validate_loss"] != ""
    assert (tmp_path / "model.ckpt").exists()


def test_time_limit_moves_the_learning_rate(split, tmp_path, monkeypatch):
    """Half of the time is gone at once: the first step has the rate of the middle, not of the warm-up."""
    monkeypatch.setattr(KeepState, "time_share", property(lambda self: 0.5))
    assert train(split, tmp_path, settings(max_minutes=1))
    rates = [float(row["learning_rate"]) for row in read_rows(tmp_path / "metrics.csv") if row["learning_rate"]]
    assert all(rate <= 0.00109 for rate in rates)


@pytest.fixture
def validation_losses(monkeypatch):
    """Let validations find these losses, one after the other."""
    losses = [0.5, 0.3, 0.4, 0.6, 0.2, 0.1]

    def score(self):
        self.validated_channels = {}
        self.validated = {"validate_loss": losses[self.trainer.global_step // 2 - 1], "validate_accuracy": 0.5}

    monkeypatch.setattr(Training, "on_validation_epoch_end", score)


def test_best_network_is_kept(split, tmp_path, validation_losses, monkeypatch):
    cfg = settings(keep="best", validate_every_steps=2, max_steps=8)
    stop_at_step(monkeypatch, split, tmp_path, 5, cfg)
    assert train(split, tmp_path, cfg)
    weights, meta = weights_of(tmp_path)
    assert meta.provenance["best_step"] == 4
    assert meta.provenance["best_validate_loss"] == 0.3
    states = torch.load(list_states(tmp_path / "run/states")[0], weights_only=True)
    last = {n.removeprefix("average."): v for n, v in states["state_dict"].items() if n.startswith("average.")}
    assert any((weights[name] != last[name]).any() for name in weights)
    best = states["callbacks"]["Selection"]["weights"]
    assert all((weights[name] == best[name]).all() for name in weights)


def test_patience_stops(split, tmp_path, validation_losses):
    assert train(split, tmp_path, settings(patience=2, validate_every_steps=2))
    assert read_rows(tmp_path / "metrics.csv")[-1]["step"] == "8"


def test_divergence_stops_before_it_is_saved(split, tmp_path):
    cfg = settings(
        optimizer={"learning_rate": 1e30}, schedule={"warmup": 0}, gradient_clip=None, checkpoint_every_steps=1
    )
    with pytest.raises(ModelError, match=r"diverged at step .* lower train.optimizer.learning_rate"):
        train(split, tmp_path, cfg)
    for state in list_states(tmp_path / "run/states"):
        weights = torch.load(state, weights_only=True)["state_dict"]
        assert all(torch.isfinite(value).all() for value in weights.values())
    assert not (tmp_path / "model.ckpt").exists()


def test_attempt_without_a_state_binds_nobody(split, tmp_path):
    with pytest.raises(ModelError, match="diverged"):
        train(split, tmp_path, settings(optimizer={"learning_rate": 1e30}, schedule={"warmup": 0}, gradient_clip=None))
    assert (tmp_path / "run/settings.json").exists()
    assert not list_states(tmp_path / "run/states")
    assert train(split, tmp_path)


def test_without_average_the_last_weights_are_saved(split, tmp_path):
    assert train(split, tmp_path, settings(ema_decay=0))
    state = torch.load(list_states(tmp_path / "run/states")[0], weights_only=True)["state_dict"]
    assert all((value == state[f"network.{name}"]).all() for name, value in weights_of(tmp_path)[0].items())


def test_checkpoint_says_what_it_is(uninterrupted):
    network, meta = load_checkpoint(uninterrupted / "model.ckpt")
    assert [channel["name"] for channel in meta.channels] == ["affinity z+1", "affinity y+1", "affinity x+1"]
    assert meta.window_zyx == (16, 16, 32)
    assert meta.divisor_zyx == (16, 16, 16)
    assert meta.voxel_size_zyx_nm == (10, 10, 10)
    assert meta.edge_convention == "source"
    assert 40 < meta.normalisation["mean"] < 180
    assert network(torch.zeros(1, 1, 16, 16, 32)).shape == (1, 3, 16, 16, 32)
    assert list((uninterrupted / "run/tensorboard").iterdir())


def test_split_that_cannot_be_trained_on_is_refused(split, tmp_path):
    rows = read_split(split)
    write_split(tmp_path / "none.tsv", rows[1:])
    with pytest.raises(DataError, match="no box to train on"):
        train(tmp_path / "none.tsv", tmp_path / "a")
    write_split(tmp_path / "alone.tsv", rows[:1])
    with pytest.raises(ConfigError, match="keep: best: there is no volume to validate on"):
        train(tmp_path / "alone.tsv", tmp_path / "b", settings(keep="best"))
    assert train(tmp_path / "alone.tsv", tmp_path / "c")
    coarse = make_volume(tmp_path / "coarse", "coarse", "train", 0, nm=(40.0, 10.0, 10.0))
    write_split(tmp_path / "mixed.tsv", [*rows, coarse])
    with pytest.raises(DataError, match="train and coarse cannot be learnt together"):
        train(tmp_path / "mixed.tsv", tmp_path / "d")
    with pytest.raises(DataError, match="smaller than a patch"):
        train(split, tmp_path / "e", settings(patch_zyx_vx=[32, 32, 32]))
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        train(split, tmp_path / "f", settings(precision="float16"))


@pytest.mark.slow("trains in processes that are killed")
def test_killed_process_goes_on(split, tmp_path):
    """Kill -9 between two states, then SIGTERM (exit code 75: try again), then finish."""
    cfg = settings(max_steps=80, validate_every_steps=20, checkpoint_every_steps=5)
    assert train(split, tmp_path / "whole", cfg)
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(cfg.model_dump(mode="json")))
    (tmp_path / "augment.yaml").write_text(yaml.safe_dump(AUGMENT.model_dump(mode="json")))
    outputs = [
        "--checkpoint",
        tmp_path / "model.ckpt",
        "--metrics",
        tmp_path / "metrics.csv",
        "--run-folder",
        tmp_path / "run",
    ]
    inputs = ["--split", split, "--config", tmp_path / "train.yaml", "--augment", tmp_path / "augment.yaml"]
    command = [sys.executable, SCRIPTS / "train_model.py", *inputs, *outputs]

    def start_until(step, number):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and newest() < step:
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate()
        return process.returncode

    def newest():
        found = list_states(tmp_path / "run/states")
        return int(found[0].stem[4:]) if found else 0

    assert start_until(5, signal.SIGKILL) == -signal.SIGKILL
    assert start_until(newest() + 5, signal.SIGTERM) == 75
    assert not (tmp_path / "model.ckpt").exists()
    subprocess.run(command, check=True, stderr=subprocess.PIPE)
    assert_same_result(tmp_path, tmp_path / "whole")
