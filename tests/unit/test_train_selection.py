"""How well a network does while it is trained is written down, and the best weights are kept."""

import pytest
import torch
from small_training import read_rows, refuse, settings, train, weights_of

from connectomake.channels import Channel
from connectomake.errors import ConfigError
from connectomake.fitting.scores import Scores
from connectomake.models.checkpoint import load_checkpoint
from connectomake.split.table import read_split, write_split
from connectomake.train.module import Training
from connectomake.train.segmentation_score import SegmentationScore


def test_scores_are_means_over_what_is_known():
    channels = [Channel("a", "binary"), Channel("b", "distance", activation="identity", binary=False)]
    scores = Scores(channels, ["loss"], torch.device("cpu"))
    logits = torch.tensor([[[1.0, 1.0, -1.0, -1.0]], [[0.5, 0.5, 0.5, 0.5]]]).reshape(1, 2, 1, 1, 4)
    values = torch.tensor([[[1.0, 0.0, 0.0, 1.0]], [[0.5, 0.0, 1.0, 9.0]]]).reshape(1, 2, 1, 1, 4)
    mask = torch.tensor([[[1, 1, 1, 0]], [[1, 1, 1, 0]]]).reshape(1, 2, 1, 1, 4)
    scores.add({"loss": 3.0}, logits, values, mask)
    scores.add({"loss": 0.0}, logits.repeat(2, 1, 1, 1, 1), values.repeat(2, 1, 1, 1, 1), mask.repeat(2, 1, 1, 1, 1))
    whole, channels_found = scores.result()
    means = {"validate_accuracy": 0.75, "validate_dice": pytest.approx(2 / 3), "validate_error": pytest.approx(1 / 3)}
    assert whole == {"validate_loss": 1.0, **means}
    assert channels_found == {f"{kind}/{'b' if kind == 'validate_error' else 'a'}": means[kind] for kind in means}


def test_every_loss_term_is_written(split, tmp_path):
    losses = [{"loss": "bce"}, {"loss": "dice", "weight": 0.5}]
    assert train(split, tmp_path, settings(losses=losses, max_steps=2, validate_every_steps=2))
    last, validation = read_rows(tmp_path / "metrics.csv")
    for row, role in ((last, "train"), (validation, "validate")):
        whole, *parts = (float(row[f"{role}_{name}"]) for name in ("loss", "loss bce", "loss dice"))
        assert whole == pytest.approx(parts[0] + 0.5 * parts[1], rel=1e-4)


@pytest.fixture
def found_losses(monkeypatch):
    """Let validations, one every two steps, find these losses."""
    losses = [0.5, 0.3, 0.4, 0.6, 0.2, 0.45]

    def score(self):
        self.validated = {"validate_loss": losses[self.trainer.global_step // 2 - 1]}

    monkeypatch.setattr(Training, "on_validation_epoch_end", score)


def test_the_best_checkpoints_are_kept(split, tmp_path, found_losses):
    assert train(split, tmp_path, settings(keep_best=2, validate_every_steps=2))
    names = sorted(path.name for path in (tmp_path / "run/best").iterdir())
    assert names == ["step000000004_validate_loss0.3.ckpt", "step000000010_validate_loss0.2.ckpt"]
    _, meta = load_checkpoint(tmp_path / "run/best" / names[0])
    assert (meta.provenance["step"], meta.provenance["validate_loss"]) == (4, 0.3)


def test_the_best_segmentation_is_kept(split, tmp_path, monkeypatch):
    found = {4: 0.2, 8: 0.6, 12: 0.4}
    asked = []
    monkeypatch.setattr(SegmentationScore, "__init__", lambda self, *args: None)

    def score(self, network):
        step = 4 * (len(asked) + 1)
        asked.append(network.training)
        return {"segmentation_nerl": found[step], "segmentation_threshold": 0.5}

    monkeypatch.setattr(SegmentationScore, "score", score)
    cfg = settings(keep="best_segmentation", validate_segmentation={}, keep_best=1)
    assert train(split, tmp_path, cfg)
    assert asked == [False] * 3
    provenance = weights_of(tmp_path)[1].provenance
    assert (provenance["best_step"], provenance["best_segmentation_nerl"]) == (8, 0.6)
    rows = [row for row in read_rows(tmp_path / "metrics.csv") if row["validate_loss"]]
    assert [row["segmentation_nerl"] for row in rows] == ["0.2", "0.6", "0.4"]
    assert [path.name for path in (tmp_path / "run/best").iterdir()] == ["step000000008_segmentation_nerl0.6.ckpt"]


def test_segmentation_may_be_rarer_than_validation(split, tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(SegmentationScore, "__init__", lambda self, *args: None)
    monkeypatch.setattr(SegmentationScore, "score", lambda self, network: steps.append(1) or {"segmentation_voi": 1.0})
    rare = {"every_validations": 3, "criterion": "voi"}
    assert train(split, tmp_path, settings(validate_segmentation=rare, max_steps=8, validate_every_steps=1))
    rows = [row for row in read_rows(tmp_path / "metrics.csv") if row["validate_loss"]]
    assert [row["step"] for row in rows if row["segmentation_voi"]] == ["3", "6", "8"]


def test_selections_that_lack_something_are_refused(split, tmp_path):
    refuse("needs validate_segmentation", keep="best_segmentation")
    refuse("segments by affinities", validate_segmentation={}, targets={"affinity": None, "binary": {}})
    refuse(
        "keep: best_segmentation needs a validation", keep="best_segmentation", validate_segmentation={}, max_steps=1
    )
    write_split(tmp_path / "alone.tsv", read_split(split)[:1])
    for name, changes in {
        "keep_best": {"keep_best": 1},
        "plateau": {"schedule": {"shape": "plateau", "patience": 1}},
        "validate_segmentation": {"validate_segmentation": {}},
    }.items():
        with pytest.raises(ConfigError, match=rf"{name}: there is no volume to validate on"):
            train(tmp_path / "alone.tsv", tmp_path / name, settings(**changes))
