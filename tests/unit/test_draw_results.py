"""The figure and the tables of an experiment: right lengths, right bold, curves only over what was swept."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from connectomake.draw.experiment import figure as results
from connectomake.draw.experiment import sweeps
from connectomake.draw.experiment.comparison import Comparison, Settings, name_rows
from connectomake.draw.experiment.figure import choose_quantities, draw_results
from connectomake.draw.experiment.page import write_page
from connectomake.draw.tables import best_rows, read_table, settings_in, shorten_ids, swept_key, without_setting
from connectomake.errors import DataError
from connectomake.measure.spread import setting_of, spread_of_settings
from connectomake.tables import write_columns

Table = dict[str, np.ndarray]


def make_table(thresholds: list[float], volumes: list[str], seeds: tuple[int, ...] = ()) -> Table:
    """Make numbers that follow from the threshold; seed s adds s / 100 to NERL."""
    rows = list(product(thresholds, seeds or (None,), volumes))
    split = np.array([t for t, _, _ in rows])
    table = {
        "variant": np.array([f"data/default@threshold={t}" + (f",seed={s}" if seeds else "") for t, s, _ in rows]),
        "volume": np.array([v for _, _, v in rows]),
        "role": np.array(["validate"] * len(rows)),
        "voi_split": split,
        "voi_merge": 1 - split,
        "voi_sum": np.ones(len(rows)),
        "nerl": 1 - (split - 0.5) ** 2 + np.array([(s or 0) / 100 for _, s, _ in rows]),
        "erl": 10_000 * split,
    }
    return with_settings(table)


def with_settings(table: Table) -> Table:
    return table | {"setting": np.array([setting_of(str(v)) for v in table["variant"]])}


def only(table: Table, *names: str) -> Table:
    return {k: table[k] for k in ("variant", "volume", "role", "setting", *names)}


def spread_of(table: Table) -> Table:
    """Make what comparison.tsv holds."""
    plain = {k: [None if v != v else v for v in values.tolist()] for k, values in table.items()}
    spread = spread_of_settings(plain)
    kept = {name: values for name, values in spread.items() if any(value is not None for value in values)}
    return {name: np.array(v) if isinstance(v[0], str) else np.array(v, float) for name, v in kept.items()}


def compare(table: Table) -> Comparison:
    return Comparison.of_tables(table, spread_of(table))


def values_in(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def bold_in(axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_weight() == "bold"]


def test_bars_have_the_lengths_of_the_numbers():
    table = make_table([0.25, 0.75], ["a"])
    bars, dots = draw_results(compare(table), "two").axes
    widths = [patch.get_width() for patch in bars.patches]
    assert widths == [0.25, 0.75, 0.75, 0.25]
    assert [patch.get_x() for patch in bars.patches[2:]] == [0.25, 0.75]
    np.testing.assert_allclose(dots.lines[0].get_xdata(), table["nerl"])
    assert [label.get_text() for label in bars.get_yticklabels()] == [
        "default@threshold=0.25",
        "default@threshold=0.75",
    ]
    assert not any(line.get_xdata().size for line in dots.lines[1:])  # a single value needs no dot beside it


def test_a_sweep_gives_curves_by_volume():
    table = make_table([0.75, 0.25, 0.5], ["a", "b"])
    table["role"] = np.array(["test", "validate"] * 3)
    axes = draw_results(compare(table), "sweep").axes
    assert len(axes) == 4
    assert axes[3].get_xlabel() == "threshold"
    curves = [line for line in axes[3].lines if line.get_label() in ("a", "b")]
    assert [line.get_label() for line in curves] == ["a", "b"]
    np.testing.assert_allclose(curves[0].get_xydata(), [[0.25, 0.9375], [0.5, 1.0], [0.75, 0.9375]])


def test_a_sweep_of_one_line_shows_split_and_merge():
    figure = draw_results(compare(make_table([0.25, 0.5, 0.75], ["a"])), "sweep")
    labels = {line.get_label(): line.get_ydata() for line in figure.axes[2].lines}
    assert {"split", "merge", "sum"} <= labels.keys()
    np.testing.assert_allclose(labels["sum"], 1.0)
    np.testing.assert_allclose(labels["merge"], [0.75, 0.5, 0.25])
    assert [text.get_text() for text in figure.legends[0].texts] == ["split", "merge", "sum"]


def test_two_settings_keep_their_lines_apart():
    table = make_table([0.25, 0.5, 0.75], ["a"])
    both = {name: np.concatenate([values, values]) for name, values in table.items()}
    both["variant"] = np.array([f"{v},size={s}" for s in ("large", "small") for v in table["variant"]])
    figure = draw_results(compare(with_settings(both)), "sweep")
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels == ["default@size=large", "default@size=small"]


def test_seeds_and_volumes_become_one_row_with_its_mean_and_its_points():
    table = make_table([0.25, 0.5], ["a", "b"], seeds=(0, 1, 2))
    comparison = compare(table)
    assert [row.name for row in comparison.rows] == ["default@threshold=0.25", "default@threshold=0.5"]
    np.testing.assert_allclose(comparison.middles("nerl"), [0.9475, 1.01])
    np.testing.assert_allclose(comparison.spreads("nerl"), 4.302652729749464 * 0.01 / np.sqrt(3))
    rows, values = comparison.points("nerl")
    assert rows.tolist() == [0] * 6 + [1] * 6
    np.testing.assert_allclose(values, table["nerl"])
    figure = draw_results(comparison, "seeds")
    bars, dots = figure.axes
    assert values_in(dots) == ["0.95 ± 0.02", "1.01 ± 0.02"]
    assert bold_in(dots) == ["1.01 ± 0.02"]
    assert len(dots.containers) == 1  # whiskers
    assert bars.patches[0].get_width() == 0.25
    assert "95 % confidence interval over seeds" in figure.texts[1].get_text()
    assert "validate volumes" in figure.texts[1].get_text()


@pytest.mark.parametrize(
    ("volumes", "seeds", "said"),
    [
        (["a"], (0, 1, 2), "95 % confidence interval over seeds"),
        (["a", "b"], (0, 1), "standard deviation over seeds"),
        (["a", "b"], (), "standard deviation over volumes"),
        (["a"], (), ""),
    ],
)
def test_the_spread_is_of_one_kind(volumes, seeds, said):
    settings = Settings.of_table(spread_of(make_table([0.25, 0.5], volumes, seeds)))
    assert settings.spread == said
    assert np.isfinite(settings.spreads["nerl"]).all() == bool(said)


def test_a_sweep_with_seeds_has_bands_and_points():
    figure = draw_results(compare(make_table([0.25, 0.5, 0.75], ["a"], seeds=(0, 1, 2))), "bands")
    axes = figure.axes[3]
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    half = 4.302652729749464 * 0.01 / np.sqrt(3)
    assert heights.min() == pytest.approx(0.9475 - half)
    assert heights.max() == 1.0  # NERL cannot be more
    curve, points = axes.lines
    np.testing.assert_allclose(curve.get_ydata(), [0.9475, 1.01, 0.9475])
    assert points.get_xdata().size == 9
    assert axes.get_xlabel() == "threshold"


def test_seeds_alone_are_no_sweep():
    comparison = compare(make_table([0.5], ["a"], seeds=(0, 1, 2, 3)))
    assert comparison.swept is None
    assert [row.name for row in comparison.rows][-1] == "mean of 4"
    assert len(comparison.rows) == 5
    assert len(draw_results(comparison, "seeds").axes) == 2


def test_volumes_of_another_role_have_a_mean_of_their_own_and_choose_nothing():
    table = make_table([0.25, 0.5], ["a", "b", "c"])
    table["role"] = np.array(["test", "test", "validate"] * 2)
    table["nerl"] = np.array([0.1, 0.3, 0.9, 0.2, 0.4, 1.0])
    comparison = compare(table)
    assert [row.name for row in comparison.rows] == [
        f"default@threshold={t}   {role}" for role in ("validate", "test") for t in (0.25, 0.5)
    ]
    np.testing.assert_allclose(comparison.middles("nerl"), [0.9, 1.0, 0.2, 0.3])
    assert comparison.points("nerl")[1].tolist() == [0.9, 1.0, 0.1, 0.3, 0.2, 0.4]
    assert comparison.best("nerl", highest=True) == {1}
    figure = draw_results(comparison, "roles")
    assert bold_in(figure.axes[1]) == ["1.00"]
    page = write_page(only(table, "nerl"), spread_of(only(table, "nerl")), "roles")
    assert "Bold: the best on validation volumes" in page
    assert re.findall(r'<td class="best">([^<]*)</td>', page) == ["1.000", "1.000"]  # of settings, of segmentations


def test_where_test_volumes_are_all_there_is_nothing_is_marked():
    table = make_table([0.25, 0.5, 0.75], ["a", "b"]) | {"role": np.array(["test"] * 6)}
    comparison = compare(table)
    assert comparison.best("nerl", highest=True) == set()
    figure = draw_results(comparison, "test")
    assert bold_in(figure.axes[0]) == bold_in(figure.axes[1]) == []
    assert "no validation volume was measured" in figure.texts[1].get_text()
    page = write_page(table, spread_of(table), "test")
    assert "Nothing is marked as best: no validation volume was measured" in page
    assert 'class="best"' not in re.sub("<style>.*</style>", "", page, flags=re.S)


def test_scores_of_a_challenge_are_drawn_and_listed_by_class():
    names = {"variant": ["lr=1", "lr=1", "lr=2", "lr=2"], "volume": ["submission", "validation"] * 2}
    table = {name: np.array(values) for name, values in names.items()} | {"role": np.array(["test", "validate"] * 2)}
    table |= {"overall_score": np.array([0.9, 0.2, 0.3, 0.4]), "score_pm": np.array([0.5, 0.7, 0.5, 0.6])}
    (dots,) = draw_results(compare(with_settings(table)), "challenge").axes
    assert dots.get_xlabel() == "overall score of the challenge (1 is perfect)"
    assert bold_in(dots) == ["0.40"]
    page = write_page(with_settings(table), spread_of(with_settings(table)), "challenge")
    assert "<th>overall score</th><th>pm</th>" in page
    assert re.findall(r'<td class="best">([^<]*)</td>', page) == ["0.700", "0.400"]


def test_a_setting_that_was_not_measured_everywhere_is_not_best():
    table = make_table([0.25, 0.5, 0.75], ["a", "b"])
    table["nerl"] = np.array([0.9, np.nan, 0.5, 0.5, 0.25, 0.25])
    comparison = compare(table)
    assert comparison.middles("nerl").tolist() == [0.9, 0.5, 0.25]
    assert comparison.best("nerl", highest=True) == {1}
    settings = write_page(table, spread_of(table), "t").split("Segmentations")[0]
    assert '<td class="best">0.500 ± 0.000</td>' in settings
    assert "<td>0.900</td>" in settings


def test_without_skeletons_voxels_and_objects_are_drawn():
    table = {
        "variant": np.array(["v"]),
        "volume": np.array(["a"]),
        "role": np.array(["test"]),
        "voxel_voi_split": np.array([0.5]),
        "voxel_voi_merge": np.array([0.25]),
        "voxel_voi_sum": np.array([0.75]),
        "adapted_rand_error": np.array([0.125]),
        "panoptic_quality_50": np.array([0.5]),
        "mean_dice": np.array([0.5]),
    }
    bars, rand, objects = draw_results(compare(with_settings(table)), "voxels").axes
    assert "voxels" in bars.get_xlabel()
    assert rand.get_xlabel() == "adapted Rand error (0 is perfect)"
    assert objects.get_xlabel() == "panoptic quality (1 is perfect)"
    numbers = [quantity.number for quantity in choose_quantities(compare(with_settings(table)))]
    assert numbers == ["voxel_voi_sum", "adapted_rand_error", "panoptic_quality_50"]


def test_one_kind_of_number_is_enough_and_none_is_refused():
    table = make_table([0.5], ["a"])
    assert len(draw_results(compare(only(table, "nerl")), "nerl").axes) == 1
    with pytest.raises(DataError, match="nothing to draw"):
        draw_results(compare(only(table, "erl")), "none")


def test_gaps_are_left_empty():
    table = make_table([0.25, 0.5, 0.75], ["a"])
    table["nerl"][1] = table["voi_split"][2] = table["voi_sum"][2] = np.nan
    bars, dots = draw_results(compare(table), "gaps").axes[:2]
    assert len(bars.texts) == 2
    assert len(dots.texts) == 2
    assert write_page(table, spread_of(table), "gaps").count("<td></td>") == 3


def test_of_many_rows_the_best_are_drawn(monkeypatch):
    monkeypatch.setattr(results, "MOST_ROWS", 3)
    table = make_table([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], ["a"])
    table["voi_sum"][0] = 0.5
    figure = draw_results(compare(table), "many")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"default@threshold={t}" for t in (0.1, 0.4, 0.5, 0.6)]  # 0.1 has the best VOI
    assert "the best 4 of 6" in figure.texts[1].get_text()
    assert bold_in(figure.axes[0]) == ["0.50"]
    assert figure.axes[2].lines[0].get_xdata().size == 6  # curves show all


def test_of_many_curves_the_best_have_a_colour(monkeypatch):
    monkeypatch.setattr(sweeps, "LINES", ("#111111", "#222222"))
    table = make_table([0.25, 0.5, 0.75], ["a", "b", "c", "d"])
    table["variant"] = np.array([f"size={v}, threshold={t}" for t in (0.25, 0.5, 0.75) for v in "abcd"])
    table["volume"] = np.array(["v"] * 12)
    table["nerl"] = np.tile([0.1, 0.9, 0.2, 0.8], 3)
    figure = draw_results(compare(with_settings(table)), "many")
    assert [text.get_text() for text in figure.legends[0].texts] == ["size=b", "size=d", "others"]
    for axes in figure.axes[2:]:
        colours = {line.get_label(): line.get_color() for line in axes.lines}
        assert (colours["size=b"], colours["size=d"]) == ("#111111", "#222222")


def test_a_wide_range_is_logarithmic():
    table = make_table([0.25, 0.5, 0.75], ["a"])
    table["variant"] = np.array(["x@lr=1e-4", "x@lr=1e-3", "x@lr=1e-2"])
    assert draw_results(compare(with_settings(table)), "lr").axes[2].get_xscale() == "log"
    assert draw_results(compare(make_table([0.25, 0.5, 0.75], ["a"])), "t").axes[2].get_xscale() == "linear"


def test_rows_are_named_by_what_differs():
    one, two = "data/default@threshold=0.25", "data/default@threshold=0.5"
    assert name_rows([one, one], ["a", "b"]) == ["a", "b"]
    assert name_rows([one, two], ["a", "a"]) == ["default@threshold=0.25", "default@threshold=0.5"]
    assert name_rows([one, one, two, two], ["a", "b"] * 2)[1] == "default@threshold=0.25   b"


def test_the_page_marks_the_best_of_each_validation_volume():
    table = make_table([0.25, 0.75], ["a", "b", "c"])
    table = {name: values[[0, 1, 3, 4]] for name, values in table.items()}
    table["voi_split"] = np.array([0.1, 0.9, 0.2, 0.8])
    page = write_page(table, spread_of(table), "Results <of> x")
    assert "Results &lt;of&gt; x" in page
    rows = re.findall(r"<tr>(<td.*?)</tr>", page.split("<h2>Segmentations</h2>")[1])
    assert len(rows) == 4
    best = [re.findall(r'<td class="best">([^<]*)</td>', row) for row in rows]
    assert "0.100" in best[0]
    assert "0.800" in best[3]
    assert "0.900" not in best[1]
    assert "2.50" not in best[0]  # ERL in um: the longer is best
    assert "7.50" in best[2]


def test_the_page_shows_settings_with_their_spread():
    table = make_table([0.25, 0.75], ["a", "b"]) | {"n_splits": np.array([1.0, 2.0, 3.0, 5.0])}
    page = write_page(table, spread_of(table), "two")
    settings, segmentations = page.split("<h2>Segmentations</h2>")
    assert "Means over the volumes of each role ± standard deviation over volumes" in settings
    assert '<td class="best">1.5 ± 0.7</td>' in settings
    assert "<td>4.0 ± 1.4</td>" in settings
    assert "±" not in segmentations
    assert len(re.findall(r"<tr><td", settings)) == 2
    assert len(re.findall(r"<tr><td", segmentations)) == 4


def test_the_page_needs_nothing_else():
    table = make_table([0.25], ["a"])
    page = write_page(table, spread_of(table), "one")
    assert "http" not in page
    assert "Settings" not in page  # a mean of one value is that value
    assert 'class="best"' not in re.sub("<style>.*</style>", "", page, flags=re.S)  # alone is not best


def test_names_that_are_numbers_stay_names(tmp_path: Path):
    write_columns(tmp_path / "t.tsv", {"variant": ["7"], "volume": ["01"], "setting": ["1e3"], "nerl": [1]})
    table = read_table(tmp_path / "t.tsv")
    assert [table[name].tolist() for name in ("variant", "volume", "setting", "nerl")] == [["7"], ["01"], ["1e3"], [1]]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("default", {}),
        ("default@threshold=0.7", {"threshold": 0.7}),
        ("a/b@lr=1e-4@net=mednext/c@min_voxels=200", {"lr": 1e-4, "min_voxels": 200.0}),
        ("large@seed=1+strong", {"seed": 1.0}),
        ("default@window_zyx_vx=16x64x64", {}),
        ("default@model.width=8@bias=-0.5", {"model.width": 8.0, "bias": -0.5}),
        ("decode.threshold=0.7, train.seed=1", {"decode.threshold": 0.7, "train.seed": 1.0}),
    ],
)
def test_settings_are_read_from_ids(name, settings):
    assert settings_in(name) == settings


def test_what_a_sweep_has_in_common():
    assert without_setting("a/default@threshold=0.7", "threshold") == "a/default"
    assert without_setting("a@threshold=0.7@seed=1/b", "threshold") == "a@seed=1/b"
    assert without_setting("a@seed=1@threshold=0.7/b", "threshold") == "a@seed=1/b"
    assert without_setting("a@my.threshold=0.7", "threshold") == "a@my.threshold=0.7"
    assert without_setting("threshold=0.7", "threshold") == ""
    assert without_setting("a.b=1, a.c=x, a.d=2", "a.b") == "a.c=x, a.d=2"
    assert without_setting("a.b=1, a.c=x, a.d=2", "a.d") == "a.b=1, a.c=x"


def test_a_sweep_needs_three_values():
    assert swept_key(["a@x=1", "a@x=2"]) is None
    assert swept_key(["a@x=1@y=1", "a@x=2@y=1", "a@x=3@y=2"]) == "x"
    assert swept_key(["a", "b"]) is None


def test_ids_of_other_depth_are_left_alone():
    assert shorten_ids(["a/b", "a"]) == ["a/b", "a"]
    assert shorten_ids(["a/b", "a/b"]) == ["a/b", "a/b"]


def test_ties_are_all_best_and_gaps_never():
    values = np.array([1.0, 1.0, np.nan, 5.0])
    volumes = np.array(["a", "a", "a", "b"])
    assert best_rows(values, volumes, highest=False) == {0, 1}
