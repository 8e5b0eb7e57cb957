"""Optimizers, learning rates, averages of weights, and what a step is."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_training import read_rows, refuse, settings, train, weights_of
from torch import nn

from connectomake.config.settings.train import TrainConfig
from connectomake.config.settings.train_optimizer import OptimizerConfig, ScheduleConfig
from connectomake.fitting.averages import ema_share, has_batch_norm, measure_batch_norm, move_average
from connectomake.fitting.optimizer import make_optimizer, split_parameters
from connectomake.fitting.schedule import Plateau, learning_rate
from connectomake.models import build_model
from connectomake.train.module import Training

# Optimizer


@pytest.mark.parametrize(
    ("model", "undecayed"),
    [
        ({"architecture": "mednext", "filters": 4, "grn": True}, ["grn_gamma", "grn_beta"]),
        (
            {
                "architecture": "monai_unetr",
                "filters": 4,
                "image_zyx_vx": [32, 32, 32],
                "hidden_channels": 24,
                "mlp_channels": 24,
                "attention_heads": 2,
            },
            ["position_embeddings"],
        ),
        ({"architecture": "residual_unet", "filters": [4, 4, 4, 4, 4]}, ["bias"]),
    ],
)
def test_weights_decay_and_nothing_else(model, undecayed):
    network = build_model(model, 1, 3)
    decayed, others = split_parameters(network)
    assert sorted(map(id, decayed + others)) == sorted(map(id, network.parameters()))
    names = {id(value): name for name, value in network.named_parameters()}
    assert all(names[id(value)].endswith("weight") and value.ndim > 1 for value in decayed)
    kept = {names[id(value)].rpartition(".")[2] for value in others}
    assert kept <= {"weight", "bias", *undecayed}
    assert set(undecayed) <= kept
    matrices = [layer for layer in network.modules() if isinstance(layer, nn.Conv3d | nn.Linear)]
    assert {id(layer.weight) for layer in matrices} <= set(map(id, decayed))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimizers_have_two_groups_and_one_decays(name):
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    optimizer = make_optimizer(network, OptimizerConfig(name=name, weight_decay=0.5, learning_rate=0.1), fused=True)
    assert type(optimizer).__name__.lower() == name
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0]
    before = [value.detach().clone() for value in network.parameters()]
    for value in network.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    changed = [bool((a != b).any()) for a, b in zip(before, network.parameters(), strict=True)]
    assert changed == [True, False, False, False]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_an_optimizer_that_is_told_of_a_bad_step_leaves_the_weights(name):
    """What a GPU does by itself, before anybody has looked."""
    network = nn.Linear(2, 2)
    optimizer = make_optimizer(network, OptimizerConfig(name=name), fused=True)
    optimizer.found_inf = torch.tensor(1.0)
    before = network.weight.detach().clone()
    for value in network.parameters():
        value.grad = torch.full_like(value, float("nan"))
    optimizer.step()
    assert torch.equal(network.weight, before)


def test_settings_that_are_not_read_are_refused():
    refuse("momentum is read by name: sgd only, not by adamw", optimizer={"momentum": 0.5})
    refuse("betas is read by name: adamw or adam only", optimizer={"name": "sgd", "betas": [0.5, 0.9]})
    refuse("factor is read by shape: step or plateau only, not by cosine", schedule={"factor": 0.5})
    refuse("floor is read by shape", schedule={"shape": "constant", "floor": 0.5})
    TrainConfig.model_validate(TrainConfig().model_dump(mode="json"))  # defaults that are written out are fine


# Learning rate


def test_a_schedule_whose_horizon_is_not_the_trainings_is_refused():
    step = {"shape": "step", "milestones_steps": [300, 1000]}
    refuse(r"after the warm-up and before max_steps, 50 to 999: got 1000", schedule=step, max_steps=1000)
    TrainConfig.model_validate({"schedule": step, "max_steps": 1001})
    refuse("got 40", schedule={"shape": "step", "milestones_steps": [40]}, max_steps=1000)
    refuse("must rise", schedule={"shape": "step", "milestones_steps": [300, 200]})
    refuse("needs milestones_steps", schedule={"shape": "step"})
    refuse("schedule.patience must be fewer than the 5 validations", schedule={"shape": "plateau"})


def test_cosine_rises_and_falls():
    cosine = ScheduleConfig(warmup=0.1)
    rates = [learning_rate(i / 100, 0, cosine, 0.5) for i in range(101)]
    assert max(rates) == rates[10] == 0.5
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert learning_rate(1.5, 0, cosine, 0.5) == pytest.approx(0, abs=1e-12)
    assert learning_rate(0.0, 0, ScheduleConfig(warmup=0), 0.5) == 0.5


@given(
    progress=st.floats(0, 1),
    warmup=st.sampled_from([0.0, 0.1, 0.5]),
    floor=st.floats(0, 0.9),
    shape=st.sampled_from(["cosine", "step", "plateau"]),
    reductions=st.integers(0, 5),
)
def test_rates_stay_between_floor_and_peak(progress, warmup, floor, shape, reductions):
    milestones = {"milestones_steps": (60, 80)} if shape == "step" else {}
    cfg = ScheduleConfig(shape=shape, warmup=warmup, warmup_start=0.25, floor=floor, **milestones)
    rate = learning_rate(progress, int(100 * progress), cfg, 2.0, reductions if shape == "plateau" else 0)
    assert rate <= 2 * (1 + 1e-12)
    assert rate >= 2 * (floor if progress >= warmup else 0.25) * (1 - 1e-12)


def test_step_constant_and_plateau():
    step = ScheduleConfig(shape="step", warmup=0, milestones_steps=(3, 5), factor=0.5)
    assert [learning_rate(s / 7, s, step, 8.0) for s in range(7)] == [8, 8, 8, 4, 4, 2, 2]
    constant = ScheduleConfig(shape="constant", warmup=0.5, warmup_start=0.5)
    assert [learning_rate(p, 0, constant, 8.0) for p in (0, 0.25, 0.5, 1)] == [4, 6, 8, 8]
    plateau = Plateau(patience=2)
    rates = []
    for loss in (3.0, 2.0, 2.0, 2.5, float("nan"), 1.0, 1.5, 1.0):
        plateau.update(loss)
        rates.append(learning_rate(0.9, 0, ScheduleConfig(shape="plateau", floor=0.05), 1.0, plateau.reductions))
    assert rates == [1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.05]


# Averages


def test_moving_average_follows_the_weights():
    average, network = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    nn.init.constant_(average.weight, 0.0)
    expected = 0.0
    for step in range(1, 200):
        network.weight.data.fill_(float(step))
        network.num_batches_tracked.fill_(step)
        network.running_mean.fill_(float(step))
        move_average(average, network, ema_share(step, 0.9))
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
        assert average.weight.item() == pytest.approx(expected, rel=1e-5)
    assert average.num_batches_tracked == 199
    assert average.running_mean.item() == pytest.approx(expected, rel=1e-5)


def test_plain_average_is_the_mean():
    average, network = nn.Linear(2, 1), nn.Linear(2, 1)
    taken = [torch.rand(1, 2) for _ in range(4)]
    for count, weights in enumerate(taken):
        network.weight.data.copy_(weights)
        move_average(average, network, 1 / (count + 1))
    torch.testing.assert_close(average.weight.data, torch.stack(taken).mean(0))


def test_batch_norms_of_an_average_are_measured():
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2)).eval()
    assert has_batch_norm(network)
    assert not has_batch_norm(nn.InstanceNorm3d(2))
    nn.init.constant_(network[0].weight, 3.0)
    nn.init.constant_(network[0].bias, 1.0)
    inputs = [torch.rand(1, 1, 4, 4, 4) for _ in range(3)]
    measure_batch_norm(network, iter(inputs))
    assert network[1].running_mean[0].item() == pytest.approx(3 * torch.stack(inputs).mean().item() + 1, rel=1e-5)
    assert not network.training


def test_averages_that_exclude_each_other_or_never_come_are_refused():
    refuse("two averages of the same weights", swa_start=0.5)
    refuse("none ends after step 950", swa_start=0.95, ema_decay=0, max_steps=1000, validate_every_steps=300)


def test_plain_average_is_saved(split, tmp_path):
    cfg = settings(ema_decay=0, swa_start=0.5, max_steps=12, validate_every_steps=3, checkpoint_every_steps=3)
    seen = []
    whole = Training.on_train_batch_end

    def spy(self, *args):
        whole(self, *args)
        if self.trainer.global_step in (6, 9, 12):
            seen.append({name: value.clone() for name, value in self.network.state_dict().items()})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Training, "on_train_batch_end", spy)
        assert train(split, tmp_path, cfg)
    for name, value in weights_of(tmp_path)[0].items():
        torch.testing.assert_close(value, torch.stack([weights[name] for weights in seen]).mean(0))


# Steps


def test_accumulated_batches_are_one_batch(split, tmp_path):
    common = {"model": {"filters": [4] * 6}, "optimizer": {"name": "sgd"}, "max_steps": 4}
    common["losses"] = [{"loss": "bce"}]  # its mean over a batch is that of its patches
    assert train(split, tmp_path / "parts", settings(batch=1, accumulate=2, read_context=False, **common))
    assert train(split, tmp_path / "whole", settings(batch=2, read_context=False, **common))
    ours, theirs = weights_of(tmp_path / "parts")[0], weights_of(tmp_path / "whole")[0]
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)
    steps = [row["step"] for row in read_rows(tmp_path / "parts/metrics.csv")]
    assert steps == [row["step"] for row in read_rows(tmp_path / "whole/metrics.csv")]


def test_gradients_are_clipped(split, tmp_path, monkeypatch):
    norms = []
    whole = Training.on_before_optimizer_step

    def spy(self, optimizer):
        whole(self, optimizer)
        norms.append(float(nn.utils.get_total_norm([p.grad for p in self.network.parameters()])))

    monkeypatch.setattr(Training, "on_before_optimizer_step", spy)
    assert train(split, tmp_path, settings(gradient_clip=1e-3, max_steps=2, validate_every_steps=2))
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-2)


@pytest.mark.slow("loads torch's compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, while it traces
def test_a_compiled_network_trains_and_keeps_its_names(split, tmp_path, monkeypatch):
    """With the backend that compiles nothing: the compiler of a CPU takes minutes."""
    whole, compiled = nn.Module.compile, []

    def compile_eagerly(self, *args, **kwargs):
        compiled.append(self)
        whole(self, *args, backend="eager", **kwargs)

    monkeypatch.setattr(nn.Module, "compile", compile_eagerly)
    common = {"max_steps": 3, "validate_every_steps": 3, "model": {"filters": [4] * 6}}
    assert train(split, tmp_path / "compiled", settings(compile=True, **common))
    assert len(compiled) == 1
    assert train(split, tmp_path / "plain", settings(**common))
    ours, theirs = weights_of(tmp_path / "compiled")[0], weights_of(tmp_path / "plain")[0]
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-4)


def test_a_trial_is_one_step_and_one_validation(split, tmp_path):
    assert train(split, tmp_path, settings(fast_dev_run=True, patience=1))
    rows = read_rows(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows] == ["1", "1"]
    assert [bool(row["validate_loss"]) for row in rows] == [False, True]
    assert (tmp_path / "model.ckpt").exists()


def test_training_starts_from_given_weights(split, tmp_path):
    assert train(split, tmp_path / "first", settings(max_steps=2, validate_every_steps=2))
    given = {"initial_weights": {"path": str(tmp_path / "first/model.ckpt")}}
    cfg = settings(max_steps=1, validate_every_steps=1, optimizer={"learning_rate": 1e-12}, seed=9, **given)
    assert train(split, tmp_path / "second", cfg)
    ours, theirs = weights_of(tmp_path / "second")[0], weights_of(tmp_path / "first")[0]
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-9)
