"""Settings of losses: which channels they see, what they refuse, and that nothing is left untaught."""

import pytest
from pydantic import ValidationError

from connectomake.channels import Channel
from connectomake.config.settings.train import TrainConfig
from connectomake.config.settings.train_losses import LossTerm, check_losses
from connectomake.config.settings.train_targets import TargetsConfig

MANY = TargetsConfig.model_validate(
    {
        "affinity": {"offsets_zyx_vx": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
        "binary": {},
        "contour": {},
        "distance": {},
        "flow": {},
        "descriptors": {"parts": ["size"]},
        "classes": {"labels": {"mito": [1], "er": [2]}, "exclusive": True},
    }
).channels
PLAIN = MANY[:3]
CLASSES = slice(len(MANY) - 3, len(MANY))


def find(channels=MANY, **term):
    return LossTerm.model_validate(term).channels_of(channels)


def test_a_term_sees_its_target_or_a_slice_of_it():
    assert find(PLAIN, loss="bce") == ((0, 1, 2), (0, 1, 2))
    assert find(loss="bce", target="affinity") == ((0, 1, 2), (0, 1, 2))
    assert find(loss="dice", target="affinity", prediction="-1:") == ((2,), (2,))
    assert find(loss="bce", prediction="0:2", truth="1:3") == ((0, 1), (1, 2))
    assert find(loss="bce", prediction=1) == ((1,), (1,))
    assert find(PLAIN, loss="bce", prediction="-1") == ((2,), (2,))
    assert find(loss="mse", target="distance") == ((5,), (5,))
    soft = tuple(range(len(MANY)))[CLASSES]
    assert find(loss="CrossEntropyLoss", target="classes") == (soft, soft)
    assert find(loss="dice", target="classes", prediction="1:") == (soft[1:], soft[1:])


def test_consistencies_find_their_channels():
    assert find(loss="ForegroundDistanceConsistency") == ((3, 5), (3, 5))
    assert find(loss="contour_distance") == ((4, 5), (4, 5))
    assert find(loss="foreground_contour") == ((3, 4), (3, 4))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"loss": "bce", "target": "afinity"}, "no target 'afinity': did you mean 'affinity'"),
        ({"loss": "bce", "prediction": "0:99"}, "'0:99' reaches out of the 13 channels"),
        ({"loss": "bce", "target": "affinity", "prediction": "2:1"}, "'2:1' is none of the 3 channels"),
        ({"loss": "bce", "target": "affinity", "prediction": "-4:"}, "'-4:' reaches out of the 3"),
        ({"loss": "bce", "target": "affinity", "prediction": "a:b"}, "expected a slice in quotes.*got 'a:b'"),
        ({"loss": "bce", "target": "affinity", "prediction": ":", "truth": "3"}, "truth: '3' reaches out of the 3"),
        ({"loss": "bce", "target": "affinity", "prediction": "0:2", "truth": "0"}, "2 channels, and truth 1"),
        ({"loss": "bce"}, "suits sigmoid channels, and 'distance' is tanh: give `target`"),
        ({"loss": "balanced_bce", "target": "classes"}, "suits sigmoid channels, and 'background' is softmax"),
        ({"loss": "cross_entropy", "target": "affinity"}, r"suits softmax channels, and 'affinity z\+1' is sigmoid"),
        ({"loss": "dice", "target": "descriptors"}, "channels of 0 and 1, and 'descriptor size' is not"),
        ({"loss": "dice", "target": "distance"}, "sigmoid or softmax channels, and 'distance' is tanh"),
        ({"loss": "bce", "target": "affinity", "prediction": "0:1", "truth": "9"}, "reaches out"),
        ({"loss": "cross_entropy", "target": "classes", "prediction": "1:"}, "over all channels of a target"),
        ({"loss": "weighted_mse", "target": "flow"}, "not above 0 in objects.*use mse there"),
        ({"loss": "non_overlap", "target": "binary"}, "sees 2 or 3 channels, not 1"),
    ],
)
def test_channels_that_do_not_suit_are_refused(term, message):
    with pytest.raises(ValueError, match=message):
        find(**term)


def test_consistencies_without_their_channels_are_refused():
    with pytest.raises(ValueError, match="needs the channels binary and distance, and there is no binary"):
        find(PLAIN, loss="foreground_distance")


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"loss": "BCELogits"}, "no loss 'BCELogits'"),
        ({"loss": "DiceCeLoss"}, "did you mean 'DiceCELoss'"),
        ({"loss": "bce", "options": {"positiv_weight": 2}}, "did you mean 'positive_weight'"),
        ({"loss": "mse", "options": {"smooth": 2}}, "mse has no option 'smooth': known: none"),
        ({"loss": "tversky", "options": {"alpha": 2}}, "expected alpha from 0 to 1, got 2"),
        ({"loss": "contour_distance", "target": "contour"}, "finds contour and distance by itself"),
        ({"loss": "non_overlap", "truth": "0:2"}, "compares with no truth"),
        ({"loss": "bce", "weight": 0}, "greater than 0"),
    ],
)
def test_terms_that_cannot_be_are_refused(term, message):
    with pytest.raises(ValidationError, match=message):
        LossTerm.model_validate(term)


def test_names_of_elsewhere_become_ours():
    term = LossTerm.model_validate({"loss": "PerChannelBCEWithLogitsLoss", "options": {"largest_weight": 5}})
    assert term == LossTerm(loss="balanced_bce", options={"largest_weight": 5})
    assert term.settings == {"largest_weight": 5}
    assert LossTerm().settings == {"largest_weight": 10}
    assert LossTerm.model_validate(term.model_dump()) == term


def teach(*losses, channels=MANY):
    check_losses([LossTerm.model_validate(term) for term in losses], channels)


def test_every_channel_needs_a_loss_that_compares_it():
    teach({"loss": "bce", "target": "affinity"}, channels=PLAIN)
    teach({"loss": "bce", "prediction": ":2"}, {"loss": "dice", "prediction": "2"}, channels=PLAIN)
    with pytest.raises(ValueError, match=r"no loss compares 'affinity x\+1' with the truth"):
        teach({"loss": "bce", "prediction": ":2"}, channels=PLAIN)
    with pytest.raises(ValueError, match=r"compares 'affinity z\+1', 'affinity y\+1', 'affinity x\+1' with"):
        teach({"loss": "binary_regularisation"}, channels=PLAIN)
    with pytest.raises(ValueError, match=r"'binary', 'contour', 'flow z' and 6 more"):
        teach({"loss": "bce", "target": "affinity"}, {"loss": "mse", "target": "distance"})
    teach({"loss": "dice", "prediction": "1:"}, channels=MANY[CLASSES])  # a softmax is taught as one


def test_the_term_that_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"losses\.1 \(dice\.affinity\.0:9\): prediction: '0:9' reaches out"):
        teach({"loss": "bce"}, {"loss": "dice", "target": "affinity", "prediction": "0:9"}, channels=PLAIN)


def test_a_target_that_a_checkpoint_does_not_name_is_one_target():
    channels = [Channel(name, "output") for name in "ab"]
    assert find(channels, loss="bce") == ((0, 1), (0, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": {"affinity": {}, "binary": {}}, "losses": [{"target": "affinity"}]}, "no loss compares 'binary'"),
        ({"targets": {"distance": {}}}, r"losses\.0 \(balanced_bce\): it suits sigmoid channels, and 'distance'"),
        ({"losses": [{"loss": "foreground_distance"}]}, "there is no binary: add that target"),
        ({"scale_weights": [1, 1]}, "scale_weights changes nothing"),
    ],
)
def test_a_training_whose_losses_do_not_suit_its_targets_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(settings)


def test_every_target_can_be_taught():
    targets = {"affinity": {}, "binary": {}, "contour": {}, "distance": {}, "flow": {}, "descriptors": {}}
    targets["classes"] = {"labels": {"mito": [1]}, "exclusive": True}
    losses = [{"loss": "DiceCELoss", "target": name} for name in ("affinity", "binary", "contour", "classes")]
    losses += [{"loss": "SmoothL1Loss", "target": name} for name in ("distance", "flow", "descriptors")]
    losses += [{"loss": name, "weight": 0.1} for name in ("foreground_distance", "FgContourConsistency")]
    assert len(TrainConfig.model_validate({"targets": targets, "losses": losses}).losses) == 9
