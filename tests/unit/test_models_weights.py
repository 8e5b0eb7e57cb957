"""Weights to start from, of this project and others: what does not fit is listed, and code in files never runs."""

import subprocess
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch.nn import functional

from connectomake.config.settings.train_architectures import BasicUnetConfig, MedNextConfig
from connectomake.config.settings.train_optimizer import InitialWeights
from connectomake.errors import MissingDataError, ModelError
from connectomake.models import build_model
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, load_tensors, save_checkpoint
from connectomake.models.initial_weights import grow_kernels, load_initial_weights

SMALL = MedNextConfig(filters=2)


def make(cfg=SMALL, out_channels=2):
    return build_model(cfg, 1, out_channels)


def original_names(network):
    """Return a network's weights as the original MedNeXt names and shapes them."""
    state = {"dummy_tensor": torch.ones(1)}
    for name, value in network.state_dict().items():
        if name.startswith("heads."):
            value = value.transpose(0, 1) if value.ndim > 1 else value
            state[f"out_{name.split('.')[2]}.conv_out.{name.split('.')[-1]}"] = value
        else:
            state[name.removeprefix("body.")] = value
    return state


def assert_equal(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, b.state_dict()[name], rtol=0, atol=0)


def test_our_own_checkpoint(tmp_path):
    source, target = make(), make()
    meta = CheckpointMeta(
        describe_architecture(SMALL), 1, [{}, {}], {}, (1.0, 1.0, 1.0), (16, 16, 32), SMALL.divisor_zyx
    )
    save_checkpoint(tmp_path / "model.ckpt", source, meta)
    load_initial_weights(target, InitialWeights(path=str(tmp_path / "model.ckpt")))
    assert_equal(source, target)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("prefix", ["", "model.", "model._orig_mod."])
def test_a_checkpoint_of_banis(tmp_path, prefix, deep):
    source, target = (
        make(SMALL.model_copy(update={"deep_supervision": True})),
        make(SMALL.model_copy(update={"deep_supervision": deep})),
    )
    content = {
        "epoch": 3,
        "global_step": 50_000,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {prefix + name: value for name, value in original_names(source).items()},
        "best_nerl_so_far": defaultdict(float, {"val": np.float32(0.25)}),
        "best_thr_so_far": defaultdict(float, {"val": np.float64(0.5), "n": np.int64(2), "b": np.bool_(True)}),
        "hyper_parameters": {"kernel_size": 3, "model_id": "S"},
    }
    if prefix:
        content["state_dict"]["loss.weight"] = torch.ones(3)  # what has not the prefix is no part of the network
    torch.save(content, tmp_path / "last.ckpt")
    cfg = InitialWeights(path=str(tmp_path / "last.ckpt"), prefix=prefix.replace("_orig_mod.", ""))
    load_initial_weights(target, cfg)
    kept = target.state_dict()
    for name, value in source.state_dict().items():
        if name in kept:
            torch.testing.assert_close(kept[name], value, rtol=0, atol=0)
    assert ("heads.0.4.map.weight" in kept) == deep


def test_a_bare_state_dict_of_another_network(tmp_path):
    source, target = (build_model(BasicUnetConfig(filters=(2,) * 6), 1, 1) for _ in range(2))
    state = {name.removeprefix("body."): v for name, v in source.state_dict().items() if name.startswith("body.")}
    torch.save(state, tmp_path / "unet.pt")
    load_initial_weights(target, InitialWeights(path=str(tmp_path / "unet.pt"), skip=("heads.",)))
    assert_equal(source.body, target.body)


def test_what_does_not_fit_is_listed(tmp_path):
    state = original_names(make(out_channels=3))
    del state["stem.bias"]
    torch.save(state | {"extra.weight": torch.ones(2)}, tmp_path / "a.pt")
    target = make()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_initial_weights(target, InitialWeights(path=str(tmp_path / "a.pt")))
    message = str(caught.value)
    assert "1 missing: body.stem.bias" in message
    assert "1 left over: body.extra.weight" in message
    assert "2 of another shape: heads.0.0.map.weight (3, 2, 1, 1, 1) for (2, 2, 1, 1, 1), heads.0.0.map.bias" in message
    for name, value in target.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    skip = ("heads.", "body.stem.bias", "body.extra")
    load_initial_weights(target, InitialWeights(path=str(tmp_path / "a.pt"), skip=skip))
    torch.testing.assert_close(target.state_dict()["body.stem.weight"], state["stem.weight"])
    torch.testing.assert_close(target.state_dict()["body.stem.bias"], before["body.stem.bias"])


def test_kernels_are_grown_as_by_upkern(tmp_path):
    source, target = make(), make(SMALL.model_copy(update={"kernel_size": 5}))
    torch.save(original_names(source), tmp_path / "k3.pt")
    with pytest.raises(ModelError, match="26 of another shape"):
        load_initial_weights(target, InitialWeights(path=str(tmp_path / "k3.pt")))
    load_initial_weights(target, InitialWeights(path=str(tmp_path / "k3.pt"), grow_kernels=True))
    found, old = target.state_dict(), source.state_dict()
    grown = [name for name in old if old[name].shape != found[name].shape]
    assert len(grown) == 26
    for name in old:
        expected = old[name]
        if name in grown:
            expected = functional.interpolate(expected, (5, 5, 5), mode="trilinear")
        torch.testing.assert_close(found[name], expected, rtol=0, atol=0)


def test_grown_kernels_keep_their_middle():
    taps = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    for tap, expected in zip(taps, ([1, 0.6, 0, 0, 0], [0, 0.4, 1, 0.4, 0]), strict=True):
        kernel = torch.ones(1, 1, 3, 3, 3) * tap
        (grown,) = grow_kernels({"a": kernel}, {"a": torch.empty(1, 1, 5, 5, 5)}).values()
        torch.testing.assert_close(grown[0, 0, 2, 2], torch.tensor(expected))
    image = {"a": torch.ones(2, 1, 3, 3)}
    assert grow_kernels(image, {"a": torch.empty(2, 1, 7, 7)})["a"].shape == (2, 1, 7, 7)
    other_channels = {"a": torch.ones(2, 1, 3, 3, 3)}
    assert grow_kernels(other_channels, {"a": torch.empty(4, 1, 5, 5, 5)})["a"].shape == (2, 1, 3, 3, 3)


class Dangerous:
    def __reduce__(self):
        return subprocess.run, (["true"],)


def test_files_that_hold_no_weights_are_refused(tmp_path):
    path = tmp_path / "weights"
    cfg = InitialWeights(path=str(path))
    with pytest.raises(MissingDataError, match="no weights"):
        load_initial_weights(make(), cfg)
    for content in ({"epoch": 3}, [1, 2], {"state_dict": {}}):
        torch.save(content, path)
        with pytest.raises(ModelError, match="holds no weights"):
            load_initial_weights(make(), cfg)
    torch.save({"state_dict": {"net.a": torch.ones(1)}}, path)
    with pytest.raises(ModelError, match=r"no weights in .* have the prefix 'nett\.'; did you mean 'net\.'"):
        load_initial_weights(make(), InitialWeights(path=str(path), prefix="nett."))
    torch.save({"state_dict": {"stem.weight": torch.ones(1)}, "callbacks": Dangerous()}, path)
    with pytest.raises(ModelError, match="damaged"):
        load_initial_weights(make(), cfg)


def test_what_is_allowed_here_is_allowed_nowhere_else(tmp_path):
    torch.save({"state_dict": original_names(make()), "best": defaultdict(float)}, tmp_path / "banis.ckpt")
    load_initial_weights(make(), InitialWeights(path=str(tmp_path / "banis.ckpt")))
    with pytest.raises(ModelError, match="no checkpoint of Connectomake"):
        load_tensors(tmp_path / "banis.ckpt")
