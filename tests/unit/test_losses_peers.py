"""With everything known, the losses and their gradients are those of torch and MONAI."""

import monai.losses
import pytest
import torch
from torch import nn

from connectomake.channels import Channel
from connectomake.losses import create_loss
from connectomake.losses.overlap import TINY

SHAPE = (2, 3, 4, 5, 6)
SOFT = [Channel(name, "classes", activation="softmax") for name in "abc"]
TANH = [Channel(name, "distance", activation="tanh", binary=False) for name in "abc"]
OVERLAP = {"batch": True, "smooth_nr": 1.0, "smooth_dr": 1.0}


def on_tanh(loss):
    return lambda logits, values: loss(logits.tanh(), values)


def on_three(loss):
    """Compare classes by their number, as torch does."""
    return lambda logits, values: loss(logits, values.argmax(1))


def with_bce(logits, values):
    """MONAI takes binary cross-entropy of a single channel only."""
    loss = monai.losses.DiceLoss(sigmoid=True, **OVERLAP)
    return loss(logits, values) + nn.BCEWithLogitsLoss()(logits, values)


CASES = {
    "bce": ("bce", {}, None, nn.BCEWithLogitsLoss()),
    "bce weighted": (
        "BCEWithLogitsLoss",
        {"positive_weight": 3},
        None,
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)),
    ),
    "focal": ("FocalLoss", {}, None, monai.losses.FocalLoss()),
    "focal 0": ("focal", {"gamma": 0, "positive_weight": 2}, None, nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0))),
    "cross_entropy": ("CrossEntropyLoss", {}, SOFT, on_three(nn.CrossEntropyLoss())),
    "dice": ("DiceLoss", {}, None, monai.losses.DiceLoss(sigmoid=True, **OVERLAP)),
    "dice softmax": ("dice", {}, SOFT, monai.losses.DiceLoss(softmax=True, **OVERLAP)),
    "dice smooth": (
        "dice",
        {"smooth": 1e-5},
        None,
        monai.losses.DiceLoss(sigmoid=True, batch=True),
    ),
    "generalised_dice": (
        "GeneralizedDiceLoss",
        {},
        None,
        monai.losses.GeneralizedDiceLoss(sigmoid=True, batch=True, smooth_nr=TINY, smooth_dr=TINY),
    ),
    "tversky": (
        "TverskyLoss",
        {"alpha": 0.3, "beta": 0.7},
        None,
        monai.losses.TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7, **OVERLAP),
    ),
    "dice_ce softmax": ("DiceCELoss", {}, SOFT, monai.losses.DiceCELoss(softmax=True, **OVERLAP)),
    "dice_ce": ("DiceCELoss", {}, None, with_bce),
    "dice_focal": ("DiceFocalLoss", {}, None, monai.losses.DiceFocalLoss(sigmoid=True, **OVERLAP)),
    "mse": ("MSELoss", {}, None, nn.MSELoss()),
    "mse tanh": ("mse", {}, TANH, on_tanh(nn.MSELoss())),
    "mae": ("L1Loss", {}, TANH, on_tanh(nn.L1Loss())),
    "smooth_l1": ("SmoothL1Loss", {"transition": 0.3}, TANH, on_tanh(nn.SmoothL1Loss(beta=0.3))),
    "weighted_mse": ("WeightedMSELoss", {"largest_weight": 1}, TANH, on_tanh(nn.MSELoss())),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_the_original(case):
    name, options, channels, original = CASES[case]
    generator = torch.Generator().manual_seed(3)
    classes = torch.randint(0, 3, (2, 4, 5, 6), generator=generator)
    values = nn.functional.one_hot(classes, 3).movedim(-1, 1).float()
    ours, theirs = (torch.randn(SHAPE, generator=generator.manual_seed(4), requires_grad=True) for _ in range(2))
    found = create_loss(name, channels=channels, **options)(ours, values, torch.ones_like(values))
    expected = original(theirs, values)
    torch.testing.assert_close(found, expected.reshape(()))
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-9)


def test_what_is_masked_is_as_if_it_were_not_there():
    """The known half alone, against both halves with the second unknown; MONAI's own mask lets zeros in."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator)
    values = torch.randint(0, 2, SHAPE, generator=generator).float()
    mask = torch.zeros(SHAPE)
    mask[:, :, :2] = 1
    for name in ("dice", "tversky", "generalised_dice", "focal", "dice_focal", "bce", "mse", "balanced_bce"):
        loss = create_loss(name)
        half = loss(logits[:, :, :2], values[:, :, :2], mask[:, :, :2])
        torch.testing.assert_close(loss(logits, values, mask), half)
    leaky = monai.losses.spatial_mask.MaskedLoss(monai.losses.DiceLoss(sigmoid=True, **OVERLAP))
    alone = monai.losses.DiceLoss(sigmoid=True, **OVERLAP)(logits[:, :, :2], values[:, :, :2])
    assert leaky(logits, values, mask[:, :1]) > alone + 0.05
