"""The sum of losses: terms on channels, resolutions, names."""

import pytest
import torch

from connectomake.channels import Channel, name_offset
from connectomake.config.settings.train_losses import LossTerm
from connectomake.errors import ConfigError, ModelError
from connectomake.losses import Losses, create_loss
from connectomake.losses.total import subsample

OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
CHANNELS = [
    *(Channel(name_offset(offset), "affinity", offset) for offset in OFFSETS),
    Channel("distance", "distance", activation="tanh", binary=False),
    *(Channel(name, "classes", activation="softmax") for name in ("background", "mito", "er")),
]
TERMS = [
    LossTerm(loss="bce", weight=2, target="affinity"),
    LossTerm(loss="dice", weight=0.5, target="affinity"),
    LossTerm(loss="mse", target="distance"),
    LossTerm(loss="CrossEntropyLoss", weight=3, target="classes"),
]
SHAPE = (2, len(CHANNELS), 4, 8, 8)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator, requires_grad=True)
    values = torch.randint(0, 2, SHAPE, generator=generator).float()
    values[:, 3] = 2 * torch.rand(SHAPE[0], *SHAPE[2:], generator=generator) - 1
    values[:, 4:] = torch.nn.functional.one_hot(values[:, 4].long(), 3).movedim(-1, 1)
    mask = (torch.rand(SHAPE[0], 1, *SHAPE[2:], generator=generator) < 0.6).expand(SHAPE)
    return logits, values, mask


def test_terms_are_added_with_their_weights_each_on_its_channels(batch):
    losses = Losses(TERMS, CHANNELS)
    total = losses(*batch)
    ranges = [(0, 3), (0, 3), (3, 4), (4, 7)]
    alone = [
        create_loss(term.loss, channels=CHANNELS[a:b])(*(part[:, a:b] for part in batch))
        for term, (a, b) in zip(TERMS, ranges, strict=True)
    ]
    torch.testing.assert_close(total, 2 * alone[0] + 0.5 * alone[1] + alone[2] + 3 * alone[3])
    assert list(losses.parts) == ["bce.affinity", "dice.affinity", "mse.distance", "cross_entropy.classes"]
    torch.testing.assert_close(list(losses.parts.values()), [part.detach() for part in alone])
    assert not any(part.requires_grad for part in losses.parts.values())


def test_prediction_and_truth_may_be_of_different_channels(batch):
    logits, values, mask = batch
    term = LossTerm(loss="bce", target="affinity", prediction="0:2", truth="-2:")
    total = Losses([term], CHANNELS)(logits, values, mask)
    expected = create_loss("bce")(logits[:, :2], values[:, 1:3], mask[:, 1:3])
    torch.testing.assert_close(total, expected)
    total.backward()
    assert (logits.grad[:, 2:] == 0).all()


def test_terms_of_one_name_are_told_apart(batch):
    losses = Losses([LossTerm(loss="bce", target="affinity", weight=w) for w in (1, 2)], CHANNELS)
    losses(*batch)
    assert list(losses.parts) == ["bce.affinity.0", "bce.affinity.1"]


def test_regularisers_find_their_channels(batch):
    channels = [Channel("binary", "binary"), *CHANNELS[3:4]]
    logits, values, mask = (part[:, [0, 3]] for part in batch)
    total = Losses([LossTerm(loss="ForegroundDistanceConsistency")], channels)(logits, values, mask)
    torch.testing.assert_close(total, create_loss("foreground_distance")(logits, values, mask))


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4, 4), (4, 2, 2), (1, 1, 1), (4, 8, 8)])
def test_coarse_truth_is_that_of_the_middle_voxels(batch, shape):
    _, values, mask = batch
    coarse, known = subsample(values, mask, shape)
    assert coarse.shape[2:] == shape
    steps = [n // cells for n, cells in zip(SHAPE[2:], shape, strict=True)]
    for place in [(0, 0, 0), tuple(cells - 1 for cells in shape)]:
        fine = tuple(p * step + step // 2 for p, step in zip(place, steps, strict=True))
        assert torch.equal(coarse[(..., *place)], values[(..., *fine)])
        assert torch.equal(known[(..., *place)], mask[(..., *fine)])
    assert set(coarse[:, :3].unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("given", "used"), [(None, (4 / 7, 2 / 7, 1 / 7)), ((3, 1, 1), (0.6, 0.2, 0.2))], ids=["halves", "given"]
)
def test_resolutions_are_weighted_finest_first(batch, given, used):
    logits, values, mask = batch
    outputs = (logits, logits[..., ::2, ::2], logits[..., ::2, ::4, ::4])
    losses = Losses(TERMS, CHANNELS, given)
    alone = [Losses(TERMS, CHANNELS)(output, *subsample(values, mask, output.shape[2:])) for output in outputs]
    total = losses(outputs, values, mask)
    torch.testing.assert_close(total, sum(w * value for w, value in zip(used, alone, strict=True)))
    sums = sum(term.weight * part for term, part in zip(TERMS, losses.parts.values(), strict=True))
    torch.testing.assert_close(sums, total.detach())
    # one tensor, as networks give in evaluation: the finest alone, with its whole weight
    torch.testing.assert_close(losses(logits, values, mask), alone[0])


def test_the_unknown_has_no_part_at_any_resolution(batch):
    logits, values, mask = batch
    outputs = [part.detach().clone().requires_grad_(True) for part in (logits, logits[..., ::2, ::2, ::2])]
    losses = Losses(TERMS, CHANNELS)
    first = losses(outputs, values, mask)
    first.backward()
    for output in outputs:
        known = subsample(values, mask, output.shape[2:])[1]
        assert (output.grad[~known] == 0).all()
        assert (output.grad[known] != 0).any()
    assert losses(outputs, torch.where(mask, values, 1 - values), mask) == first


def test_autocast_and_half_precision_change_nothing_but_the_input(batch):
    logits, values, mask = batch
    rough = logits.detach().bfloat16()
    losses = Losses(TERMS, CHANNELS)
    expected = losses(rough.float(), values, mask)
    with torch.autocast("cpu", torch.bfloat16):
        assert losses(rough, values, mask) == expected
    assert expected.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :3], r"expected one shape \(N, 7, Z, Y, X\)"),
        (lambda x: x[..., :3], r"whole fractions of \(4, 8, 8\); got \(4, 8, 3\)"),
        (lambda x: x[:1], "do not fit together"),
    ],
)
def test_an_output_that_does_not_fit_is_refused(batch, change, message):
    logits, values, mask = batch
    with pytest.raises(ModelError, match=message):
        Losses(TERMS, CHANNELS)(change(logits), values, mask)


def test_other_many_weights_than_resolutions_are_refused(batch):
    logits, values, mask = batch
    with pytest.raises(ConfigError, match=r"scale_weights.*expected 2 weights"):
        Losses(TERMS, CHANNELS, (1, 1, 1))((logits, logits), values, mask)


def test_a_term_without_its_channels_is_refused():
    with pytest.raises(ConfigError, match=r"losses\.0 \(bce\.binary\): there is no target 'binary'"):
        Losses([LossTerm(loss="bce", target="binary")], CHANNELS)


def test_each_loss_teaches_its_channels(batch):
    """A network of one weight per voxel, taught by every term at once, says in the end what is true."""
    _, values, mask = batch
    logits = torch.zeros(SHAPE, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    losses = Losses(TERMS, CHANNELS)
    for _ in range(60):
        optimizer.zero_grad()
        losses(logits, values, mask).backward()
        optimizer.step()
    assert all(part < 0.1 for part in losses.parts.values())
