"""Comparing variants: settings without their seeds, mean and spread over volumes and seeds, and who is best."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectomake.errors import DataError
from connectomake.files import write_json
from connectomake.measure.compare import best_settings, compare_variants, write_comparison
from connectomake.measure.spread import ALL_SEEDS, roles_in, setting_of, spread_of_settings

Numbers = dict[str, float | None]


def save_metrics(folder: Path, volume: str, role: str = "validate", **numbers: float | None) -> Path:
    write_json(folder / "metrics.json", numbers | {"per_volume": {"volume": volume, "role": role}})
    return folder / "metrics.json"


def table_of(*rows: tuple[str, str, str, Numbers]) -> dict[str, list]:
    """Make the table of (variant, volume, role, numbers)."""
    names = dict.fromkeys(name for *_, numbers in rows for name in numbers)
    table = {"variant": [v for v, *_ in rows], "volume": [w for _, w, *_ in rows], "role": [r for *_, r, _ in rows]}
    table["setting"] = [setting_of(v) for v in table["variant"]]
    return table | {name: [numbers.get(name) for *_, numbers in rows] for name in names}


def row_of(spread: dict[str, list], setting: str, metric: str, role: str = "validate") -> dict:
    found = [dict(zip(spread, values, strict=True)) for values in zip(*spread.values(), strict=True)]
    (row,) = [row for row in found if (row["setting"], row["metric"], row["role"]) == (setting, metric, role)]
    return row


@pytest.mark.parametrize(
    ("variant", "setting"),
    [
        ("phantom", "phantom"),
        ("decode.threshold=0.7", "decode.threshold=0.7"),
        ("train.seed=3, decode.threshold=0.7", "decode.threshold=0.7"),
        ("decode.threshold=0.7, train.seed=3", "decode.threshold=0.7"),
        ("decode.threshold=0.7, train.seed=3, data.volumes.a.seed=1, x.y=z", "decode.threshold=0.7, x.y=z"),
        ("train.seed=3, split.seed=1", ALL_SEEDS),
        ("decode.seeded_watershed.seed_binary=0.9", "decode.seeded_watershed.seed_binary=0.9"),
        ("decode.min_seed=3, train.window_zyx_vx=[16, 64, 64]", "decode.min_seed=3, train.window_zyx_vx=[16, 64, 64]"),
        ("data/s/demo@seed=3@width=8/p/d@threshold=0.5/m", "data/s/demo@width=8/p/d@threshold=0.5/m"),
        ("data/s/demo@seed=3/p", "data/s/demo/p"),
        ("phantom+demo@seed=2/s/gpu@lr=0.1@seed=3+sections@seed=1", "phantom+demo/s/gpu@lr=0.1+sections"),
    ],
)
def test_a_setting_is_a_variant_without_its_seeds(variant: str, setting: str) -> None:
    assert setting_of(variant) == setting


def test_validation_volumes_come_first() -> None:
    assert roles_in(["train", "test", "validate", "test"]) == ["validate", "test", "train"]
    assert roles_in([]) == []


def test_spread_over_seeds_and_volumes_by_hand() -> None:
    values = {(1, "a"): 1.0, (1, "b"): 3.0, (2, "a"): 2.0, (2, "b"): 6.0, (3, "a"): 3.0, (3, "b"): 9.0}
    rows = [(f"t=1, train.seed={s}", v, "test", {"x": value}) for (s, v), value in values.items()]
    rows.append(("t=1, train.seed=1", "c", "validate", {"x": 1000.0}))
    spread = spread_of_settings(table_of(*rows))
    assert spread["role"] == ["validate", "test"]
    assert row_of(spread, "t=1", "x")["mean"] == 1000.0
    found = row_of(spread, "t=1", "x", "test")
    assert (found["mean"], found["min"], found["max"]) == (4.0, 1.0, 9.0)
    assert (found["n"], found["n_volumes"], found["n_seeds"], found["n_missing"]) == (6, 2, 3, 0)
    assert found["sd_seeds"] == pytest.approx(2.0)  # of 2, 4, 6
    assert found["sd_volumes"] == pytest.approx(np.sqrt(8))  # of 2, 6
    assert found["spread"] == pytest.approx(np.std(list(values.values()), ddof=1))
    assert found["se_seeds"] == pytest.approx(2 / np.sqrt(3))
    assert found["ci95_seeds"] == pytest.approx(4.302652729749464 * 2 / np.sqrt(3))  # t of 2 degrees, from a table


def test_what_does_not_vary_has_no_spread() -> None:
    found = row_of(spread_of_settings(table_of(("a", "v", "validate", {"x": 2.0}))), "a", "x")
    assert found["mean"] == 2.0
    assert [found[k] for k in ("spread", "sd_volumes", "sd_seeds", "se_seeds", "ci95_seeds")] == [None] * 5


def test_gaps_are_counted_and_seeds_weigh_the_same() -> None:
    rows = [
        ("train.seed=1", "a", "validate", {"x": 1.0, "y": None}),
        ("train.seed=1", "b", "validate", {"x": 3.0, "y": None}),
        ("train.seed=2", "a", "validate", {"x": 5.0, "y": None}),
        ("train.seed=2", "b", "validate", {"x": None, "y": None}),
    ]
    spread = spread_of_settings(table_of(*rows))
    found = row_of(spread, ALL_SEEDS, "x")
    assert (found["mean"], found["n"], found["n_missing"]) == (3.5, 3, 1)
    assert set(spread["metric"]) == {"x"}


def test_settings_and_numbers_keep_their_order() -> None:
    rows = [(v, "a", "test", {"z": 1.0, "b": 1.0}) for v in ("y, train.seed=1", "x, train.seed=1", "y, train.seed=2")]
    spread = spread_of_settings(table_of(*rows))
    assert list(zip(spread["setting"], spread["metric"], strict=True)) == [
        ("y", "z"),
        ("y", "b"),
        ("x", "z"),
        ("x", "b"),
    ]


@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6))
def test_a_full_table_has_the_plain_mean_and_its_spread_adds_up(values: list[float]) -> None:
    rows = [(f"train.seed={k // 2}", f"v{k % 2}", "validate", {"x": value}) for k, value in enumerate(values)]
    found = row_of(spread_of_settings(table_of(*rows)), ALL_SEEDS, "x")
    array = np.reshape(values, (3, 2))
    assert found["mean"] == pytest.approx(array.mean(), abs=1e-6)
    assert found["spread"] == pytest.approx(array.std(ddof=1), abs=1e-6)
    assert found["sd_seeds"] == pytest.approx(array.mean(axis=1).std(ddof=1), abs=1e-6)
    assert found["sd_volumes"] == pytest.approx(array.mean(axis=0).std(ddof=1), abs=1e-6)
    assert found["min"] <= found["mean"] + 1e-6


def test_variants_are_sorted_and_the_best_setting_named(tmp_path: Path) -> None:
    files = [
        save_metrics(tmp_path / "1", "b", nerl=0.9, voi_sum=2.0),
        save_metrics(tmp_path / "2", "a", nerl=0.1, voi_sum=1.0),
        save_metrics(tmp_path / "3", "a", nerl=0.4, voi_sum=3.0, voxel_voi_sum=0.5),
        save_metrics(tmp_path / "4", "b", nerl=0.5, voi_sum=None),
        save_metrics(tmp_path / "5", "b", nerl=0.99, voi_sum=0.1),
    ]
    table = compare_variants(files, ["y@t=10", "y@t=10", "x", "x", "only b"])
    assert table["variant"] == ["only b", "x", "x", "y@t=10", "y@t=10"]
    assert table["volume"] == ["b", "a", "b", "a", "b"]
    assert table["nerl"] == [0.99, 0.4, 0.5, 0.1, 0.9]
    assert table["voxel_voi_sum"] == [None, 0.5, None, None, None]
    best = best_settings(table)
    assert best["nerl"] == {"setting": "y@t=10", "mean": pytest.approx(0.5), "test": None}
    assert best["voi_sum"] == {"setting": "y@t=10", "mean": 1.5, "test": None}
    assert best["voxel_voi_sum"] == {"setting": "x", "mean": 0.5, "test": None}
    paths = {name: tmp_path / name for name in ("table", "comparison", "summary")}
    write_comparison(table, spread_of_settings(table), best, **paths)
    lines = paths["table"].read_text().splitlines()
    assert lines[0] == "variant\tvolume\trole\tsetting\tnerl\tvoi_sum\tvoxel_voi_sum"
    assert lines[3] == "x\tb\tvalidate\tx\t0.5\t\t"
    found = json.loads(paths["summary"].read_text())
    assert found["role"] == "validate"
    assert found["best"] == best
    assert found["rows"][0] == {
        "variant": "only b",
        "volume": "b",
        "role": "validate",
        "setting": "only b",
        "nerl": 0.99,
        "voi_sum": 0.1,
        "voxel_voi_sum": None,
    }
    written = [line.split("\t") for line in paths["comparison"].read_text().splitlines()]
    assert written[0] == list(found["settings"][0])
    assert len(written) == 1 + len(found["settings"])
    assert ["x", "nerl", "0.45"] in [row[:3] for row in written]


def test_numbers_in_names_are_sorted_by_value(tmp_path: Path) -> None:
    names = ["n=100, t=1e-4", "n=9, t=0.5", "n=9, t=0.25", "n=100, t=1e-5"]
    files = [save_metrics(tmp_path / str(k), "a", x=1.0) for k in range(4)]
    expected = ["n=9, t=0.25", "n=9, t=0.5", "n=100, t=1e-5", "n=100, t=1e-4"]
    assert compare_variants(files, names)["variant"] == expected


def test_best_is_the_mean_over_seeds_on_validation_volumes() -> None:
    rows = [
        ("t=1, train.seed=1", "a", "validate", {"nerl": 0.9, "mean_dice": 0.1}),
        ("t=1, train.seed=2", "a", "validate", {"nerl": 0.1, "mean_dice": 0.1}),
        ("t=2, train.seed=1", "a", "validate", {"nerl": 0.6, "mean_dice": 0.9}),
        ("t=2, train.seed=2", "a", "validate", {"nerl": 0.6, "mean_dice": None}),
        ("t=1, train.seed=1", "b", "test", {"nerl": 1.0, "mean_dice": 1.0}),
        ("t=1, train.seed=2", "b", "test", {"nerl": 1.0, "mean_dice": 0.5}),
        ("t=2, train.seed=1", "b", "test", {"nerl": 0.2, "mean_dice": 1.0}),
        ("t=2, train.seed=2", "b", "test", {"nerl": 0.4, "mean_dice": 1.0}),
    ]
    best = best_settings(table_of(*rows))
    assert best["nerl"] == {"setting": "t=2", "mean": pytest.approx(0.6), "test": pytest.approx(0.3)}
    assert best["mean_dice"] == {"setting": "t=1", "mean": pytest.approx(0.1), "test": pytest.approx(0.75)}


def test_test_volumes_choose_nothing() -> None:
    rows = [(name, "a", "test", {"nerl": nerl}) for name, nerl in (("x", 0.5), ("y", 0.9))]
    assert best_settings(table_of(*rows)) == {"nerl": None}


def test_nothing_is_best_that_nobody_has_everywhere() -> None:
    rows = [("x", "a", "validate", {"nerl": 0.5}), ("y", "b", "validate", {"nerl": 0.9})]
    gaps = table_of(*rows, ("x", "b", "validate", {"nerl": None}), ("y", "a", "validate", {"nerl": None}))
    assert best_settings(gaps) == {"nerl": None}
    assert best_settings(table_of(("x", "a", "validate", {"nerl": None}))) == {"nerl": None}


def save_score(path: Path, overall: float, **classes: dict[str, float]) -> Path:
    scores = {"overall_score": overall, "overall_instance_score": 0.5, "overall_semantic_score": 0.25}
    write_json(path, scores | {"label_scores": classes, "crops": {}})
    return path


def test_variants_of_a_challenge_are_compared_by_their_scores(tmp_path: Path) -> None:
    files, names = [], []
    for lr, kept, hidden in ((1, 0.2, 0.9), (2, 0.4, 0.3)):
        classes = {"mito": {"combined_score": kept, "f1": 1.0}, "pm": {"iou": 0.5}}
        files += [save_score(tmp_path / f"{lr}/validation.score.json", kept, **classes)]
        files += [save_score(tmp_path / f"{lr}/submission.score.json", hidden, mito={"combined_score": hidden})]
        names += [f"lr={lr}"] * 2
    table = compare_variants(files, names)
    assert table["volume"] == ["submission", "validation"] * 2
    assert table["role"] == ["test", "validate"] * 2
    assert table["overall_score"] == [None, 0.2, None, 0.4]  # of one kind alone it would be 0
    assert table["overall_semantic_score"] == [None, 0.25, None, 0.25]
    assert table["score_mito"] == [0.9, 0.2, 0.3, 0.4]
    assert table["score_pm"] == [None, 0.5, None, 0.5]
    best = best_settings(table)
    assert best["overall_score"] == {"setting": "lr=2", "mean": 0.4, "test": None}
    assert best["overall_instance_score"] == {"setting": "lr=1", "mean": 0.5, "test": 0.5}


def test_a_variant_without_an_id_of_its_own_is_refused(tmp_path: Path) -> None:
    file = save_metrics(tmp_path, "a", nerl=1.0)
    with pytest.raises(DataError, match="come twice"):
        compare_variants([file, file], ["x", "x"])
    with pytest.raises(DataError, match="id of its variant"):
        compare_variants([file], ["x", "y"])
