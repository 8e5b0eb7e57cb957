"""Both stages learn, go on where they were interrupted, and keep to what each may change."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from proven import skip_where_refused
from small_synth import make_examples, read_rows, settings, stop_before, train
from small_training import SCRIPTS

from connectomake.errors import ConfigError, ModelError, ResumeMismatchError
from connectomake.fitting.states import list_states
from connectomake.synth.autoencoder_training import SCORES, AutoencoderTraining
from connectomake.synth.checkpoints import load_autoencoder, load_discriminator
from connectomake.synth.codebook import Codebook

ALTERNATE = {"adversary_turns": "alternate"}
# The stage script; each process writes what it has in the end.
SPIED = """
import os, runpy, sys
import torch
folder, script = sys.argv[1:3]
sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(script))
from connectomake.synth.autoencoder_training import AutoencoderTraining

def write(self):
    torch.save(self.network.state_dict(), f"{folder}/rank{os.environ['RANK']}.pt")

AutoencoderTraining.on_train_end = write
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    return make_examples(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def first(examples, tmp_path_factory):
    """Return the folder of a finished first stage."""
    folder = tmp_path_factory.mktemp("stage1")
    assert train(examples, folder, settings())
    return folder


@pytest.fixture(scope="session")
def second(examples, first, tmp_path_factory):
    """Return the folder of a finished second stage."""
    folder = tmp_path_factory.mktemp("stage2")
    assert train(examples, folder, settings(), first / "model.ckpt")
    return folder


def assert_same_result(folder, expected):
    ours, theirs = (
        torch.load(where / "model.ckpt", weights_only=True, map_location="cpu") for where in (folder, expected)
    )
    assert ours["meta"] == theirs["meta"]
    for part in ("weights", "discriminator"):
        assert ours[part].keys() == theirs[part].keys()
        for name, value in ours[part].items():
            assert torch.equal(value, theirs[part][name]), name
    assert read_rows(folder / "metrics.csv") == read_rows(expected / "metrics.csv")


def follow(monkeypatch):
    """Note after each step what has changed in it: weights of the autoencoder, its codebook, the discriminator."""
    changed, whole = [], AutoencoderTraining.training_step

    def look(module):
        codes = list(module.model.codebook.buffers())
        parts = (list(module.model.parameters()), codes, list(module.discriminator.parameters()))
        return [[value.detach().clone() for value in part] for part in parts]

    def spy(self, batch, batch_idx):
        before = look(self)
        whole(self, batch, batch_idx)
        pairs = zip(before, look(self), strict=True)
        changed.append([not all(map(torch.equal, old, new)) for old, new in pairs])

    monkeypatch.setattr(AutoencoderTraining, "training_step", spy)
    return changed


def test_both_stages_write_all_they_declare(first, second):
    model, meta = load_autoencoder(second / "model.ckpt")
    assert (meta["stage"], meta["stage1_hash"]) == (2, load_autoencoder(first / "model.ckpt")[1]["hash"])
    assert meta["cfg"] == settings().model_dump(mode="json")
    assert not model.training
    for folder, steps in ((first, ["4", "8", "8"]), (second, ["4", "6"])):
        rows = read_rows(folder / "metrics.csv")
        assert [row["step"] for row in rows] == steps
        assert all(rows[0][f"validate_{name}"] for name in SCORES)
        assert rows[-1 if folder == second else 1]["train_discriminator"]
    assert "train_commitment" not in rows[0]


def test_the_first_stage_learns(examples, tmp_path, monkeypatch):
    changes = {"max_steps": 60, "learning_rate": 1e-2, "validate_every_steps": 10, "adversary_from_step": 99}
    stripes = np.broadcast_to(np.where(np.arange(16) // 6 % 2, 0.8, -0.8).astype(np.float32), (1, 16, 16, 16)).copy()
    monkeypatch.setattr("connectomake.synth.patches.read_example", lambda example, cfg: stripes)
    assert train(examples, tmp_path, settings(changes))
    rows = read_rows(tmp_path / "metrics.csv")
    psnr = [float(row["validate_psnr_db"]) for row in rows if row["validate_psnr_db"]]
    l1 = [float(row["train_l1"]) for row in rows if row["train_l1"]]
    assert psnr[-1] > psnr[0] + 2
    assert l1[-1] < 0.7 * l1[0]


@pytest.mark.parametrize(("changes", "step"), [({}, 5), (ALTERNATE, 4)], ids=["both", "alternate"])
def test_an_interrupted_first_stage_ends_as_if_it_had_not_been(examples, first, tmp_path, monkeypatch, changes, step):
    """All of the codebook's state is in the state file: it does not begin anew."""
    cfg = settings(changes)
    expected = first
    if changes:
        expected = tmp_path / "whole"
        assert train(examples, expected, cfg)
    stop_before(monkeypatch, step, lambda: train(examples, tmp_path / "cut", cfg))
    assert list_states(tmp_path / "cut/run/states")[0].stem == f"step{step:09}"
    assert not (tmp_path / "cut/model.ckpt").exists()
    started = []
    monkeypatch.setattr(Codebook, "_start", lambda self, vectors: started.append(1))
    assert train(examples, tmp_path / "cut", cfg)
    assert not started
    assert_same_result(tmp_path / "cut", expected)


def test_an_interrupted_second_stage_ends_as_if_it_had_not_been(examples, first, second, tmp_path, monkeypatch):
    stop_before(monkeypatch, 4, lambda: train(examples, tmp_path, settings(), first / "model.ckpt"))
    assert train(examples, tmp_path, settings(), first / "model.ckpt")
    assert_same_result(tmp_path, second)
    (tmp_path / "model.ckpt").unlink()
    monkeypatch.setattr(AutoencoderTraining, "training_step", None)  # a finished training only writes again
    assert train(examples, tmp_path, settings(), first / "model.ckpt")
    assert_same_result(tmp_path, second)


def test_the_second_stage_changes_the_decoder_alone(examples, first, second):
    before, after = (load_autoencoder(folder / "model.ckpt")[0] for folder in (first, second))
    assert after.frozen_hash() == before.frozen_hash()
    for name, value in before.state_dict().items():
        frozen = name.startswith(("encoder", "pre_quantise", "codebook"))
        assert torch.equal(value, after.state_dict()[name]) == frozen, name
    judges = [load_discriminator(folder / "model.ckpt").state_dict() for folder in (first, second)]
    assert not all(torch.equal(value, judges[1][name]) for name, value in judges[0].items())


def test_a_codebook_that_changes_in_the_second_stage_is_refused(examples, first, tmp_path, monkeypatch):
    whole = AutoencoderTraining.on_train_batch_end

    def disturb(self, *args):
        self.model.codebook.counts[0] += 1e-6
        whole(self, *args)

    monkeypatch.setattr(AutoencoderTraining, "on_train_batch_end", disturb)
    with pytest.raises(ModelError, match=r"stage 2 changed the encoder or the codebook.*train again"):
        train(examples, tmp_path, settings(), first / "model.ckpt")
    assert not (tmp_path / "model.ckpt").exists()


def test_each_step_of_both_trains_both(examples, tmp_path, monkeypatch):
    changed = follow(monkeypatch)
    assert train(examples, tmp_path, settings())
    assert changed == [[True, True, False]] * 3 + [[True, True, True]] * 5


def test_in_turns_the_discriminator_leaves_the_autoencoder_alone(examples, tmp_path, monkeypatch):
    """No graph of the autoencoder is built for the discriminator, and the codebook does not see the batch."""
    changed, look, graphs = follow(monkeypatch), AutoencoderTraining._look, []

    def spy(self, real):
        made = look(self, real)
        graphs.append((made.requires_grad, self.model.training))
        return made

    monkeypatch.setattr(AutoencoderTraining, "_look", spy)
    assert train(examples, tmp_path, settings({**ALTERNATE, "adversary_from_step": 2}))
    first, other = [True, True, False], [False, False, True]
    assert changed == [first] * 2 + [first, other] * 3
    assert graphs == [(False, True)] * 3
    assert read_rows(tmp_path / "metrics.csv")[-1]["step"] == "8"


@pytest.mark.parametrize("late", [False, True], ids=["cpu", "as a GPU tells it"])
def test_a_loss_that_is_not_finite_is_named(examples, first, tmp_path, monkeypatch, late):
    monkeypatch.setattr("connectomake.fitting.finite.tells_late", lambda device: late)
    broken = AutoencoderTraining._loss_of_autoencoder

    def spoil(self, real, adversary):
        if self.trainer.global_step == 4:
            self.perceptual.forward = lambda made, real: (made * float("nan")).mean()
        return broken(self, real, adversary)

    monkeypatch.setattr(AutoencoderTraining, "_loss_of_autoencoder", spoil)
    match = r"training diverged at step 5; .*not finite: the loss perceptual.*lower learning_rate"
    with pytest.raises(ModelError, match=match):
        train(examples, tmp_path, settings(stage2={"max_steps": 9}), first / "model.ckpt")
    state = torch.load(list_states(tmp_path / "run/states")[0], weights_only=True)
    assert state["global_step"] == 3
    assert all(bool(torch.isfinite(value).all()) for value in state["state_dict"].values())


def test_other_networks_or_examples_are_refused(examples, first, tmp_path, monkeypatch):
    wider = settings(autoencoder={**settings().autoencoder.model_dump(), "hidden": 6})
    with pytest.raises(ConfigError, match=r"synth.autoencoder is not that of .*run autoencoder_stage1 again"):
        train(examples, tmp_path, wider, first / "model.ckpt")
    with pytest.raises(ConfigError, match=r"synth.labels.kind does not fit"):
        train(examples, tmp_path, settings(labels={"kind": "joint"}), first / "model.ckpt")
    stop_before(monkeypatch, 4, lambda: train(examples, tmp_path, settings()))
    fewer = tmp_path / "fewer.tsv"
    fewer.write_text("\n".join(examples.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ResumeMismatchError, match="begun with other settings"):
        train(fewer, tmp_path, settings())
    with pytest.raises(ResumeMismatchError, match="learning_rate"):
        train(examples, tmp_path, settings({"learning_rate": 1e-4}))


def test_image_and_map_are_learnt_together_in_bfloat16_with_a_worker(examples, tmp_path):
    changes = {"max_steps": 2, "validate_every_steps": 2, "adversary_from_step": 0}
    changes |= {"precision": "bfloat16", "workers": 1}
    with skip_where_refused():
        assert train(examples, tmp_path, settings(changes, labels={"kind": "joint", "distance_nm": 40.0}))
    assert load_autoencoder(tmp_path / "model.ckpt")[0].channels == 2


@pytest.mark.slow("trains in two processes that torchrun starts")
def test_two_processes_have_the_same_weights_and_one_codebook(examples, tmp_path):
    cfg = settings({"devices": 2, "max_steps": 5, "adversary_from_step": 1, "batch": 1})
    (tmp_path / "spied.py").write_text(SPIED)
    (tmp_path / "synth.yaml").write_text(yaml.safe_dump(cfg.model_dump(mode="json")))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    files = {"config": tmp_path / "synth.yaml", "examples": examples, "checkpoint": tmp_path / "model.ckpt"}
    files |= {"metrics": tmp_path / "metrics.csv", "run-folder": tmp_path / "run"}
    flags = [str(text) for name, path in files.items() for text in (f"--{name}", path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    told = subprocess.run(
        [*torchrun, str(tmp_path / "spied.py"), str(tmp_path), str(SCRIPTS / "autoencoder_stage1.py"), *flags],
        capture_output=True, text=True, timeout=300, env=environment | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    ours, theirs = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    saved = load_autoencoder(tmp_path / "model.ckpt")[0].codebook
    assert torch.equal(saved.codes, ours["autoencoder.codebook.codes"])
    # The counts begin at 1 for each of 16 codes, and follow the 64 latents of a patch of each process.
    expected = 16.0
    for _ in range(5):
        expected += 0.01 * (2 * 64 - expected)
    assert float(saved.counts.sum()) == pytest.approx(expected, rel=1e-5)
    assert [row["step"] for row in read_rows(tmp_path / "metrics.csv")] == ["4", "5"]
