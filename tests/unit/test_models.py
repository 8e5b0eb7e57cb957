"""Networks: the original MedNeXt's numbers, the stem, the registry, and the file that describes itself."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from connectomake.config.architectures import BasicUnetConfig, MedNextConfig
from connectomake.errors import MissingDataError, ModelError
from connectomake.models import build_model, get_architecture_builder, list_architectures, register_architecture
from connectomake.models.checkpoint import (
    CheckpointMeta,
    describe_architecture,
    load_checkpoint,
    load_meta,
    save_checkpoint,
)
from connectomake.models.mednext import MedNext, convert_original_state
from connectomake.models.stem import depth_from_space, space_from_depth

GOLDEN = Path(__file__).parents[3] / "shared/data/mednext"
# Parameters of the original with 1 input, 2 outputs, kernels of 3, 5 and 7; one of them is its unused dummy_tensor.
ORIGINAL_PARAMETERS = {
    "S": (5_550_915, 5_980_547, 6_936_259),
    "B": (10_526_307, 10_955_939, 11_911_651),
    "M": (17_548_963, 18_260_835, 19_844_387),
    "L": (61_779_267, 62_992_899, 65_692_611),
}
SMALL = BasicUnetConfig(filters=(4, 4, 4, 4, 4, 4), stem_factor=2)


def count_parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("size", ORIGINAL_PARAMETERS)
def test_mednext_has_the_originals_parameters(size):
    with torch.device("meta"):
        counts = [count_parameters(build_model(MedNextConfig(size=size, kernel_size=k), 1, 2)) for k in (3, 5, 7)]
    assert counts == [n - 1 for n in ORIGINAL_PARAMETERS[size]]


@pytest.mark.parametrize("case", ["k3_ds", "k5_varied_exp", "k3_L_exp"])
def test_mednext_equals_the_original(case):
    if not GOLDEN.exists():
        pytest.skip(f"no golden data in {GOLDEN}")
    settings = json.loads((GOLDEN / "cases.json").read_text())[case]
    stored = np.load(GOLDEN / f"{case}.npz")
    state = {k.removeprefix("state/"): torch.from_numpy(stored[k]) for k in stored.files if k.startswith("state/")}
    expansions = settings["exp_r"] if isinstance(settings["exp_r"], list) else [settings["exp_r"]] * 9
    network = MedNext(1, 3, 4, settings["block_counts"], expansions, settings["kernel_size"])
    network.load_state_dict(convert_original_state(state))
    with torch.no_grad():
        output = network(torch.from_numpy(stored["input"]))
    torch.testing.assert_close(output, torch.from_numpy(stored["output_0"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4])
def test_stem_loses_nothing(factor):
    volume = torch.arange(2 * 3 * 8 * 4 * 12.0).reshape(2, 3, 8, 4, 12)
    shuffled = depth_from_space(volume, factor)
    assert shuffled.shape == (2, 3 * factor**3, 8 // factor, 4 // factor, 12 // factor)
    torch.testing.assert_close(space_from_depth(shuffled, factor), volume)
    # The channels of one place are the voxels of one block.
    torch.testing.assert_close(shuffled[0, : factor**3, 0, 0, 0], volume[0, 0, :factor, :factor, :factor].flatten())


@pytest.mark.parametrize(
    "cfg",
    [
        SMALL,
        BasicUnetConfig(filters=(4, 4, 4, 4, 4, 4)),
        MedNextConfig(filters=2),
        MedNextConfig(filters=2, stem_factor=2),
    ],
)
def test_networks_keep_the_shape(cfg):
    network = build_model(cfg, 2, 5).eval()
    z, y, x = cfg.divisor_zyx
    with torch.no_grad():
        assert network(torch.zeros(1, 2, z, 2 * y, x)).shape == (1, 5, z, 2 * y, x)


def test_registry_names_what_it_knows(monkeypatch):
    assert list_architectures() == ["mednext", "monai_basic_unet3d"]
    with pytest.raises(ModelError, match="mednext or monai_basic_unet3d"):
        get_architecture_builder("unet")
    with pytest.raises(ModelError, match="already"):
        register_architecture("mednext")(lambda cfg, i, o: torch.nn.Identity())
    monkeypatch.setattr("connectomake.models.registry._BUILDERS", {})
    builder = register_architecture("mine")(lambda cfg, i, o: torch.nn.Identity())
    assert get_architecture_builder("mine") is builder
    assert "mine" in list_architectures()


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
    with pytest.raises(ModelError, match="expected mednext or monai_basic_unet3d; got unetr"):
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
