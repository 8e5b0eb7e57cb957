"""Losses: what is unknown counts nothing, right answers cost less, and the numbers are those of the formulas."""

import math

import pytest
import torch

from connectomake.channels import Channel
from connectomake.config.registries import LOSSES
from connectomake.errors import ConfigError
from connectomake.losses import create_loss

SHAPE = (2, 3, 4, 6, 7)
COMPARING = sorted(name for name, loss in LOSSES.items() if loss.compares)


def count_channels(name):
    return 2 if LOSSES[name].sees else 3


def draw(name, share_known=0.6, seed=0):
    """Draw logits, truth that suits the loss, and whether it is known: of all channels of a voxel, or of none."""
    generator = torch.Generator().manual_seed(seed)
    shape = (SHAPE[0], count_channels(name), *SHAPE[2:])
    logits = torch.randn(shape, generator=generator, requires_grad=True)
    if name == "cross_entropy":
        classes = torch.randint(0, 3, (SHAPE[0], *SHAPE[2:]), generator=generator)
        values = torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).to(torch.uint8)
    else:
        values = torch.randint(0, 2, shape, generator=generator, dtype=torch.uint8)
    known = torch.rand(SHAPE[0], 1, *SHAPE[2:], generator=generator) < share_known
    return logits, values, known.expand(shape)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_what_is_unknown_has_no_part(name):
    share = 0.97 if name == "foreground_contour" else 0.6  # it needs surroundings that are known
    logits, values, mask = draw(name, share)
    loss = create_loss(name)
    first = loss(logits, values, mask)
    first.backward()
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask] != 0).any()
    assert first > 0
    for other in (100.0, -1e4, 1e30, torch.inf):
        changed = torch.where(mask, logits, other)
        assert loss(changed, torch.where(mask, values, 1 - values), mask) == first


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_nothing_known_gives_no_loss(name):
    logits, values, mask = draw(name)
    value = create_loss(name)(logits, values, torch.zeros_like(mask))
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", COMPARING)
def test_right_answers_cost_less(name):
    _, values, mask = draw(name)
    wanted = values.float() if LOSSES[name].suits.activations[0] == "identity" else 20 * (2 * values.float() - 1)
    loss = create_loss(name)
    assert loss(wanted, values, mask) < 1e-3
    assert loss(-wanted, values, mask) > 0.4


@pytest.mark.parametrize("extreme", [1e4, -1e4])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_extreme_logits_stay_finite(name, extreme):
    logits, values, mask = draw(name)
    sign = torch.where(torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) < 0.5, 1.0, -1.0)
    for far in (torch.full_like(logits, extreme), extreme * sign):
        far.requires_grad_(True)
        value = create_loss(name)(far, values, mask)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(far.grad).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_half_precision_is_summed_in_single(name):
    logits, values, mask = draw(name)
    rough = logits.detach().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = create_loss(name)(rough, values, mask)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, create_loss(name)(rough.float(), values, mask), rtol=0, atol=0)


@pytest.mark.parametrize(("ones", "weight"), [(2, 4.0), (8, 4.0), (5, 1.0)])
def test_balanced_bce_weighs_the_rarer_class(ones, weight):
    """10 voxels, all logits 0 but those of the rarer class."""
    values = torch.tensor([1.0] * ones + [0.0] * (10 - ones)).reshape(1, 1, 1, 1, 10)
    rarer = values == (1.0 if ones < 5 else 0.0)
    logits = torch.where(rarer, 1.0, 0.0) * torch.where(values > 0, 1.0, -1.0)
    n = int(rarer.sum())
    expected = (weight * n * math.log(1 + math.exp(-1)) + (10 - n) * math.log(2)) / (weight * n + 10 - n)
    assert create_loss("balanced_bce")(logits, values, values >= 0).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "limit"), [("balanced_bce", 10), ("weighted_mse", 19), ("weighted_mae", 19)])
def test_balance_is_limited_and_per_channel(name, limit):
    values = torch.ones(1, 2, 1, 1, 1000)
    values[0, 0, 0, 0, 0] = 0  # 1 of 1000 in the first channel; none in the second
    logits = torch.full_like(values, 0.5, requires_grad=True)
    channels = [Channel(name, name) for name in "ab"]
    for options, most in (({}, limit), ({"largest_weight": 3}, 3)):
        logits.grad = None
        create_loss(name, channels=channels, **options)(logits, values, values >= 0).backward()
        slopes = logits.grad.abs() / abs(torch.sigmoid(torch.tensor(0.5)) - values) ** (name != "weighted_mae")
        assert (slopes[0, 0, 0, 0, 0] / slopes[0, 0, 0, 0, 1]).item() == pytest.approx(most, rel=1e-4)
        torch.testing.assert_close(slopes[0, 1], slopes[0, 0, 0, 0, 1].expand(1, 1, 1000).reshape(1, 1, 1000))


def test_weighted_regression_counts_what_is_above_0_as_foreground():
    values = torch.tensor([0.5, -1.0, -1.0, -1.0]).reshape(1, 1, 1, 1, 4)
    error = torch.tensor([0.2, 0.1, 0.1, 0.1]).reshape(1, 1, 1, 1, 4)
    loss = create_loss("WeightedMAELoss")(values + error, values, values < 2)
    assert loss.item() == pytest.approx((3 * 0.2 + 3 * 0.1) / 6)


def test_dice_by_hand():
    values = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 1, 4)
    logits = torch.tensor([50.0, -50.0, 50.0, -50.0]).reshape(1, 1, 1, 1, 4)
    # overlap 1, sizes 2 and 2: 1 - (2 + 1) / (4 + 1)
    assert create_loss("dice")(logits, values, values >= 0).item() == pytest.approx(0.4)


def test_unknown_channels_do_not_dilute_the_overlap():
    logits, values, _ = draw("dice")
    mask = torch.ones_like(values, dtype=torch.bool)
    mask[:, 1] = False
    some = create_loss("dice")(logits[:, [0, 2]], values[:, [0, 2]], mask[:, [0, 2]])
    torch.testing.assert_close(create_loss("dice")(logits, values, mask), some)


def test_overlap_of_a_softmax_without_its_background():
    """A slice of a softmax is the slice of the softmax over all channels, not the softmax of the slice."""
    from connectomake.losses.seen import Output

    logits, values, mask = draw("cross_entropy")
    channels = [Channel(name, "classes", activation="softmax") for name in "abc"]
    seen = Output(logits, values, mask, channels).see([1, 2])
    expected = torch.where(mask, logits.softmax(1), 0.0)[:, 1:]
    torch.testing.assert_close(seen.prediction, expected)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("foreground_distance", (3.0, 1.0), (3.0, -1.0)),
        ("contour_distance", (3.0, 0.0), (3.0, 2.0)),
        ("binary_regularisation", (9.0, -9.0), (0.0, 0.1)),
        ("non_overlap", (3.0, -3.0), (3.0, 3.0)),
    ],
)
def test_consistent_predictions_cost_less(name, good, bad):
    def cost(pair):
        logits = torch.tensor(pair).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 5, 5)
        return create_loss(name)(logits, torch.zeros_like(logits), torch.ones_like(logits))

    assert cost(good) < 0.7 * cost(bad)


def test_contours_belong_where_the_foreground_ends():
    foreground = torch.full((1, 1, 2, 9, 9), -9.0)
    foreground[..., 4:] = 9.0
    contour = torch.full_like(foreground, -9.0)
    contour[..., 2:6] = 9.0  # the slope is in two columns, 3 and 4, made broader by one on each side
    mask = torch.ones(1, 2, 2, 9, 9)
    loss = create_loss("FgContourConsistency")
    right = loss(torch.cat([foreground, contour], 1), mask, mask)
    wrong = loss(torch.cat([foreground, -contour], 1), mask, mask)
    assert right < 1e-3
    assert wrong > 0.9


def test_the_third_channel_says_where_overlap_counts_and_learns_nothing():
    logits, values, mask = draw("non_overlap")
    create_loss("NonOverlapRegularization")(logits, values, mask).backward()
    assert (logits.grad[:, 2] == 0).all()
    assert (logits.grad[:, :2][mask[:, :2]] != 0).all()
    far = logits.detach().clone()
    far[:, 2] = -1e4
    assert create_loss("non_overlap")(far, values, mask) == 0


def test_every_loss_of_the_settings_is_there_and_has_no_default_of_its_own():
    aliases = [alias for loss in LOSSES.values() for alias in loss.aliases]
    assert len(set(aliases)) == len(aliases) == 29
    for name in [*LOSSES, *aliases]:
        assert callable(create_loss(name))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("DiceLos", {}, "there is no loss 'DiceLos': did you mean 'DiceLoss'"),
        ("tverski", {}, "did you mean 'tversky'"),
        ("xyz", {}, "there is no loss 'xyz': known: balanced_bce, bce"),
        ("tversky", {"alfa": 0.5}, "tversky has no option 'alfa': did you mean 'alpha'"),
        ("dice", {"smooth": -1}, "dice: expected smooth from 1e-06 to 1e[+]06, got -1"),
        ("focal", {"gamma": 99}, "expected gamma from 0 to 10, got 99"),
    ],
)
def test_wrong_names_and_options_are_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        create_loss(name, **options)
