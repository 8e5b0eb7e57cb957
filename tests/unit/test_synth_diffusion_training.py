"""The denoiser's training: it learns, several shapes at once, and comes out the same however often it is stopped."""

import csv
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from connectomake.config.settings.synth import GenerateConfig, SynthConfig
from connectomake.errors import DataError, MissingDataError, ResumeMismatchError
from connectomake.geometry import Box
from connectomake.synth.autoencoder import PatchVolumeAutoencoder
from connectomake.synth.buckets import Buckets
from connectomake.synth.checkpoints import load_diffusion, save_autoencoder
from connectomake.synth.diffusion import Diffusion
from connectomake.synth.diffusion_training import DiffusionTraining, LatentSamples, batches_of, train_diffusion
from connectomake.synth.examples import Example, read_table, write_table
from connectomake.synth.latents import locate_latent, read_latents, write_latent

SHAPES = ((16, 16, 16), (16, 16, 32))
MEANS = {"bright": 0.5, "dark": -0.5}


def settings(kind: str = "none", **diffusion: object) -> SynthConfig:
    values = {
        "examples": {"shapes_zyx_vx": SHAPES},
        "labels": {"kind": kind},
        "autoencoder": {
            "ratio_zyx": [4, 4, 4], "patch_zyx_vx": [16, 16, 16], "hidden": 4, "groups": 2, "embedding": 2, "codes": 8,
            "heads": 1, "head_channels": 4,
        },
        "denoiser": {
            "dim": 12, "mults": [1, 1, 2], "attention": [False, False, True], "subvolume": 4, "heads": 2,
            "head_channels": 8, "groups": 4,
        },
        "diffusion": {
            "max_steps": 10, "batches": [3, 2], "learning_rate": 2e-3, "device": "cpu", "label_dropout": 0.2,
            "validate_every_steps": 4, "validate_volumes": 2, "checkpoint_every_steps": 3,
            "ema": {"decay": 0.8, "every_steps": 2, "from_step": 4}, **diffusion,
        },
        "generate": {"sampler": "ddpm"},
    }  # fmt: skip
    return SynthConfig.model_validate(values)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Five examples of each class to learn from and one to measure by, of two shapes; with maps."""
    folder, cfg = tmp_path_factory.mktemp("latents"), settings()
    rng = np.random.default_rng(0)
    rest = ((10.0, 10.0, 10.0), (0.0, 255.0), "uint8")
    examples = [
        Example(
            f"{name}_{n}", "a", name, "learn" if n < 5 else "hold", Path("a.zarr"), Box.of_shape(shape), shape, *rest
        )
        for name in MEANS
        for n, shape in enumerate([SHAPES[0]] * 3 + [SHAPES[1]] * 3)
    ]
    write_table(folder / "examples.tsv", examples)
    model = PatchVolumeAutoencoder(cfg.autoencoder, cfg.image_channels)
    own = save_autoencoder(folder / "autoencoder.ckpt", model, {"cfg": cfg.model_dump(mode="json")})
    for example in examples:
        shape = [side // 4 for side in example.shape_zyx_vx]
        z = (MEANS[example.class_name] + 0.1 * rng.standard_normal((2, *shape))).astype(np.float32)
        said = {"autoencoder": own, "example": example.as_settings(), "turns": 1, "codebook": [-1.0, 1.0]}
        distances = rng.uniform(-1, 1, (1, *example.shape_zyx_vx)).astype(np.float32)
        write_latent(locate_latent(folder / "latents", example, 0), z, distances, said)
    return folder


def train(data: Path, to: Path, cfg: SynthConfig) -> bool:
    return train_diffusion(
        data / "examples.tsv", data / "autoencoder.ckpt", data / "latents",
        to / "model.ckpt", to / "metrics.csv", to / "run", cfg,
    )  # fmt: skip


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def stop_before(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let a signal come in the step before."""
    whole = DiffusionTraining.training_step

    def with_signal(self: DiffusionTraining, *given: object) -> torch.Tensor:
        if self.trainer.global_step == step - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return whole(self, *given)

    monkeypatch.setattr(DiffusionTraining, "training_step", with_signal)


def load_all(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    found = torch.load(folder / "model.ckpt", weights_only=True)
    return {name: found[name] for name in ("weights", "plain_weights")}


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert train(data, folder, settings())
    return folder


def test_stopped_twice_it_ends_with_the_same_weights_and_averages(data, uninterrupted, tmp_path, monkeypatch):
    for step in (3, 7):
        with monkeypatch.context() as patch:
            stop_before(patch, step)
            assert not train(data, tmp_path, settings())
        assert not (tmp_path / "model.ckpt").exists()
    assert train(data, tmp_path, settings())
    found, expected = load_all(tmp_path), load_all(uninterrupted)
    for kind, weights in expected.items():
        assert all(torch.equal(found[kind][name], value) for name, value in weights.items())
    timeless = [
        [{key: row[key] for key in ("step", "train_loss", "validate_loss")} for row in read_rows(folder)]
        for folder in (tmp_path, uninterrupted)
    ]
    assert timeless[0] == timeless[1]


def test_the_average_lags_behind_the_weights_once_it_has_begun(data, uninterrupted, tmp_path):
    found = load_all(uninterrupted)
    assert any(not torch.equal(found["weights"][name], value) for name, value in found["plain_weights"].items())
    assert train(data, tmp_path, settings(max_steps=3))
    found = load_all(tmp_path)
    assert all(torch.equal(found["weights"][name], value) for name, value in found["plain_weights"].items())


def test_the_checkpoint_tells_all_that_generating_needs(uninterrupted):
    model, meta = load_diffusion(uninterrupted / "model.ckpt")
    assert meta["classes"] == ["bright", "dark"]
    assert meta["normalisation"] == {"kind": "codebook", "offset": [0, 0], "scale": [1, 1]}
    assert model.label.num_embeddings == 3
    assert not model.training
    validated = [row["validate_loss"] for row in read_rows(uninterrupted) if row["validate_loss"]]
    assert len(validated) == 2


def test_of_the_same_noise_it_makes_what_the_class_asks_for(data, tmp_path):
    ema = {"decay": 0.8, "every_steps": 2, "from_step": 20}
    assert train(data, tmp_path, settings(max_steps=40, batches=[2, 2], learning_rate=1e-2, label_dropout=0, ema=ema))
    losses = [float(row["train_loss"]) for row in read_rows(tmp_path) if row["train_loss"]]
    assert losses[-1] < 0.6 < losses[0]
    model, _ = load_diffusion(tmp_path / "model.ckpt")
    own = [torch.Generator().manual_seed(n) for n in (0, 1, 0, 1)]
    noise = torch.stack([torch.randn(2, 4, 4, 8, generator=g) for g in own])
    made = Diffusion(1000).sample(model, noise, torch.tensor([0, 0, 1, 1]), None, GenerateConfig(steps=10), True, own)
    bright, dark = made.mean((1, 2, 3, 4)).view(2, 2)
    assert (bright - dark > 0.15).all()


def test_labels_are_given_as_maps(data, tmp_path):
    assert train(data, tmp_path, settings("conditional", max_steps=2))
    model, _ = load_diffusion(tmp_path / "model.ckpt")
    assert model.map is not None


def test_a_step_takes_latents_of_one_shape_in_its_own_batch(data):
    cfg = settings()
    hash_ = torch.load(data / "autoencoder.ckpt", weights_only=True)["meta"]["hash"]
    found = read_latents(data / "latents", hash_, read_table(data / "examples.tsv"))
    learnt = [latent for latent in found if latent.example.role == "learn"]
    batches = batches_of(learnt, cfg)
    assert batches == {(4, 4, 4): 3, (4, 4, 8): 2}
    for kept_gb in (1.0, 0.0):
        samples = LatentSamples(learnt, ["bright", "dark"], True, kept_gb)
        buckets = Buckets([latent.shape_zyx for latent in learnt], batches, 0)
        for step in range(6):
            taken = [samples[number] for number in buckets.numbers_of(step)]
            shape = taken[0]["z"].shape[1:]
            assert len(taken) == batches[shape]
            assert all(one["map"].shape == (1, *(4 * side for side in shape)) for one in taken)
            assert all(np.sign(one["z"].mean()) == (1 if one["class"] == 0 else -1) for one in taken)
    other = SynthConfig.model_validate({"examples": {"shapes_zyx_vx": SHAPES[:1]}, "autoencoder": cfg.autoencoder})
    with pytest.raises(DataError, match=r"none of examples.shapes_zyx_vx; expected \[16, 16, 16\]; got \[16, 16, 32\]"):
        batches_of(learnt, other)


def test_it_refuses_other_settings_and_latents_that_are_not_there(data, uninterrupted, tmp_path):
    with pytest.raises(ResumeMismatchError, match=r"learning_rate was 0\.002, is now 0\.1"):
        train(data, uninterrupted, settings(learning_rate=0.1))
    with pytest.raises(MissingDataError, match="no latents"):
        train_diffusion(
            data / "examples.tsv", data / "autoencoder.ckpt", tmp_path,
            tmp_path / "model.ckpt", tmp_path / "metrics.csv", tmp_path / "run", settings(),
        )  # fmt: skip
