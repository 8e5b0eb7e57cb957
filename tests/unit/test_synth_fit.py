"""What the trainings of a generator share, by one that learns a number."""

import pytest
import torch
from small_synth import stop_before
from torch import nn

from connectomake.config.settings.synth import FitConfig, Stage1Config
from connectomake.errors import ConfigError, ModelError, ResumeMismatchError
from connectomake.fitting.states import list_states
from connectomake.precision import choose
from connectomake.synth.fit import Learner, StepData, finish, fit, fixed_settings, processes_of


class Guess(Learner):
    """Learns the mean of what it sees, and draws noise as it does."""

    def __init__(self, cfg, folder):
        super().__init__(nn.Linear(1, 1), cfg, folder, ["loss"], ["validate_error"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.network.parameters(), lr=self.cfg.learning_rate, fused=True)

    def training_step(self, batch, batch_idx):
        (loss,) = self.losses_of(batch)
        self.trained["loss"] = loss.detach()
        return loss

    def losses_of(self, batch):
        noise = torch.randn_like(batch["value"]) / 10
        return [(self.network(torch.ones_like(batch["value"])) - batch["value"] - noise).square().mean()]

    def on_before_optimizer_step(self, optimizer):
        self.look_at(self.trained["loss"], optimizer)

    def validation_step(self, batch, batch_idx):
        assert batch["value"].shape == (1, 1)
        self.validated = {"validate_error": float(self.network(batch["value"]))}


class Numbers:
    def __init__(self, broken=-1):
        self.made, self.broken = [], broken

    def __len__(self):
        return 3

    def __getitem__(self, number):
        self.made.append(number)
        value = float("nan") if number == self.broken else float(number % 3)
        return {"value": torch.tensor([value])}


def settings(**changes):
    values = {"max_steps": 12, "batch": 2, "validate_every_steps": 4, "checkpoint_every_steps": 3, "device": "cpu"}
    return FitConfig.model_validate(values | changes)


def train(folder, cfg, numbers=None, module=None):
    torch.manual_seed(0)
    module = module or Guess(cfg, folder)
    data = StepData(numbers or Numbers(), Numbers(), cfg.batch, cfg.max_steps, cfg.workers)
    with processes_of(cfg, 1) as environment:
        if not fit(module, data, folder / "run", fixed_settings(cfg), environment):
            return None
        finish(folder / "run", folder / "metrics.csv", lambda: torch.save({}, folder / "model.ckpt"))
    return module.network.state_dict()


def test_a_training_goes_on_as_if_it_had_not_been_interrupted(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", settings())
    stop_before(monkeypatch, 5, lambda: train(tmp_path / "cut", settings()))
    assert not (tmp_path / "cut/metrics.csv").exists()
    numbers = Numbers()
    after = train(tmp_path / "cut", settings(max_minutes=60), numbers)  # how long it may take is no part of it
    assert numbers.made == list(range(10, 24))
    assert all(torch.equal(value, after[name]) for name, value in whole.items())
    table = (tmp_path / "cut/metrics.csv").read_text().splitlines()
    assert table[0] == "step,seconds,steps_per_s,learning_rate,train_loss,validate_error"
    assert [row.split(",")[0] for row in table[1:]] == ["4", "8", "10", "12", "12"]
    again = train(tmp_path / "cut", settings(), Numbers(broken=0))  # nothing is left to do
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_other_settings_are_refused_once_there_is_a_state(tmp_path, monkeypatch):
    stop_before(monkeypatch, 0, lambda: train(tmp_path, settings(seed=1)))
    stop_before(monkeypatch, 5, lambda: train(tmp_path, settings()))
    with pytest.raises(ResumeMismatchError, match="seed was 0, is now 2"):
        train(tmp_path, settings(seed=2))


def test_what_is_not_finite_stops_it(tmp_path):
    with pytest.raises(
        ModelError, match=r"training diverged at step 3; .* not finite: the loss; see .*lower learning_rate"
    ):
        train(tmp_path, settings(), Numbers(broken=4))
    assert not list_states(tmp_path / "run/states")


def test_a_gradient_that_is_not_finite_is_told_from_a_loss(tmp_path):
    module = Guess(settings(), tmp_path)
    module.network.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(ModelError, match="not finite: the gradient"):
        train(tmp_path, settings(), module=module)


def test_a_step_that_is_finite_when_computed_again_is_the_computers_fault(tmp_path, monkeypatch):
    whole, broken = Guess.training_step, [False, False, True]
    monkeypatch.setattr(
        Guess, "training_step", lambda self, *args: whole(self, *args) * (float("nan") if broken.pop(0) else 1)
    )
    with pytest.raises(ModelError, match=r"step 3 was computed wrongly.*32-true on cpu.*memory of this computer"):
        train(tmp_path, settings())


def test_bfloat16_that_a_cpu_computes_wrongly_is_refused_before_the_first_step(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(choose, "find_fault", lambda cpu, dtype, operations: asked.append(operations) or "the output")
    with pytest.raises(ConfigError, match=r"precision: bfloat16 gives wrong numbers on this CPU .*got the output"):
        train(tmp_path, settings(precision="bfloat16"))
    (operations,) = asked
    assert [(operation["op"], operation["learns"]) for operation in operations] == [
        ("aten.addmm.default", True),
        ("aten.addmm.default", False),
    ]
    assert not list_states(tmp_path / "run/states")


def test_a_gpu_leaves_all_weights_alone_where_a_step_is_not_finite(tmp_path, monkeypatch):
    """The CPU plays the GPU; the second optimizer is told what the first one is."""
    monkeypatch.setattr("connectomake.fitting.finite.tells_late", lambda device: True)
    module = Guess(settings(), tmp_path)
    module._trainer = type("Trainer", (), {"global_step": 0, "precision_plugin": None})()
    weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizers = [torch.optim.Adam([weight], lr=0.1, fused=True) for weight in weights]
    for factor, changed in ((float("nan"), False), (1.0, True)):
        for weight in weights:
            weight.grad = torch.ones(2)
        weights[0].grad *= factor
        if changed:
            with pytest.raises(ModelError, match="diverged at step 1"):
                module.watch.settle(module)
        module.look_at(torch.tensor(0.0), *optimizers)
        for optimizer in optimizers:
            optimizer.step()
        assert [not torch.equal(weight, torch.ones(2)) for weight in weights] == [changed] * 2


def test_too_little_memory_is_told(tmp_path, monkeypatch):
    def fail(self, batch, batch_idx):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(Guess, "training_step", fail)
    with pytest.raises(
        ConfigError, match=r"does not suffice for a step with batch 2; got CUDA out of memory; lower batch"
    ):
        train(tmp_path, settings())


def test_what_makes_no_difference_to_a_step_is_free():
    assert not fixed_settings(FitConfig()).keys() & {"max_minutes", "device", "workers", "precision", "memory_gb"}
    assert "memory_gb" not in fixed_settings(Stage1Config())
    assert {"seed", "batch", "max_steps", "devices"} <= fixed_settings(FitConfig()).keys()
