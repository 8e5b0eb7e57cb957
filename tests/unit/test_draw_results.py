"""The figure and the table of an experiment: right lengths, right bold, curves only over what was swept."""

from __future__ import annotations

import re

import numpy as np
import pytest

from connectomake.draw.page import write_page
from connectomake.draw.results import choose_errors, choose_score, draw_results, name_rows
from connectomake.draw.tables import best_rows, settings_in, shorten_ids, swept_key, without_setting
from connectomake.errors import DataError


def make_table(thresholds: list[float], volumes: list[str]) -> dict[str, np.ndarray]:
    rows = [(t, v) for t in thresholds for v in volumes]
    split = np.array([t for t, _ in rows])
    return {
        "variant": np.array([f"data/default@threshold={t}" for t, _ in rows]),
        "volume": np.array([v for _, v in rows]),
        "voi_split": split,
        "voi_merge": 1 - split,
        "nerl": 1 - (split - 0.5) ** 2,
        "erl": 10_000 * split,
    }


def test_bars_have_the_lengths_of_the_numbers():
    table = make_table([0.25, 0.75], ["a"])
    bars, dots = draw_results(table, "two").axes
    widths = [patch.get_width() for patch in bars.patches]
    assert widths == [0.25, 0.75, 0.75, 0.25]
    assert [patch.get_x() for patch in bars.patches[2:]] == [0.25, 0.75]
    np.testing.assert_allclose(dots.lines[0].get_xdata(), table["nerl"])
    assert [label.get_text() for label in bars.get_yticklabels()] == [
        "default@threshold=0.25",
        "default@threshold=0.75",
    ]


def test_a_sweep_gives_curves_by_volume():
    table = make_table([0.75, 0.25, 0.5], ["a", "b"])
    axes = draw_results(table, "sweep").axes
    assert len(axes) == 4
    assert axes[3].get_xlabel() == "threshold"
    assert [line.get_label() for line in axes[3].lines] == ["a", "b"]
    np.testing.assert_allclose(axes[3].lines[0].get_xydata(), [[0.25, 0.9375], [0.5, 1.0], [0.75, 0.9375]])


def test_a_sweep_of_one_line_shows_split_and_merge():
    axes = draw_results(make_table([0.25, 0.5, 0.75], ["a"]), "sweep").axes
    assert [line.get_label() for line in axes[2].lines] == ["split", "merge", "sum"]
    np.testing.assert_allclose(axes[2].lines[2].get_ydata(), 1.0)


def test_two_settings_keep_their_lines_apart():
    table = make_table([0.25, 0.5, 0.75], ["a"])
    both = {name: np.concatenate([values, values]) for name, values in table.items()}
    both["variant"] = np.array([f"{v},size={s}" for s in ("large", "small") for v in table["variant"]])
    axes = draw_results(both, "sweep").axes
    labels = [line.get_label() for line in axes[2].lines]
    assert len(labels) == 2
    assert "large" in labels[0]
    assert "small" in labels[1]


def test_without_skeletons_voxels_are_drawn():
    table = {
        "variant": np.array(["v"]),
        "volume": np.array(["a"]),
        "voxel_voi_split": np.array([0.5]),
        "voxel_voi_merge": np.array([0.25]),
        "adapted_rand_error": np.array([0.125]),
    }
    bars, dots = draw_results(table, "voxels").axes
    assert "voxels" in bars.get_xlabel()
    assert "Rand" in dots.get_xlabel()
    assert choose_score(table).high_is_good is False
    assert choose_errors({"variant": np.array(["v"])}) is None


def test_one_kind_of_number_is_enough_and_none_is_refused():
    table = make_table([0.5], ["a"])
    assert len(draw_results({k: table[k] for k in ("variant", "volume", "nerl")}, "nerl").axes) == 1
    with pytest.raises(DataError, match="nothing to draw"):
        draw_results({k: table[k] for k in ("variant", "volume")}, "none")


def test_gaps_are_left_empty():
    table = make_table([0.25, 0.5, 0.75], ["a"])
    table["nerl"][1] = table["voi_split"][2] = np.nan
    bars, dots = draw_results(table, "gaps").axes[:2]
    assert len(bars.texts) == 2
    assert len(dots.texts) == 2
    assert write_page(table, "gaps").count("<td></td>") == 2


def test_rows_are_named_by_what_differs():
    assert name_rows(make_table([0.25], ["a", "b"])) == ["a", "b"]
    assert name_rows(make_table([0.25, 0.5], ["a"])) == ["default@threshold=0.25", "default@threshold=0.5"]
    assert name_rows(make_table([0.25, 0.5], ["a", "b"]))[1] == "default@threshold=0.25   b"


def test_the_page_marks_the_best_of_each_volume():
    table = make_table([0.25, 0.75], ["a", "b"])
    table["voi_split"] = np.array([0.1, 0.9, 0.2, 0.8])
    page = write_page(table, "Results <of> x")
    assert "Results &lt;of&gt; x" in page
    rows = re.findall(r"<tr>(<td.*?)</tr>", page)
    assert len(rows) == 4
    best = [re.findall(r"<td class=best>([^<]*)</td>", row) for row in rows]
    assert "0.100" in best[0]
    assert "0.800" in best[3]
    assert "0.900" not in best[1]
    assert "2.50" not in best[0]  # ERL in um: the longer is best
    assert "7.50" in best[2]


def test_the_page_needs_nothing_else():
    page = write_page(make_table([0.25], ["a"]), "one")
    assert "http" not in page
    assert "class=best" not in re.sub("<style>.*</style>", "", page, flags=re.S)  # alone is not best


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("default", {}),
        ("default@threshold=0.7", {"threshold": 0.7}),
        ("a/b@lr=1e-4,net=mednext/c@min_voxels=200", {"lr": 1e-4, "min_voxels": 200.0}),
        ("large@seed=1+strong", {"seed": 1.0}),
        ("default@window_zyx_vx=16x64x64", {}),
        ("default@model.width=8,bias=-0.5", {"model.width": 8.0, "bias": -0.5}),
    ],
)
def test_settings_are_read_from_ids(name, settings):
    assert settings_in(name) == settings


def test_what_a_sweep_has_in_common():
    assert without_setting("a/default@threshold=0.7", "threshold") == "a/default"
    assert without_setting("a@threshold=0.7,seed=1/b", "threshold") == "a@seed=1/b"
    assert without_setting("a@seed=1,threshold=0.7/b", "threshold") == "a@seed=1/b"
    assert without_setting("a@my.threshold=0.7", "threshold") == "a@my.threshold=0.7"
    assert without_setting("threshold=0.7", "threshold") == ""


def test_a_sweep_needs_three_values():
    assert swept_key(["a@x=1", "a@x=2"]) is None
    assert swept_key(["a@x=1,y=1", "a@x=2,y=1", "a@x=3,y=2"]) == "x"
    assert swept_key(["a", "b"]) is None


def test_ids_of_other_depth_are_left_alone():
    assert shorten_ids(["a/b", "a"]) == ["a/b", "a"]
    assert shorten_ids(["a/b", "a/b"]) == ["a/b", "a/b"]


def test_ties_are_all_best_and_gaps_never():
    values = np.array([1.0, 1.0, np.nan, 5.0])
    volumes = np.array(["a", "a", "a", "b"])
    assert best_rows(values, volumes, highest=False) == {0, 1}
