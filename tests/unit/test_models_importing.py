"""Descriptions of networks from elsewhere, the trial of a network, ensembles, and older checkpoints."""

import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from foreign_networks import OFFSETS, Mixed, bring, describe, same, script
from torch import nn

from connectomake.config.settings.train import TrainConfig
from connectomake.config.settings.train_architectures import BasicUnetConfig
from connectomake.errors import ConfigError, ModelError
from connectomake.models import build_model
from connectomake.models.checkpoint import load_checkpoint, load_meta, save_checkpoint
from connectomake.models.ensemble import check_ensemble
from connectomake.models.importing import read_description

SMALL = {"architecture": "monai_basic_unet3d", "filters": [4, 4, 4, 4, 4, 4]}


def test_what_a_trial_finds(tmp_path):
    broken = nn.Conv3d(1, 3, 1)
    nn.init.constant_(broken.bias, float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        bring(tmp_path, script(tmp_path / "net.pt", broken))
    with pytest.raises(ModelError, match=r"expected an output of shape .1, 3, 8, 8, 16.; got .1, 2, 8, 8, 16."):
        bring(tmp_path, script(tmp_path / "net.pt", nn.Conv3d(1, 2, 1)))
    with pytest.raises(ModelError, match=r"fails on a window of .8, 8, 16. voxels .* with 1 channels"):
        bring(tmp_path, script(tmp_path / "net.pt", nn.Conv3d(2, 3, 1)))
    assert not (tmp_path / "model.ckpt").exists()


def test_fixed_window_of_a_script(tmp_path):
    network, meta = bring(tmp_path, script(tmp_path / "net.pt", Mixed().eval()), fixed_window=True)
    assert meta.model.smallest_patch_zyx == (8, 8, 16)
    with pytest.raises(ModelError, match="made for"):
        network(torch.rand(1, 1, 8, 8, 8))


@pytest.fixture
def ours():
    torch.manual_seed(0)
    return build_model(SMALL, 1, 3).eval()


def test_weights_of_an_architecture_of_ours(tmp_path, ours):
    torch.save({"state_dict": {f"net.{name}": value for name, value in ours.state_dict().items()}}, tmp_path / "w.pt")
    network, meta = bring(tmp_path, tmp_path / "w.pt", model=SMALL, prefix="net.", window_zyx_vx=[16, 16, 32])
    same(network, ours, (1, 1, 16, 16, 32))
    assert isinstance(meta.model, BasicUnetConfig)
    assert meta.divisor_zyx == (16, 16, 16)
    with pytest.raises(ConfigError, match="model is missing"):
        bring(tmp_path, tmp_path / "w.pt")
    program = script(tmp_path / "net.pt", nn.Conv3d(1, 3, 1))
    for told in ({"model": SMALL}, {"prefix": "net."}):
        with pytest.raises(ConfigError, match=f"{next(iter(told))} has no meaning: .* is a torchscript"):
            bring(tmp_path, program, **told)
    with pytest.raises(ConfigError, match="model tells fixed_window by itself"):
        bring(tmp_path, tmp_path / "w.pt", model=SMALL, fixed_window=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ofsets": OFFSETS}, "unknown key 'ofsets'; did you mean 'offsets_zyx_vx'"),
        ({"voxel_size_zyx_nm": None}, "voxel_size_zyx_nm is missing"),
        ({"voxel_size_zyx_nm": [40, 0, 16]}, "voxel_size_zyx_nm.1"),
        ({"offsets_zyx_vx": None}, "give channels, or offsets_zyx_vx"),
        ({"offsets_zyx_vx": [[0, 0, 0]]}, "joins a voxel to itself"),
        ({"offsets_zyx_vx": [[1, 0, 0]] * 2}, "two channels are called 'affinity z.1'"),
        ({"normalisation": {"mean": 0}}, "give mean and std"),
        ({"normalisation": {"each": "each_volume", "mean": 3}}, "leave both out"),
        ({"normalisation": {"mean": 0, "std": 1, "range": [0, 1]}}, "give dtype and range"),
        ({"normalisation": {"mean": 0, "std": 1, "range": [9, 1], "dtype": "uint8"}}, "smallest grey value to the"),
        ({"offsets_zyx_vx": None, "channels": [{"activation": "tanh"}]}, "a channel needs a name"),
        ({"fixed_window": True, "window_zyx_vx": None}, "needs window_zyx_vx"),
        ({"edge_convention": "sauce"}, "did you mean 'source'"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=f"net.yaml.*{said}"):
        read_description(describe(tmp_path, **changes))


def test_channels_of_any_kind_are_described(tmp_path):
    channels = [
        {"offset_zyx_vx": [0, -9, 0], "activation": "identity"},
        {"name": "flow z", "target": "flow", "activation": "tanh", "axes": "z"},
        {"name": "inside"},
    ]
    grey = {"each": "each_volume", "dtype": "uint16", "range": [100, 4000]}
    told = {"channels": channels, "offsets_zyx_vx": None, "normalisation": grey, "edge_convention": "destination"}
    _, meta = bring(tmp_path, script(tmp_path / "net.pt", nn.Conv3d(2, 3, 1)), in_channels=2, source="a paper", **told)
    assert meta.channels == [
        {
            "name": "affinity y-9",
            "target": "affinity",
            "offset_zyx_vx": [0, -9, 0],
            "activation": "identity",
            "binary": False,
            "axes": "",
        },
        {"name": "flow z", "target": "flow", "offset_zyx_vx": None, "activation": "tanh", "binary": False, "axes": "z"},
        {
            "name": "inside",
            "target": "output",
            "offset_zyx_vx": None,
            "activation": "sigmoid",
            "binary": True,
            "axes": "",
        },
    ]
    assert meta.normalisation == {
        "each": "each_volume",
        "mean": None,
        "std": None,
        "dtype": "uint16",
        "range": [100, 4000],
    }
    assert (meta.in_channels, meta.edge_convention) == (2, "destination")
    assert meta.provenance["imported"]["source"] == "a paper"


def test_training_cannot_name_a_network_from_elsewhere():
    with pytest.raises(ValueError, match="'torchscript' is a network from elsewhere, which can predict"):
        TrainConfig.model_validate({"model": {"architecture": "torchscript"}})
    with pytest.raises(ModelError, match=r"fixed, so that it can predict but not be trained; .*mednext"):
        build_model({"architecture": "monai_bundle"}, 1, 1)


@pytest.mark.parametrize("junk", [b"", b"PK", b"no network"])
def test_files_that_are_no_network_are_refused(tmp_path, junk):
    (tmp_path / "net.pt").write_bytes(junk)
    with pytest.raises(ConfigError, match="model is missing"):
        bring(tmp_path, tmp_path / "net.pt")
    with pytest.raises(ModelError, match="no checkpoint of Connectomake"):
        bring(tmp_path, tmp_path / "net.pt", model=SMALL)
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/archive_format", junk)
    with pytest.raises(ModelError, match=r"no exported program that can be read.*PyTorch 2.9"):
        bring(tmp_path, tmp_path / "net.pt")
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/constants.pkl", junk)
        archive.writestr("net/code/a.py", junk)
    with pytest.raises(ModelError, match="TorchScript program cannot be read"):
        bring(tmp_path, tmp_path / "net.pt")


def test_ensemble_of_ours_and_its_torchscript_twin(tmp_path, ours):
    told = {"window_zyx_vx": [16, 16, 32]}
    torch.save(ours.state_dict(), tmp_path / "w.pt")
    first, meta = bring(tmp_path, tmp_path / "w.pt", model=SMALL, **told)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(ours, torch.rand(1, 1, 16, 16, 32)), tmp_path / "net.pt")
    grey = {"each": "each_volume"}
    second, twin = bring(tmp_path, tmp_path / "net.pt", voxel_size_zyx_nm=[41, 16, 16], normalisation=grey, **told)
    check_ensemble({"a.ckpt": meta, "b.ckpt": twin})
    same(second, first, (1, 1, 16, 16, 32))
    for change, trait in (
        ({"voxel_size_zyx_nm": (50.0, 16.0, 16.0)}, "the voxel size"),
        ({"in_channels": 2}, "the channels of the volume"),
        ({"edge_convention": "destination"}, "the edge convention"),
        ({"channels": meta.channels[:2]}, "the number of channels"),
        ({"channels": [*meta.channels[:2], meta.channels[2] | {"activation": "tanh"}]}, "the activation of channel 2"),
        ({"channels": [meta.channels[0] | {"axes": "z"}, *meta.channels[1:]]}, "the axes of channel 0"),
        (
            {"channels": [meta.channels[0] | {"offset_zyx_vx": [2, 0, 0]}, *meta.channels[1:]]},
            "the offset of channel 0",
        ),
        ({"channels": [meta.channels[0] | {"name": "other"}, *meta.channels[1:]]}, "the name of channel 0"),
    ):
        with pytest.raises(ModelError, match=rf"a\.ckpt and c\.ckpt cannot be averaged: they differ in {trait}"):
            check_ensemble({"a.ckpt": meta, "b.ckpt": twin, "c.ckpt": replace(meta, **change)})


def test_older_checkpoints_still_load(tmp_path, ours):
    torch.save(ours.state_dict(), tmp_path / "w.pt")
    _, meta = bring(tmp_path, tmp_path / "w.pt", model=SMALL, window_zyx_vx=[16, 16, 32])
    old = [{key: value for key, value in channel.items() if key != "axes"} for channel in meta.channels]
    older = replace(meta, channels=old, normalisation={"mean": 0.0, "std": 255.0})
    save_checkpoint(tmp_path / "old.ckpt", ours, older)
    network, loaded = load_checkpoint(tmp_path / "old.ckpt")
    same(network, ours, (1, 1, 16, 16, 32))
    assert loaded.channels == old
    check_ensemble({"new": meta, "old": loaded})


def test_by_hand(tmp_path):
    command = [sys.executable, Path(__file__).parents[2] / "scripts/import_network.py"]
    given = {"network": script(tmp_path / "net.pt", Mixed().eval()), "description": describe(tmp_path)}
    flags = [part for name, value in given.items() for part in (f"--{name}", value)]
    done = subprocess.run([*command, *flags, "--checkpoint", tmp_path / "model.ckpt"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "parameters; a window of (8, 8, 16) voxels (z, y, x) gives (1, 3, 8, 8, 16)" in done.stderr
    assert load_meta(tmp_path / "model.ckpt").architecture["name"] == "torchscript"
