"""Losses: what is masked counts nothing, and the numbers are those of the formulas."""

import math

import pytest
import torch

from connectomake.config.targets import LossTerm
from connectomake.losses import LOSSES, Losses

SHAPE = (2, 3, 4, 5, 6)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator, requires_grad=True)
    values = torch.randint(0, 2, SHAPE, generator=generator, dtype=torch.uint8)
    mask = torch.rand(SHAPE, generator=generator) < 0.6
    return logits, values, mask


@pytest.mark.parametrize("name", LOSSES)
def test_masked_voxels_contribute_nothing(name, batch):
    logits, values, mask = batch
    loss = Losses([LossTerm(loss=name)])
    first = loss(logits, values, mask)
    first.backward()
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask] != 0).all()
    flipped = torch.where(mask, values, 1 - values)
    changed = torch.where(mask, logits, logits + 100)
    torch.testing.assert_close(loss(changed, flipped, mask), first)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_known_gives_no_loss(name, batch):
    logits, values, mask = batch
    value = Losses([LossTerm(loss=name)])(logits, values, torch.zeros_like(mask))
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_right_answers_cost_less(name, batch):
    _, values, mask = batch
    loss = Losses([LossTerm(loss=name)])
    right = 20 * (2 * values.float() - 1)
    assert loss(right, values, mask) < 1e-3
    assert loss(-right, values, mask) > 0.5


def test_bce_is_the_mean_over_all_known_voxels(batch):
    logits, values, mask = batch
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[mask], values[mask].float())
    torch.testing.assert_close(LOSSES["bce"](logits, values.float(), mask.float()), expected)


@pytest.mark.parametrize(("ones", "weight"), [(2, 4.0), (8, 4.0), (5, 1.0)])
def test_balanced_bce_weighs_the_rarer_class(ones, weight):
    """10 voxels, all logits 0 but those of the rarer class."""
    values = torch.tensor([1.0] * ones + [0.0] * (10 - ones)).reshape(1, 1, 1, 1, 10)
    rarer = values == (1.0 if ones < 5 else 0.0)
    logits = torch.where(rarer, 1.0, 0.0) * torch.where(values > 0, 1.0, -1.0)
    n = int(rarer.sum())
    expected = (weight * n * math.log(1 + math.exp(-1)) + (10 - n) * math.log(2)) / (weight * n + 10 - n)
    assert LOSSES["balanced_bce"](logits, values, torch.ones_like(values)).item() == pytest.approx(expected, rel=1e-5)


def test_balance_is_limited_and_per_channel():
    values = torch.ones(1, 2, 1, 1, 1000)
    values[0, 0, 0, 0, 0] = 0  # 1 of 1000 in the first channel, balanced 10 times at most; none in the second
    logits = torch.zeros_like(values, requires_grad=True)
    LOSSES["balanced_bce"](logits, values, torch.ones_like(values)).backward()
    size = logits.grad.abs()
    assert (size[0, 0, 0, 0, 0] / size[0, 0, 0, 0, 1]).item() == pytest.approx(10)
    assert (size[0, 1] / size[0, 0, 0, 0, 1]).unique().tolist() == pytest.approx([1])


def test_dice_by_hand():
    values = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 1, 4)
    logits = torch.tensor([50.0, -50.0, 50.0, -50.0]).reshape(1, 1, 1, 1, 4)
    # overlap 1, sizes 2 and 2: 1 - (2 + 1) / (4 + 1)
    assert LOSSES["dice"](logits, values, torch.ones_like(values)).item() == pytest.approx(0.4)


def test_terms_are_added_with_their_weights(batch):
    parts = [Losses([LossTerm(loss=name)])(*batch) for name in ("bce", "dice")]
    both = Losses([LossTerm(loss="bce", weight=2), LossTerm(loss="dice", weight=0.5)])(*batch)
    torch.testing.assert_close(both, 2 * parts[0] + 0.5 * parts[1])


def test_half_precision_logits_are_summed_in_single(batch):
    logits, values, mask = batch
    value = Losses([LossTerm()])(logits.bfloat16(), values, mask)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, Losses([LossTerm()])(logits, values, mask), rtol=1e-2, atol=1e-2)


def test_every_loss_that_settings_allow_is_there():
    allowed = LossTerm.model_json_schema()["properties"]["loss"]["enum"]
    assert sorted(allowed) == sorted(LOSSES)
