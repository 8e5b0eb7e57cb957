"""Networks: the stem, the registry, and the file that describes itself."""

import pickle
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch.nn import functional

from connectomake.config.settings.train_architectures import ARCHITECTURES, BasicUnetConfig, MedNextConfig
from connectomake.config.settings.train_network import NetworkConfig
from connectomake.errors import MissingDataError, ModelError
from connectomake.models import (
    build_model,
    get_architecture_builder,
    list_architectures,
    print_available_architectures,
    register_architecture,
)
from connectomake.models.checkpoint import (
    CheckpointMeta,
    describe_architecture,
    load_checkpoint,
    load_meta,
    save_checkpoint,
)
from connectomake.models.network import SingleScale
from connectomake.models.stem import depth_from_space, space_from_depth

SMALL = BasicUnetConfig(filters=(4, 4, 4, 4, 4, 4), stem_factor=2)


@pytest.mark.parametrize("factor", [2, 4])
def test_stem_loses_nothing(factor):
    volume = torch.arange(2 * 3 * 8 * 4 * 12.0).reshape(2, 3, 8, 4, 12)
    shuffled = depth_from_space(volume, factor)
    assert shuffled.shape == (2, 3 * factor**3, 8 // factor, 4 // factor, 12 // factor)
    torch.testing.assert_close(space_from_depth(shuffled, factor), volume)
    # The channels of one place are the voxels of one block.
    torch.testing.assert_close(shuffled[0, : factor**3, 0, 0, 0], volume[0, 0, :factor, :factor, :factor].flatten())
    images = volume[:, :, 0]
    torch.testing.assert_close(depth_from_space(images, factor), functional.pixel_unshuffle(images, factor))
    torch.testing.assert_close(space_from_depth(depth_from_space(images, factor), factor), images)


def test_registry_names_what_it_knows(monkeypatch, capsys):
    assert list_architectures() == sorted(ARCHITECTURES)
    with pytest.raises(ModelError, match="did you mean 'mednext'"):
        get_architecture_builder("medneXt_")
    with pytest.raises(ModelError, match="already"):
        register_architecture("mednext")(lambda cfg, channels: SingleScale(torch.nn.Identity(), channels))
    print_available_architectures()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list_architectures()
    assert all(len(line.split()) > 3 for line in lines)


def test_an_architecture_of_ones_own_is_built_and_saved_like_any(monkeypatch, tmp_path, meta):
    monkeypatch.setattr("connectomake.models.registry._BUILDERS", {})
    monkeypatch.setattr("connectomake.models.registry._SETTINGS", dict(ARCHITECTURES))

    class MineConfig(NetworkConfig):
        """One convolution."""

        architecture: Literal["mine"] = "mine"
        width: int = 3

        @property
        def shrink_zyx(self):
            return 1, 1, 1

    @register_architecture("mine", MineConfig)
    def build(cfg, in_channels):
        return SingleScale(torch.nn.Conv3d(in_channels, cfg.width, 3, padding=1), cfg.width)

    assert get_architecture_builder("mine") is build
    assert "mine" in list_architectures()
    network = build_model({"architecture": "mine", "width": 2, "in_channels": 1, "out_channels": 1})
    assert network.get_model_info()["receptive_field_zyx"] == [3, 3, 3]
    save_checkpoint(tmp_path / "model.ckpt", network, replace(meta, architecture=describe_architecture(network.cfg)))
    assert load_checkpoint(tmp_path / "model.ckpt")[1].model == MineConfig(width=2)


@pytest.fixture
def meta():
    return CheckpointMeta(
        architecture=describe_architecture(SMALL),
        in_channels=1,
        channels=[{"name": "affinity z+1", "offset_zyx_vx": [1, 0, 0], "activation": "sigmoid"}],
        normalisation={"mean": 120.0, "std": 30.0},
        voxel_size_zyx_nm=(40.0, 4.0, 4.0),
        window_zyx=(32, 64, 64),
        divisor_zyx=SMALL.divisor_zyx,
        provenance={"steps": 3},
    )


def test_checkpoint_describes_itself(tmp_path, meta):
    network = build_model(SMALL, 1, 1).eval()
    digest = save_checkpoint(tmp_path / "model.ckpt", network, meta)
    loaded, told = load_checkpoint(tmp_path / "model.ckpt")
    assert told == replace(meta, hash=digest)
    assert load_meta(tmp_path / "model.ckpt") == told
    assert told.model == SMALL
    assert not loaded.training
    volume = torch.randn(1, 1, 32, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(volume), network(volume), rtol=0, atol=0)


def test_hash_tells_weights_and_meta_apart(tmp_path, meta):
    network = build_model(SMALL, 1, 1)
    first = save_checkpoint(tmp_path / "a", network, meta)
    assert save_checkpoint(tmp_path / "b", network, meta) == first
    assert save_checkpoint(tmp_path / "c", network, replace(meta, window_zyx=(64, 64, 64))) != first
    with torch.no_grad():
        next(network.parameters()).flatten()[0] += 1e-3
    assert save_checkpoint(tmp_path / "d", network, meta) != first


def test_checkpoint_of_another_architecture_is_refused(tmp_path, meta):
    network = build_model(SMALL, 1, 1)
    save_checkpoint(tmp_path / "unknown", network, replace(meta, architecture={"name": "unetr", "config": {}}))
    with pytest.raises(ModelError, match=r"expected fpn or mednext or .*; got unetr"):
        load_checkpoint(tmp_path / "unknown")
    other = describe_architecture(MedNextConfig(filters=2))
    save_checkpoint(tmp_path / "mixed", network, replace(meta, architecture=other))
    with pytest.raises(ModelError, match="not those of its architecture mednext"):
        load_checkpoint(tmp_path / "mixed")
    newer = {"name": "mednext", "config": {"architecture": "mednext", "sides": 5}}
    save_checkpoint(tmp_path / "newer", network, replace(meta, architecture=newer))
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path / "newer")


class Dangerous:
    def __reduce__(self):
        return print, ("code of a stranger",)


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps(Dangerous())], ids=["empty", "text", "pickle"])
def test_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "model.ckpt").write_bytes(content)
    with pytest.raises(ModelError, match="no checkpoint of Connectomake"):
        load_checkpoint(tmp_path / "model.ckpt")


@pytest.mark.parametrize("content", [{"state_dict": {}, "epoch": 1}, Dangerous()], ids=["another tool's", "code"])
def test_torch_file_that_is_no_checkpoint_is_refused(tmp_path, content, capsys):
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(ModelError, match="no checkpoint of Connectomake"):
        load_checkpoint(tmp_path / "model.ckpt")
    assert "stranger" not in capsys.readouterr().out


def test_truncated_or_missing_checkpoint_is_refused(tmp_path, meta):
    path = tmp_path / "model.ckpt"
    save_checkpoint(path, build_model(SMALL, 1, 1), meta)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="damaged"):
        load_checkpoint(path)
    with pytest.raises(MissingDataError, match="no checkpoint"):
        load_checkpoint(tmp_path / "absent")
