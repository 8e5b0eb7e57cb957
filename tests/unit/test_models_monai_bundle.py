"""MONAI bundles: what of their configs is followed, and what is refused."""

import pickle

import pytest
import torch
import yaml
from foreign_networks import Evil, bring, bundle, same
from monai.networks.nets import BasicUNet
from torch import nn

from connectomake.errors import ConfigError, MissingDataError, ModelError
from connectomake.models.importing import find_kind
from connectomake.models.monai_bundle import build

DEFINITION = {
    "_target_": "BasicUNet",
    "_desc_": "small",
    "spatial_dims": "@axes",
    "in_channels": 1,
    "out_channels": "@out#count",
    "features": [4, 4, 4, 4, 4, 4],
}
SHARED = {"axes": 3, "out": {"count": 3}, "device": "$torch.device('cuda')"}


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return BasicUNet(3, 1, 3, features=(4, 4, 4, 4, 4, 4)).eval()


@pytest.mark.parametrize("nested", [False, True])
def test_monai_bundle(tmp_path, unet, nested):
    formats = {
        "inputs": {"image": {"num_channels": 1, "spatial_shape": [16, 16, 32]}},
        "outputs": {"pred": {"num_channels": 3}},
    }
    state = {"model": unet.state_dict()} if nested else unet.state_dict()
    folder = bundle(tmp_path / "bundle", DEFINITION, state, SHARED, formats)
    network, meta = bring(tmp_path, folder, window_zyx_vx=None, divisor_zyx_vx=[16, 16, 16])
    same(network, unet, (2, 1, 16, 16, 32))
    assert meta.window_zyx == (16, 16, 32)
    assert meta.model.network_def["spatial_dims"] == 3
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in unet.parameters())
    with pytest.raises(ConfigError, match="number of channels contradicts the network; expected 3; got 1"):
        bring(tmp_path, folder, offsets_zyx_vx=[[1, 0, 0]])


def test_monai_bundle_in_yaml_whose_sides_are_multiples(tmp_path, unet):
    formats = {"inputs": {"image": {"num_channels": 1, "spatial_shape": ["16*n", "16 * n", "16*n"]}}}
    folder = bundle(tmp_path / "bundle", {}, unet.state_dict(), metadata=formats)
    (folder / "configs/inference.json").unlink()
    target = "monai.networks.nets.basic_unet.BasicUNet"
    (folder / "configs/train.yaml").write_text(
        yaml.safe_dump({"network_def": DEFINITION | {"_target_": target}, **SHARED})
    )
    network, meta = bring(tmp_path, folder, window_zyx_vx=[16, 16, 32])
    same(network, unet, (1, 1, 16, 16, 32))
    assert meta.divisor_zyx == (16, 16, 16)
    with pytest.raises(ConfigError, match="window_zyx_vx is missing"):
        bring(tmp_path, folder, window_zyx_vx=None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_target_": "os.system"}, "'os.system', which is not allowed"),
        ({"_target_": "torch.hub.load"}, "'torch.hub.load', which is not allowed"),
        ({"_target_": "torch.nn.modules.module.torch.load"}, "not allowed"),
        ({"_target_": "torch.nn.init.constant_"}, "not allowed"),
        ({"_target_": "monai.networks.nets.torch"}, "not allowed"),
        ({"_target_": "monai.networks.nowhere.Net"}, "does not exist"),
        ({"in_channels": "$__import__('os').getpid()"}, "would be run as Python"),
        ({"in_channels": "@device"}, "would be run as Python"),
        ({"in_channels": "@nobody"}, "leads nowhere"),
        ({"in_channels": "@loop", "loop": "@loop"}, "leads nowhere"),
        ({"in_channels": "%other.json#x"}, "leads nowhere"),
        ({"features": {"_target_": "subprocess.run", "args": ["true"]}}, "'subprocess.run', which is not allowed"),
        ({"_requires_": []}, "key that is not known here: _requires_"),
        ({"width": 3}, "cannot be made of its arguments"),
    ],
)
def test_monai_bundle_that_could_run_code_is_refused(tmp_path, unet, change, said):
    config = SHARED | {key: value for key, value in change.items() if key == "loop"}
    folder = bundle(tmp_path / "bundle", DEFINITION | change, unet.state_dict(), config)
    with pytest.raises(ModelError, match=said):
        bring(tmp_path, folder, window_zyx_vx=[16, 16, 32])


def test_modules_in_a_definition_are_made_and_nothing_is_fetched():
    class_of = {"_target_": "torch.nn.modules.activation.Softmax", "_mode_": "default", "dim": 1}
    assert build([class_of, {"plain": 1}])[1] == {"plain": 1}
    assert isinstance(build(class_of), nn.Softmax)
    net = {"_target_": "FlexibleUNet", "in_channels": 1, "out_channels": 1, "backbone": "resnet10", "pretrained": True}
    assert isinstance(build(net | {"spatial_dims": 3}), nn.Module)


def test_what_a_bundle_lacks(tmp_path, unet):
    with pytest.raises(MissingDataError, match="no network_def in"):
        bring(tmp_path, tmp_path)
    folder = bundle(tmp_path / "bundle", DEFINITION, unet.state_dict(), SHARED)
    (folder / "models/model.pt").unlink()
    with pytest.raises(MissingDataError, match=r"models/model\.pt; a models/model\.ts is TorchScript"):
        bring(tmp_path, folder)
    bundle(tmp_path / "bundle", DEFINITION, {"wrong": torch.zeros(1)}, SHARED)
    with pytest.raises(ModelError, match="not those of its network_def"):
        bring(tmp_path, folder, window_zyx_vx=[16, 16, 32])
    (tmp_path / "bundle/models/model.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match="no checkpoint"):
        bring(tmp_path, folder)
    with pytest.raises(MissingDataError, match="no network"):
        find_kind(tmp_path / "absent")
