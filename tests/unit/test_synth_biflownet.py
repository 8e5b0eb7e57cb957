"""BiFlowNet: as large as the reference's, told what it should be told, and nothing it should not."""

import pytest
import torch

from connectomake.config.settings.synth import SynthConfig
from connectomake.config.settings.synth_networks import DenoiserConfig
from connectomake.errors import ModelError
from connectomake.synth.biflownet import BiFlowNet, build_denoiser, encode_steps
from connectomake.synth.transformer import attend, encode_positions

TINY = DenoiserConfig(
    dim=12, mults=(1, 1, 2), attention=(False, False, True), subvolume=4, heads=2, head_channels=8, groups=4
)


def build(seed: int = 0, **options: object) -> BiFlowNet:
    torch.manual_seed(seed)
    return BiFlowNet(TINY, 3, 2, **options).eval()


def learn(model: BiFlowNet, side: int = 8, **given: torch.Tensor) -> BiFlowNet:
    """Make steps of training, so that what begins at zero no longer is."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, t, y = torch.randn(2, 3, side, side, side), torch.tensor([10, 900]), torch.tensor([0, 1])
    for _ in range(3):
        optimizer.zero_grad()
        (model(x, t, y, **given) - x).square().mean().backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def learnt() -> BiFlowNet:
    return learn(build())


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))


T, Y = torch.tensor([10, 900]), torch.tensor([0, 1])


@pytest.mark.parametrize(("token", "count"), [(1, 157_654_880), (2, 157_773_824)])
def test_it_has_as_many_parameters_as_the_reference(token, count):
    with torch.device("meta"):
        model = BiFlowNet(DenoiserConfig(token=token), channels=8, classes=7)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("token", [1, 2])
@pytest.mark.parametrize("shape", [(4, 8, 12), (8, 4, 4)])
def test_it_gives_the_shape_that_it_got(token, shape):
    model = BiFlowNet(TINY.model_copy(update={"token": token}), 3, 2)
    assert model(torch.zeros(1, 3, *shape), T[:1], Y[:1]).shape == (1, 3, *shape)


@pytest.mark.parametrize("mults", [(1, 2, 2), (1, 1, 1, 2)])
def test_levels_may_be_as_wide_as_those_before(mults):
    cfg = TINY.model_copy(update={"mults": mults, "attention": (False,) * len(mults)})
    assert cfg.fused + cfg.halvings == len(mults)
    assert BiFlowNet(cfg, 3, 2)(torch.zeros(1, 3, 4, 8, 4), T[:1], Y[:1]).shape == (1, 3, 4, 8, 4)


@torch.no_grad()
def test_the_transformers_add_exactly_nothing_at_first(x):
    model = build()
    given = torch.randn(2, 8 * TINY.dim)
    features = model.intra(x, given)
    assert len(features) == 2 * TINY.fused
    assert all(feature.shape == (2, TINY.dim, 8, 8, 8) and not feature.any() for feature in features)


@torch.no_grad()
def test_the_transformers_see_one_subvolume_at_a_time(learnt, x):
    given = torch.randn(2, 8 * TINY.dim)
    changed = x.clone()
    changed[:, :, 0, 5, 6] += 1  # in the sub-volume (0, 1, 1)
    for before, after in zip(learnt.intra(x, given), learnt.intra(changed, given), strict=True):
        differs = (before != after).any(1)
        assert differs[:, :4, 4:, 4:].any()
        differs[:, :4, 4:, 4:] = False
        assert not differs.any()


@torch.no_grad()
def test_the_transformers_know_where_in_a_subvolume_they_look(learnt):
    same = torch.ones(1, 3, 8, 4, 4)
    for feature in learnt.intra(same, torch.randn(1, 8 * TINY.dim)):
        torch.testing.assert_close(feature[:, :, :4], feature[:, :, 4:])
        assert all((feature.diff(dim=axis).abs() > 1e-6).any() for axis in (2, 3, 4))


@torch.no_grad()
def test_once_it_has_learnt_the_transformers_matter(learnt, x):
    silent = build()
    silent.load_state_dict(learnt.state_dict())
    silent.intra.reset()
    assert (silent(x, T, Y) - learnt(x, T, Y)).abs().max() > 1e-4


@torch.no_grad()
def test_class_and_step_change_what_it_says(learnt, x):
    told = learnt(x, T, Y)
    assert (learnt(x, T, 1 - Y) - told).abs().max() > 1e-4
    assert (learnt(x, T + 50, Y) - told).abs().max() > 1e-4


@torch.no_grad()
def test_the_size_changes_what_it_says(learnt, x):
    told = learnt(x, T, Y)
    hook = learnt.size.register_forward_pre_hook(lambda layer, given: given[0] * 2)
    try:
        assert (learnt(x, T, Y) - told).abs().max() > 1e-4
    finally:
        hook.remove()


@torch.no_grad()
def test_each_sample_is_for_itself(learnt, x):
    together = learnt(x, T, Y)
    for n in range(2):
        torch.testing.assert_close(learnt(x[n : n + 1], T[n : n + 1], Y[n : n + 1])[0], together[n], atol=1e-5, rtol=0)


def test_a_map_says_nothing_at_first_and_something_later(x):
    given = torch.rand(2, 1, 8, 32, 16)
    model = build(condition_channels=1, ratio_zyx=(1, 4, 2))
    with torch.no_grad():
        assert torch.equal(model(x, T, Y, given), model(x, T, Y, -given))
    learn(model, condition=given)
    with torch.no_grad():
        assert (model(x, T, Y, given) - model(x, T, Y, -given)).abs().max() > 1e-4


def test_it_refuses_what_it_cannot_take(x):
    model = build()
    with pytest.raises(ModelError, match=r"multiples of 4; got \[8, 8, 6\]"):
        model(x[..., :6], T, Y)
    with pytest.raises(ModelError, match="expected no map; got a map"):
        model(x, T, Y, x[:, :1])
    with pytest.raises(ModelError, match="expected a map; got no map"):
        build(condition_channels=1)(x, T, Y)


def test_it_is_built_as_the_settings_say():
    cfg = SynthConfig.model_validate(
        {"denoiser": TINY.model_dump(), "labels": {"kind": "conditional"}, "diffusion": {"label_dropout": 0.1}}
    )
    model = build_denoiser(cfg, classes=3)
    assert model.label.num_embeddings == 4
    assert model.map is not None
    assert build_denoiser(SynthConfig(denoiser=TINY), classes=3).label.num_embeddings == 3


def test_attention_is_that_of_the_formula():
    q, k, v = torch.randn(3, 2, 5, 6)
    expected = torch.empty(2, 5, 6)
    for n in range(2):
        for part in (slice(0, 3), slice(3, 6)):
            weights = torch.softmax(q[n, :, part] @ k[n, :, part].T / 3**0.5, 1)
            expected[n, :, part] = weights @ v[n, :, part]
    torch.testing.assert_close(attend(q, k, v, heads=2), expected)


def test_positions_are_waves_along_each_axis():
    found = encode_positions(3, 12).reshape(3, 3, 3, 3, 4)
    for axis in range(3):
        along = found[..., axis, :].movedim(axis, 0).reshape(3, 9, 4)
        assert torch.equal(along, along[:, :1].expand(3, 9, 4))
        place = torch.arange(3.0)
        waves = [place.sin(), (place / 100).sin(), place.cos(), (place / 100).cos()]
        torch.testing.assert_close(along[:, 0], torch.stack(waves, 1))


def test_steps_are_waves():
    place = torch.tensor([0.0, 7.0])
    waves = [
        place.sin(),
        (place / 100).sin(),
        (place / 1e4).sin(),
        place.cos(),
        (place / 100).cos(),
        (place / 1e4).cos(),
    ]
    torch.testing.assert_close(encode_steps(torch.tensor([0, 7]), 6), torch.stack(waves, 1))
