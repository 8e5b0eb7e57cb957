"""What all networks share: heads, what they tell about themselves, and settings written as others write them."""

import json
from pathlib import Path

import pytest
import torch
from monai.networks.blocks import ChannelSELayer
from torch import nn

from connectomake.config.settings.train import TrainConfig
from connectomake.config.settings.train_architectures import (
    BasicUnetConfig,
    MedNextConfig,
    MedNextCustomConfig,
    ResidualUnetConfig,
    RsunetConfig,
    UnetrConfig,
)
from connectomake.config.settings.train_network import HeadConfig
from connectomake.errors import ConfigError, ModelError
from connectomake.models import build_model
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, load_checkpoint, save_checkpoint
from connectomake.models.describe import collect_info, describe, format_info

PROJECT = Path(__file__).parents[2]
TARGETS = ("affinity", "distance", "affinity", "binary")
HEADS = (HeadConfig(targets=("distance", "binary"), channels=3), HeadConfig(targets=("affinity",), blocks=0))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("stem", [1, 2])
def test_each_head_gives_the_channels_of_its_targets(dimensions, stem):
    torch.manual_seed(0)
    cfg = RsunetConfig(
        filters=(4, 6, 6),
        factors_zyx=((1, 2, 2), (2, 2, 2)),
        heads=HEADS,
        deep_supervision=True,
        dimensions=dimensions,
        stem_factor=stem,
    )
    network = build_model(cfg, 1, 4, TARGETS)
    volume = torch.randn(1, 1, *cfg.smallest_patch_zyx)
    with torch.no_grad():
        before = network(volume)
        for scale in network.heads[0]:
            scale.map.bias += 1
        after = network(volume)
    # Channels stand in the order of the targets, whichever head gives them, at every scale.
    for a, b in zip(before, after, strict=True):
        moved = (b - a).mean((0, 2, 3, 4))
        torch.testing.assert_close(moved, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert len(before) == 3


def test_heads_survive_a_file(tmp_path):
    cfg = BasicUnetConfig(filters=(4,) * 6, heads=HEADS)
    network = build_model(cfg, 1, 4, TARGETS).eval()
    channels = [{"name": str(i), "target": target} for i, target in enumerate(TARGETS)]
    meta = CheckpointMeta(describe_architecture(cfg), 1, channels, {}, (1.0, 1.0, 1.0), (16, 16, 32), (16, 16, 16))
    save_checkpoint(tmp_path / "model.ckpt", network, meta)
    volume = torch.randn(1, 1, 16, 16, 32)
    with torch.no_grad():
        torch.testing.assert_close(load_checkpoint(tmp_path / "model.ckpt")[0](volume), network(volume))


@pytest.mark.parametrize(
    ("targets", "match"),
    [
        (("affinity", "distance", "distance", "contour"), "'binary' is no target of this training"),
        (("affinity", "distance", "binary", "contour"), "'contour' is in no head"),
        (("affinity",), "expected 4 names"),
    ],
)
def test_heads_that_do_not_give_each_target_once_are_refused(targets, match):
    with pytest.raises(ModelError, match=match):
        build_model(BasicUnetConfig(filters=(4,) * 6, heads=HEADS), 1, 4, targets)


def test_heads_are_checked_with_the_settings():
    def read(*heads):
        return TrainConfig.model_validate({"model": {"heads": list(heads)}})

    assert len(read({"targets": ["affinity"]}).model.heads) == 1
    for heads, match in [
        (({"targets": ["afinity"]},), "did you mean 'affinity'"),
        (({"targets": ["affinity"]}, {"targets": ["affinity"]}), "more than one head"),
        (({"targets": ["affinity"], "blocks": 0, "channels": 4},), "there are none"),
    ]:
        with pytest.raises(ValueError, match=match):
            read(*heads)


def linearised(network):
    """Make every weight positive and every other layer pass all that it sees: its gradient shows what it sees."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.GroupNorm | nn.InstanceNorm3d | nn.ELU | ChannelSELayer):
                setattr(parent, name, nn.Identity())
            elif isinstance(child, nn.MaxPool3d):
                setattr(parent, name, nn.AvgPool3d(child.kernel_size))
    for p in network.parameters():
        nn.init.constant_(p, 1 / p[0].numel())
    return network.double().eval()


@pytest.mark.parametrize(
    ("cfg", "sides"),
    [
        (RsunetConfig(filters=(1, 1, 1), factors_zyx=((1, 2, 2), (2, 2, 2)), planar_levels=2), (64, 4, 8)),
        (RsunetConfig(filters=(1, 1, 1), factors_zyx=((1, 2, 2), (2, 2, 2)), planar_levels=2), (2, 4, 128)),
        (ResidualUnetConfig(filters=(4, 4, 4), isotropy=(False, True, True), block="residual_se"), (64, 4, 8)),
        (MedNextCustomConfig(filters=1, blocks=(1,) * 9, expansions=1), (16, 16, 256)),
    ],
)
def test_receptive_field_is_what_the_gradient_shows(cfg, sides):
    network = build_model(cfg, 1, 1)
    told = network.get_model_info()["receptive_field_zyx"]
    axis = max(range(3), key=lambda a: sides[a])
    volume = torch.ones(1, 1, *sides, dtype=torch.float64, requires_grad=True)
    output = linearised(network)(volume)[0, 0]
    widths = []
    for offset in range(cfg.divisor_zyx[axis]):  # voxels of a cell differ in what they see
        place = [side // 2 for side in sides]
        place[axis] += offset
        (gradient,) = torch.autograd.grad(output[tuple(place)], volume, retain_graph=True)
        seen = gradient[0, 0].abs().amax([a for a in range(3) if a != axis]).nonzero()
        widths.append(int(seen.max() - seen.min()) + 1)
    assert max(widths) <= told[axis] <= max(widths) + cfg.divisor_zyx[axis]


def test_info_counts_parameters_and_says_what_is_seen():
    network = build_model(MedNextConfig(filters=4, deep_supervision=True), 2, 3)
    network.body.stem.requires_grad_(False)
    info = network.get_model_info()
    total = sum(p.numel() for p in network.parameters())
    assert info["parameters"] == total == sum(info["parts"].values())
    assert info["trainable"] == total - (4 * 2 + 4)
    assert (info["architecture"], info["in_channels"], info["out_channels"]) == ("mednext", 2, 3)
    assert info["scales_zyx"] == [[2**i] * 3 for i in range(5)]
    assert json.loads(json.dumps(info)) == info
    assert all(p.device.type == "cpu" for p in network.parameters())
    assert network.training


def test_stem_widens_what_is_seen():
    small, half = (build_model(BasicUnetConfig(filters=(2,) * 6, stem_factor=f), 1, 1) for f in (1, 2))
    told = [network.get_model_info() for network in (small, half)]
    assert told[1]["receptive_field_zyx"] == [2 * side for side in told[0]["receptive_field_zyx"]]
    assert told[1]["divisor_zyx"] == [32, 32, 32]


def test_the_model_section_of_the_documents_is_read():
    basic = build_model(
        {
            "architecture": "monai_basic_unet3d",
            "in_channels": 1,
            "out_channels": 2,
            "filters": [4, 4, 4, 4, 4, 6],
            "dropout": 0.1,
            "loss_functions": ["DiceLoss", "BCEWithLogitsLoss"],
            "loss_weights": [1.0, 1.0],
        }
    )
    assert (basic.in_channels, basic.out_channels) == (1, 2)
    assert basic.cfg == BasicUnetConfig(filters=(4, 4, 4, 4, 4, 6), dropout=0.1)
    assert build_model({"filters": [2, 3, 4, 5, 6]}, 1, 1).cfg.filters == (2, 3, 4, 5, 6, 2)
    with torch.device("meta"):
        sized = build_model(
            {"architecture": "mednext", "mednext_size": "B", "mednext_kernel_size": 5, "deep_supervision": True}, 1, 2
        )
        custom = build_model(
            {
                "architecture": "mednext_custom",
                "mednext_base_channels": 32,
                "mednext_exp_r": [2, 3, 4, 4, 4, 4, 4, 3, 2],
                "mednext_block_counts": [3, 4, 8, 8, 8, 8, 8, 4, 3],
                "mednext_kernel_size": 7,
                "deep_supervision": True,
                "mednext_grn": True,
            },
            1,
            2,
        )
    assert sized.cfg == MedNextConfig(size="B", kernel_size=5, deep_supervision=True)
    assert custom.cfg.blocks == (3, 4, 8, 8, 8, 8, 8, 4, 3)
    assert custom.cfg.expansions == (2, 3, 4, 4, 4, 4, 4, 3, 2)
    assert (custom.cfg.grn, custom.cfg.kernel_size, custom.cfg.filters) == (True, 7, 32)


@pytest.mark.parametrize(
    ("section", "error", "match"),
    [
        ({"architecture": "mednxt"}, ModelError, "did you mean 'mednext'"),
        ({"architecture": "mednext", "mednext_siz": "S"}, ConfigError, "did you mean 'mednext_size'"),
        ({"architecture": "mednext", "dropuot": 1}, ConfigError, "no key 'dropuot'"),
        ({"architecture": "monai_unet", "mednext_size": "S"}, ConfigError, "monai_unet has no key 'mednext_size'"),
        ({"architecture": "mednext", "mednext_size": "S", "size": "B"}, ConfigError, "under another name"),
        ({"architecture": "mednext", "mednext_size": "XL"}, ConfigError, "size"),
        ({"architecture": "mednext", "in_channels": 0}, ConfigError, "model.in_channels; expected a positive"),
    ],
)
def test_a_wrong_model_section_is_refused_with_the_nearest(section, error, match):
    with pytest.raises(error, match=match):
        build_model({"in_channels": 1, "out_channels": 1} | section)


def test_channels_must_be_told():
    with pytest.raises(ConfigError, match=r"model\.out_channels"):
        build_model({"in_channels": 1})


def test_a_preset_is_described(capsys):
    describe("train/banis", PROJECT, in_channels=1, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == 5_551_046
    assert told["divisor_zyx"] == [16, 16, 16]
    describe("banis", PROJECT, in_channels=1, as_json=False)
    text = capsys.readouterr().out
    assert "5,551,046" in text
    assert "affinity z+10" in text
    describe("", PROJECT, in_channels=1, as_json=False)
    assert "rsunet" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="did you mean 'banis'"):
        describe("train/bannis", PROJECT, in_channels=1, as_json=False)
    with pytest.raises(ConfigError, match="train/NAME"):
        describe("predict/default", PROJECT, in_channels=1, as_json=False)


def test_attention_sees_the_whole_patch():
    cfg = UnetrConfig(filters=4, hidden_channels=12, mlp_channels=16, attention_heads=3, image_zyx_vx=(32, 32, 32))
    info = collect_info(TrainConfig(model=cfg, patch_zyx_vx=(32, 32, 32)))
    assert info["receptive_field_zyx"] is None
    assert "the whole patch (attention)" in format_info(info)
