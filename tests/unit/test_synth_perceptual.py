"""How alike volumes look: each kind falls as they do, its weights are in no checkpoint, and files are checked."""

import pytest
import torch

from connectomake.config.settings.synth import PerceptualConfig
from connectomake.errors import ConfigError
from connectomake.synth.perceptual import build_perceptual
from connectomake.synth.perceptual_networks import PLACES, MedicalNet, Vgg16

FILES = {"lpips": ("vgg", "heads"), "medicalnet": ("medicalnet",), "gradient": ()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write files of random weights as the networks' authors name theirs."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    vgg, medical = Vgg16(), MedicalNet()
    state = {f"features.{p}.{part}": getattr(vgg.convolutions[i], part) for i, p in enumerate(PLACES) for part in ("weight", "bias")}  # fmt: skip  # noqa: E501
    torch.save(state | {"classifier.0.weight": torch.zeros(1)}, folder / "vgg", _use_new_zipfile_serialization=False)
    torch.save({f"lin{i}.model.1.weight": torch.rand_like(h) for i, h in enumerate(vgg.heads)}, folder / "heads")
    state = {f"module.{name}": v for name, v in medical.body.state_dict().items() if "num_batches" not in name}
    torch.save({"state_dict": state}, folder / "medicalnet")
    return folder


def settings_of(kind, folder):
    keys = zip(("weights", "heads"), FILES[kind], strict=False)
    return PerceptualConfig(kind=kind, slices=0.1, **{key: str(folder / name) for key, name in keys})


@pytest.mark.parametrize("kind", FILES)
def test_it_grows_as_volumes_differ_and_tells_gradients(kind, files):
    judge = build_perceptual(settings_of(kind, files))
    torch.manual_seed(0)
    x = torch.rand(1, 2, 16, 16, 16) * 2 - 1
    noise = torch.randn_like(x)
    near, far = ((x + share * noise).requires_grad_() for share in (0.02, 0.5))
    found = [judge(x, x), judge(near, x), judge(far, x)]
    assert found[0] == 0
    assert found[0] < found[1] < found[2]
    found[2].backward()
    assert far.grad.isfinite().all()
    assert far.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", FILES)
def test_it_is_no_part_of_a_checkpoint_and_never_trains(kind, files):
    owner = torch.nn.Module()
    owner.judge = build_perceptual(settings_of(kind, files))
    owner.double().train()
    assert not owner.state_dict()
    assert not list(owner.parameters())
    if kind != "gradient":
        inner = owner.judge.network
        assert not inner.training
        assert {p.dtype for p in inner.parameters()} == {torch.float64}  # it moves with its owner


def test_a_reconstruction_that_is_all_0_has_a_gradient():
    x = torch.zeros(1, 1, 8, 8, 8, requires_grad=True)
    build_perceptual(PerceptualConfig())(x, torch.rand(1, 1, 8, 8, 8)).backward()
    assert x.grad.isfinite().all()


def test_thin_volumes_have_fewer_scales():
    x = torch.rand(1, 1, 1, 4, 16)
    assert build_perceptual(PerceptualConfig())(x, 0 * x).isfinite()


@pytest.mark.parametrize(
    ("kind", "weights", "heads", "message"),
    [
        (
            "medicalnet",
            "nowhere",
            None,
            r"perceptual\.weights: no file .*nowhere; it is resnet_10_23dataset\.pth of git",
        ),
        ("medicalnet", "vgg", None, r"perceptual\.weights: .*vgg holds another network; expected resnet_10"),
        ("lpips", "medicalnet", "heads", r"perceptual\.weights: .*medicalnet holds another network; expected vgg16"),
        ("lpips", "vgg", "vgg", r"perceptual\.heads: .*vgg holds another network; expected lpips/weights"),
        ("lpips", "vgg", "nowhere", r"perceptual\.heads: no file"),
        ("medicalnet", "text", None, r"text holds another network"),
    ],
)
def test_a_file_that_is_missing_or_of_another_network_is_named(files, kind, weights, heads, message):
    (files / "text").write_text("no weights")
    named = {"weights": str(files / weights)} | ({"heads": str(files / heads)} if heads else {})
    with pytest.raises(ConfigError, match=message):
        build_perceptual(PerceptualConfig(kind=kind, **named))
