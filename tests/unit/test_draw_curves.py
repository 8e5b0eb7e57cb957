"""Training curves: columns are told by their names, rows are sparse, the best step is the right one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from connectomake.draw.experiment.curves import best_step, draw_curves, smooth, sort_columns
from connectomake.draw.tables import read_table
from connectomake.errors import DataError, MissingDataError


def write_log(path: Path, *, steps: int = 200, fall: float = 1.0) -> Path:
    """Write a log as Lightning does: one row per event, most fields empty; validation is best at step 120."""
    lines = ["epoch,lr-AdamW,step,train/loss,val/loss,val/voi_sum,elapsed_s"]
    for step in range(0, steps, 2):
        lines.append(f"0,,{step},{np.exp(-fall * step / 40) + 0.001},,,{step / 4}")
        lines.append(f"0,{1e-3 * (1 - step / steps)},{step},,,,")
        if step % 40 == 0:
            lines.append(f"0,,{step},,{0.3 + (step - 120) ** 2 / 1e5},{1 / (step + 1)},")
    path.write_text("\n".join(lines) + "\n")
    return path


def lines_of(axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in axes.lines if not line.get_label().startswith("_")}


def test_losses_scores_and_rate_have_their_axes(tmp_path):
    figure = draw_curves(write_log(tmp_path / "metrics.csv"), "train default")
    loss, score, rate = map(lines_of, figure.axes)
    assert set(loss) == {"train/loss", "val/loss"}
    assert set(score) == {"val/voi_sum"}
    assert set(rate) == {"lr-AdamW"}
    np.testing.assert_array_equal(loss["val/loss"][:, 0], [0, 40, 80, 120, 160])
    assert rate["lr-AdamW"][0, 1] == 1e-3
    assert figure.axes[0].get_yscale() == "log"


def test_a_loss_that_hardly_falls_is_linear(tmp_path):
    figure = draw_curves(write_log(tmp_path / "metrics.csv", fall=0.1), "train")
    assert figure.axes[0].get_yscale() == "linear"


def test_the_best_step_and_the_speed_are_told(tmp_path):
    figure = draw_curves(write_log(tmp_path / "metrics.csv"), "train")
    facts = figure.texts[1].get_text()
    assert "198 steps" in facts
    assert "4 steps per s" in facts
    assert "lowest validation loss 0.3 at step 120" in facts


def test_a_log_without_validation_and_rate_is_enough(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n0,1.0\n9,0.5\n")
    figure = draw_curves(path, "train")
    assert len(figure.axes) == 1
    assert "validation" not in figure.texts[1].get_text()


def test_names_are_told_apart():
    table = {
        name: np.ones(2) for name in ("step", "val_loss", "train_loss_step", "train_loss_epoch", "lr", "valid/dice")
    }
    table["note"] = np.array(["a", "b"])
    assert sort_columns(table) == (["train_loss_step", "val_loss"], ["valid/dice"], ["lr"])
    names = ("train_loss", "train_loss dice", "validate_loss", "segmentation_nerl", "segmentation_threshold")
    ours = sort_columns({name: np.ones(2) for name in names})
    assert ours == (["train_loss", "train_loss dice", "validate_loss"], ["segmentation_nerl"], [])


def test_best_step_skips_gaps():
    table = {"val/loss": np.array([np.nan, 3.0, np.nan, 1.0, 2.0])}
    assert best_step(table, np.arange(5) * 10.0, ["val/loss"]) == (30.0, 1.0)
    assert best_step({"loss": np.ones(5)}, np.arange(5.0), ["loss"]) is None


def test_smoothing_keeps_length_and_mean():
    np.testing.assert_allclose(smooth(np.arange(7.0), 1), [0.5, 1, 2, 3, 4, 5, 5.5])
    np.testing.assert_allclose(smooth(np.full(50, 3.0), 8), 3.0)


def test_what_cannot_be_drawn_is_told(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,accuracy\n0,1.0\n")
    with pytest.raises(DataError, match="no training curve"):
        draw_curves(path, "train")
    with pytest.raises(MissingDataError, match="no table"):
        draw_curves(tmp_path / "none.csv", "train")


def test_tables_are_read_as_numbers_or_text(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("name\tx\tempty\nfirst\t1\t\nsecond\t\t\n")
    table = read_table(path)
    assert set(table) == {"name", "x"}
    np.testing.assert_array_equal(table["x"], [1.0, np.nan])
    assert table["name"].tolist() == ["first", "second"]


def test_a_torn_table_is_refused_with_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("step,loss\n0,1.0\n1\n")
    with pytest.raises(DataError, match="line 3"):
        read_table(path)
    path.write_text("")
    with pytest.raises(DataError, match="empty"):
        read_table(path)


def test_dice_of_classes_has_a_panel_with_what_it_was_where_the_mean_is_highest(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = ["step,train_loss,validate_loss,validate_accuracy,validate_dice,validate_dice/mito,validate_dice/er"]
    rows += ["1,1.0,,,,,", "10,,0.5,0.6,0.4,0.3,0.5", "20,,0.4,0.7,0.7,0.7,nan", "30,,0.3,0.8,0.6,0.8,0.4"]
    path.write_text("\n".join(rows) + "\n")
    loss, scores, dice = draw_curves(path, "train").axes
    assert set(lines_of(loss)) == {"train_loss", "validate_loss"}
    assert set(lines_of(scores)) == {"validate_accuracy"}
    assert set(lines_of(dice)) == {"mito 0.700", "er absent", "mean 0.700"}
    np.testing.assert_array_equal(lines_of(dice)["mito 0.700"], [[10, 0.3], [20, 0.7], [30, 0.8]])
    ring = next(line for line in dice.lines if line.get_marker() == "o" and line.get_xdata().size == 1)
    np.testing.assert_array_equal(ring.get_xydata(), [[20, 0.7]])


def test_a_mean_dice_without_classes_is_a_score_as_any(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,train_loss,validate_dice\n1,1.0,0.5\n2,0.9,0.6\n")
    assert [set(lines_of(axes)) for axes in draw_curves(path, "train").axes] == [{"train_loss"}, {"validate_dice"}]


def test_dice_without_a_mean_and_of_nothing_is_drawn(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,train_loss,validate_dice,validate_dice/er\n1,1.0,nan,nan\n2,0.9,nan,nan\n")
    assert set(lines_of(draw_curves(path, "train").axes[0])) == {"train_loss"}
    path.write_text("step,train_loss,validate_dice/er\n1,1.0,0.2\n2,0.9,0.3\n")
    assert set(lines_of(draw_curves(path, "train").axes[-1])) == {"er 0.300"}
