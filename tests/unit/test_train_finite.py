"""Numbers that are not finite stop a training before they are saved, and it is told where they came from."""

import pytest
import torch
from small_training import make_volume, settings, train

from connectomake.config.settings.augment import AugmentConfig
from connectomake.errors import ModelError
from connectomake.fitting.states import list_states
from connectomake.models import build_model
from connectomake.split.table import read_split
from connectomake.targets.registry import Targets
from connectomake.train.module import Training
from connectomake.train.normalisation import Normalisation
from connectomake.train.patches import TrainingPatches
from connectomake.train.volumes import open_boxes


def break_patch(monkeypatch, part, number):
    whole = TrainingPatches.__getitem__

    def broken(self, index):
        sample = whole(self, index)
        if index == number:
            sample[part] = sample[part].astype("float32")
            sample[part][0, 0, 0, 0] = float("inf")
        return sample

    monkeypatch.setattr(TrainingPatches, "__getitem__", broken)


@pytest.mark.parametrize(("part", "what"), [("raw", "the input (raw)"), ("values", "the target (values)")])
def test_a_broken_patch_stops_the_training_and_is_saved(split, tmp_path, monkeypatch, part, what):
    break_patch(monkeypatch, part, 9)
    cfg = settings(batch=2, accumulate=2, checkpoint_every_steps=1)
    with pytest.raises(ModelError, match="training diverged at step 3") as caught:
        train(split, tmp_path, cfg)
    (file,) = (tmp_path / "run").glob("not_finite*")
    assert f"{what}, in patches [8, 9] of train; the batch is saved in {file}" in str(caught.value)
    saved = torch.load(file, weights_only=True)
    assert (saved["step"], saved["what"], saved["patches"]) == (3, what, [8, 9])
    assert saved["volumes"] == ["train", "train"]
    assert (~torch.isfinite(saved[part])).flatten(1).any(1).tolist() == [False, True]
    state = torch.load(list_states(tmp_path / "run/states")[0], weights_only=True)
    assert state["global_step"] == 2


def test_a_gpu_tells_one_step_late_and_the_weights_are_those_before(split, tmp_path, monkeypatch):
    """The CPU plays the GPU: nobody looks before the next step, and nothing has changed by then."""
    break_patch(monkeypatch, "raw", 3)
    monkeypatch.setattr("connectomake.fitting.finite.tells_late", lambda device: True)
    after, whole = [], Training.on_train_batch_end

    def spy(self, *args):
        whole(self, *args)
        after.append([value.detach().clone() for value in self.network.parameters()])

    monkeypatch.setattr(Training, "on_train_batch_end", spy)
    with pytest.raises(ModelError, match=r"diverged at step 4;.*the input \(raw\), in patches \[3\]"):
        train(split, tmp_path, settings())
    assert len(after) == 4
    assert all(torch.equal(a, b) for a, b in zip(after[2], after[3], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(after[1], after[2], strict=True))
    with pytest.raises(ModelError, match="diverged at step 4;"):  # the last of all steps is asked for in the end
        train(split, tmp_path / "last", settings(max_steps=4))


def test_a_broken_loss_or_gradient_is_named(split, tmp_path, monkeypatch):
    whole = Training.training_step
    monkeypatch.setattr(Training, "training_step", lambda self, *args: whole(self, *args) * float("nan"))
    with pytest.raises(ModelError, match=r"step 1 was computed wrongly.*32-true on cpu.*learning rate is not to blame"):
        train(split, tmp_path / "loss", settings())
    monkeypatch.setattr(Training, "training_step", whole)

    class Break(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    build = build_model

    def build_broken(*args):
        network = build(*args)
        network.register_forward_hook(lambda module, inputs, output: Break.apply(output))
        return network

    monkeypatch.setattr("connectomake.train.train_model.build_model", build_broken)
    with pytest.raises(ModelError, match=r"the gradient of .*weight, in patches"):
        train(split, tmp_path / "gradient", settings())


def test_an_overflowing_output_is_named(split, tmp_path):
    with pytest.raises(ModelError, match=r"diverged at step 2;.*the network's output, in patches \[1\]"):
        train(split, tmp_path, settings(optimizer={"learning_rate": 1e30}, schedule={"warmup": 0}, gradient_clip=None))


def test_volumes_of_patches_are_told(split, tmp_path):
    rows = [read_split(split)[0], make_volume(tmp_path / "more", "more", "train", 5)]
    boxes, cfg = open_boxes(rows, "train", 1.0), settings()
    patches = TrainingPatches(boxes, cfg, AugmentConfig(), Targets(cfg.targets, (10, 10, 10)), Normalisation(0, 1))
    raw = {box.name: box.raw for box in boxes}
    for number in range(8):
        corner = patches[number]["raw"][0, 0, 0, :8]
        rows_of_volume = raw[patches.volume_of(number)].reshape(-1, 40)
        windows = torch.from_numpy(rows_of_volume.astype("float32")).unfold(1, 8, 1)
        assert (windows == torch.from_numpy(corner)).all(-1).any()
