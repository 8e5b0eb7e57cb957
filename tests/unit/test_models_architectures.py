"""Every architecture, in 2-D and 3-D: builds, learns with all its weights, is saved and read, says what it needs."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectomake.config.settings.train_architectures import ARCHITECTURES
from connectomake.errors import ModelError
from connectomake.models import build_model, list_architectures
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, load_checkpoint, save_checkpoint
from connectomake.models.device import choose_memory_format

TINY = {
    "fpn": {"backbone": "resnet10", "filters": 4, "deep_supervision": True},
    "mednext": {"filters": 2, "deep_supervision": True},
    "mednext_custom": {"filters": 2, "blocks": (1,) * 9, "expansions": 2, "grn": True, "deep_supervision": True},
    "monai_basic_unet3d": {"filters": (4,) * 6, "dropout": 0.1},
    "monai_flexible_unet": {"backbone": "efficientnet-b0", "filters": (8, 8, 8, 4, 4)},
    "monai_swin_unetr": {"filters": 12},
    "monai_unet": {"filters": (4, 6, 8), "strides_zyx": ((1, 2, 2), (2, 2, 2))},
    "monai_unetr": {"image_zyx_vx": (16, 16, 32), "filters": 4, "hidden_channels": 12, "mlp_channels": 16,
                    "attention_heads": 3},
    "residual_unet": {"filters": (3, 4, 5), "isotropy": (False, False, True), "block": "residual_se",
                      "deep_supervision": True},
    "rsunet": {"filters": (3, 4, 5), "factors_zyx": ((1, 2, 2), (2, 3, 2)), "deep_supervision": True},
}  # fmt: skip
# Where the smallest patch is what takes time: not for many sizes.
LARGE = ("fpn", "monai_flexible_unet", "monai_swin_unetr")
BOTH = [(name, dimensions) for name in TINY for dimensions in (2, 3)]


def tiny(name, dimensions=3, **changes):
    if name == "monai_swin_unetr":
        pytest.importorskip("einops", reason="MONAI's SwinUNETR needs einops")
    return ARCHITECTURES[name](dimensions=dimensions, **TINY[name] | changes)


def as_tuple(output):
    return output if isinstance(output, tuple) else (output,)


def test_every_architecture_is_tested():
    assert sorted(TINY) == list_architectures()


@pytest.mark.parametrize(("name", "dimensions"), BOTH)
def test_it_learns_with_every_weight_and_survives_a_file(name, dimensions, tmp_path):
    torch.manual_seed(0)
    cfg = tiny(name, dimensions)
    network = build_model(cfg, 2, 3)
    z, y, x = cfg.smallest_patch_zyx
    volume = torch.randn(1, 2, z if dimensions == 3 else 2, y, x)
    outputs = as_tuple(network(volume))
    assert outputs[0].shape == (1, 3, *volume.shape[2:])
    sum(output.square().mean() for output in outputs).backward()
    # A weight without a gradient would stop training on several GPUs.
    assert [key for key, p in network.named_parameters() if p.grad is None] == []

    meta = CheckpointMeta(
        describe_architecture(cfg), 2, [{"name": str(c)} for c in range(3)], {}, (1.0, 1.0, 1.0), (z, y, x), (1, 1, 1)
    )
    save_checkpoint(tmp_path / "model.ckpt", network, meta)
    loaded, told = load_checkpoint(tmp_path / "model.ckpt")
    assert told.model == cfg
    with torch.no_grad():
        torch.testing.assert_close(loaded(volume), network.eval()(volume), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "dimensions"), BOTH)
def test_scales_are_finest_first_and_whole_fractions(name, dimensions):
    cfg = tiny(name, dimensions)
    network = build_model(cfg, 1, 2)
    outputs = as_tuple(network(torch.randn(1, 1, *cfg.smallest_patch_zyx)))
    scales = network.get_model_info()["scales_zyx"]
    assert scales[0] == [1, 1, 1]
    for fine, coarse in pairwise(scales):
        assert fine != coarse
        assert all(b % a == 0 for a, b in zip(fine, coarse, strict=True))
    for output, scale in zip(outputs, scales, strict=True):
        assert list(output.shape[2:]) == [s // f for s, f in zip(cfg.smallest_patch_zyx, scale, strict=True)]
    assert (len(scales) > 1) == getattr(cfg, "deep_supervision", False)
    if len(scales) > 1:
        assert scales[-1] == list(cfg.divisor_zyx)
        plain = build_model(tiny(name, dimensions, deep_supervision=False), 1, 2)
        assert isinstance(plain(torch.randn(1, 1, *cfg.smallest_patch_zyx)), torch.Tensor)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", [name for name in TINY if name not in LARGE and name != "monai_unetr"])
@settings(max_examples=4, deadline=None)
@given(times=st.tuples(*[st.integers(1, 3)] * 2, st.integers(2, 3)), stem=st.sampled_from([1, 2]))
def test_the_shape_is_kept_for_any_multiple_of_the_divisor(name, dimensions, times, stem):
    cfg = tiny(name, dimensions, stem_factor=stem)
    sides = [t * d for t, d in zip(times, cfg.divisor_zyx, strict=True)]
    with torch.no_grad():
        assert build_model(cfg, 1, 2).eval()(torch.zeros(1, 1, *sides)).shape == (1, 2, *sides)


@pytest.mark.parametrize("name", LARGE)
def test_the_shape_of_a_wide_patch_is_kept(name):
    cfg = tiny(name)
    with torch.no_grad():
        assert build_model(cfg, 1, 2).eval()(torch.zeros(1, 1, 32, 64, 32)).shape == (1, 2, 32, 64, 32)


@pytest.mark.parametrize(("name", "dimensions"), BOTH)
def test_sides_that_do_not_fit_are_refused_with_those_that_do(name, dimensions):
    cfg = tiny(name, dimensions)
    network = build_model(cfg, 1, 1)
    z, y, x = cfg.smallest_patch_zyx
    with pytest.raises(
        ModelError, match=str(list(cfg.image_zyx_vx if name == "monai_unetr" else cfg.divisor_zyx))[1:-1]
    ):
        network(torch.zeros(1, 1, z, y + 1, x))
    if name != "monai_unetr":
        with pytest.raises(ModelError, match=f"one voxel at the coarsest level.*one side {x}"):
            network(torch.zeros(1, 1, *cfg.divisor_zyx))
    with pytest.raises(ModelError, match=r"expected \(N, 1, Z, Y, X\); got \(1, 2, "):
        network(torch.zeros(1, 2, z, y, x))


def test_a_section_is_seen_by_itself():
    torch.manual_seed(0)
    network = build_model(tiny("rsunet", 2), 1, 2).eval()
    volume = torch.randn(2, 1, 3, 6, 8)
    with torch.no_grad():
        whole, alone = network(volume), network(volume[1:, :, 2:])
    torch.testing.assert_close(whole[1:, :, 2:], alone)


def test_strides_are_honoured():
    info = build_model(tiny("monai_unet"), 1, 1).get_model_info()
    assert info["divisor_zyx"] == [2, 4, 4]
    z, y, x = info["receptive_field_zyx"]
    assert z < y == x


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("monai_unet", {"strides_zyx": ((2, 2, 2),)}, "strides_zyx must have 2 entries"),
        ("rsunet", {"filters": (4, 4)}, "factors_zyx must have 1 entries"),
        ("residual_unet", {"isotropy": (True,)}, "isotropy must have 3 entries"),
        ("monai_unetr", {"image_zyx_vx": (16, 16, 24)}, r"must be multiples of \[16, 16, 16\]"),
        ("monai_unetr", {"attention_heads": 5}, "multiple of the 5 attention_heads"),
        ("monai_swin_unetr", {"filters": 16}, "multiple of 12"),
        ("mednext_custom", {"kernel_size": 4}, "must be odd"),
        ("mednext_custom", {"blocks": (1,) * 8}, "at least 9 items"),
        ("fpn", {"backbone": "vgg"}, "resnet18"),
    ],
)
def test_settings_that_make_no_network_are_refused(name, changes, match):
    with pytest.raises(ValidationError, match=match):
        ARCHITECTURES[name](**TINY[name] | changes)


def test_swin_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = build_model(tiny("monai_swin_unetr", 2, gradient_checkpointing=checkpointing), 1, 1)
        network(torch.linspace(-1, 1, 32 * 64).reshape(1, 1, 1, 32, 64)).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


@pytest.mark.parametrize(
    ("name", "dimensions", "layout"),
    [
        ("rsunet", 3, torch.channels_last_3d),
        ("rsunet", 2, torch.contiguous_format),  # its layers are of four axes, which that layout is not for
        ("mednext", 3, torch.contiguous_format),
    ],
)
def test_layout_suits_the_layers(name, dimensions, layout):
    network = build_model(tiny(name, dimensions), 1, 1).eval()
    assert choose_memory_format(network) == layout
    volume = torch.zeros(1, 1, *network.cfg.smallest_patch_zyx)
    assert network.to(memory_format=layout)(volume.contiguous(memory_format=layout)).shape == volume.shape
