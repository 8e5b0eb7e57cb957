"""Tuning decode settings: what is refused, what is chosen, and that both ways to try a threshold give one number."""

import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from small_volume import write_description

from connectomake.config.engine.layers import read_preset
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_tune import BANIS_THRESHOLDS, TuneConfig, check_search
from connectomake.config.settings.measure import MeasureConfig
from connectomake.draw.experiment.tuning import draw_tuning
from connectomake.draw.figure import save_figure
from connectomake.errors import ConfigError, DataError
from connectomake.targets.affinity import affinities_of_labels
from connectomake.tune.candidates import FullDecodes, why_not_sweep
from connectomake.tune.decoding import tune_decoding
from connectomake.tune.results import write_best
from connectomake.tune.scores import choose, pool
from connectomake.tune.volumes import open_tuning_volumes
from connectomake.volumes.skeletons import Skeletons, save_skeletons
from connectomake.volumes.store import write_store

UNITS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
SIZE_NM = (30.0, 9.0, 9.0)
GRID = (0.5, 0.62, 0.65, 0.69, 0.75, 0.95)


def make_volume(folder, name, *, role="validate", depth=24, leak=0.6, gap=0.7, dtype=np.uint8, skeletons=True):
    """Write two fibres along z that touch: affinities 0.9 inside, `leak` between them, `gap` across the first."""
    truth = np.ones((depth, 6, 12), np.uint8)
    truth[:, :, 6:] = 2
    values = 0.9 * affinities_of_labels(truth, UNITS)[0]
    values[2, depth // 2, :, 5] = leak
    values[0, depth // 3, :, :6] = gap
    values = np.rint(255 * values).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)
    place = folder / "ingest" / name
    store = folder / "predict" / name / "affinities.zarr"
    attributes = {"offsets_zyx_vx": UNITS, "edge_convention": "source", "checkpoint_hash": "abc"}
    write_store(store, values, voxel_size_zyx_nm=SIZE_NM, attributes=attributes)
    write_store(place / "labels.zarr", truth, voxel_size_zyx_nm=SIZE_NM)
    labels = {"source": "labels.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], truth.shape], "dtype": "uint8"}
    described = {"name": name, "role": role, "shape_zyx": truth.shape, "voxel_size_zyx_nm": SIZE_NM}
    write_description(place / "volume.json", described | {"offset_zyx_nm": [0, 0, 0], "labels": labels})
    if skeletons:
        voxel = np.array([[z, 2, x] for x in (2, 9) for z in range(depth)])
        first = np.array([i for i in range(2 * depth) if i % depth != depth - 1])
        edges, ids = np.stack([first, first + 1], axis=1), np.repeat([1, 2], depth)
        save_skeletons(place / "skeletons.npz", Skeletons(edges, ids, voxel * np.array(SIZE_NM)))
    return store, place / "volume.json", [place / "skeletons.npz"] if skeletons else []


def tune(made, measure=None, cfg=None, **settings):
    stores, volumes, skeletons = [[m[i] for m in made] for i in range(3)]
    tune_cfg = TuneConfig(**{"thresholds": GRID} | settings)
    files = [file for found in skeletons for file in found]
    cfg = (cfg or DecodeConfig()).model_copy(update={"tune": tune_cfg})
    return tune_decoding(stores, volumes, files, cfg, measure or MeasureConfig(), threads=2)


def of_all(tuned, name):
    return [v for v, volume in zip(tuned.table[name], tuned.table["volume"], strict=True) if volume == "all"]


def test_the_threshold_between_leak_and_gap_is_chosen(tmp_path):
    tuned = tune([make_volume(tmp_path, "fibres")])
    assert tuned.best == {"threshold": 0.65}
    assert of_all(tuned, "nerl") == pytest.approx([0, 1, 1, 1, (1 + (8 / 23) ** 2 + (14 / 23) ** 2) / 2, 0])
    assert of_all(tuned, "n_splits") == [0, 0, 0, 0, 1, 0]
    assert of_all(tuned, "n_mergers")[0] == 2
    assert tuned.table["threshold"][tuned.chosen] == 0.65
    assert tuned.table["volume"][tuned.chosen] == "all"


@pytest.mark.parametrize("criterion", ["voi_sum", "nerl_5", "nerl_inf", "voxel_voi_sum", "adapted_rand_error"])
def test_every_criterion_knows_its_direction(tmp_path, criterion):
    tuned = tune([make_volume(tmp_path, "fibres")], criterion=criterion)
    assert 0.62 <= tuned.best["threshold"] <= 0.75
    best = (max if criterion.startswith("nerl") else min)(of_all(tuned, criterion))
    assert tuned.value == best


@pytest.mark.parametrize(
    "cfg", [DecodeConfig(), DecodeConfig(min_size_vx=300), DecodeConfig(min_size_vx=300, remove_small="none")]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_a_sweep_and_full_decodes_give_the_same_numbers(tmp_path, cfg, dtype):
    made = make_volume(tmp_path, "fibres", dtype=dtype)
    swept = tune([made], cfg=cfg)
    volume = open_tuning_volumes([made[0]], [made[1]], made[2], TuneConfig())[0]
    full = FullDecodes(cfg, MeasureConfig(), threads=1)
    for row, threshold in enumerate(GRID):
        found = full.measure_on(volume, {"threshold": threshold})
        for name in set(swept.table) - {"threshold", "volume"}:
            assert swept.table[name][2 * row] == found[name], name


def test_blocks_are_left_out_when_a_candidate_is_decoded_whole(tmp_path):
    made = make_volume(tmp_path, "fibres")
    cfg = DecodeConfig(fill="grow", fill_distance_vx=4, block_zyx_vx=(64, 64, 64), jobs=3)
    tuned = tune([made], cfg=cfg)
    assert tuned.best == {"threshold": 0.65}
    assert of_all(tuned, "n_objects")[:4] == [1, 2, 2, 2]
    cfg = DecodeConfig(decoder="waterz", block_zyx_vx=(64, 64, 64), block_halo_vx=8, jobs=3)
    assert FullDecodes(cfg, MeasureConfig(), 1).settings({"waterz.threshold": 0.2}).block_halo_vx == 0


def test_volumes_are_pooled_by_length_of_path(tmp_path):
    made = [
        make_volume(tmp_path, "long", depth=60, leak=0.3, gap=0.55),
        make_volume(tmp_path, "short", depth=12, leak=0.7, gap=0.85),
    ]
    tuned = tune(made, thresholds=(0.2, 0.4, 0.45, 0.5, 0.6, 0.72, 0.8))
    assert tuned.best == {"threshold": 0.45}, "what is best for the longer volume"
    rows = dict(
        zip(zip(tuned.table["threshold"], tuned.table["volume"], strict=True), tuned.table["nerl"], strict=True)
    )
    assert rows[0.5, "all"] == pytest.approx((59 * rows[0.5, "long"] + 11 * rows[0.5, "short"]) / 70)


def test_a_volume_without_skeletons_does_not_count(tmp_path):
    made = [make_volume(tmp_path, "a"), make_volume(tmp_path, "b", skeletons=False, leak=0.85)]
    tuned = tune(made)
    assert tuned.best == {"threshold": 0.65}
    assert tuned.table["nerl"][1] is None


@pytest.mark.parametrize(("role", "why"), [("test", "worthless"), ("predict", "no truth")])
def test_what_may_not_be_tuned_on_is_refused(tmp_path, role, why):
    with pytest.raises(ConfigError, match=f"role {role} and cannot be tuned on: .*{why}.* validate"):
        tune([make_volume(tmp_path, "a"), make_volume(tmp_path, "b", role=role)])


def test_training_data_are_warned_of(tmp_path, caplog):
    tune([make_volume(tmp_path, "fibres", role="train")])
    assert "fibres was trained on" in caplog.text


def test_missing_truth_is_told_before_anything_is_decoded(tmp_path):
    made = make_volume(tmp_path, "fibres", skeletons=False)
    with pytest.raises(ConfigError, match=r"nerl is measured on skeletons, and there are none.*voxel_voi_sum"):
        tune([made])
    with pytest.raises(ConfigError, match=r"nerl_7 is not measured.*ignored_merger_nodes"):
        tune([made], criterion="nerl_7")
    with pytest.raises(ConfigError, match="needs volumes"):
        tune([])
    with pytest.raises(ConfigError, match=r"beside their volume\.json"):
        open_tuning_volumes([made[0]], [made[1]], [tmp_path / "else" / "skeletons.npz"], TuneConfig())


def test_the_end_of_the_grid_and_thresholds_out_of_range_are_warned_of(tmp_path, caplog):
    made = make_volume(tmp_path, "fibres")
    tune([made], thresholds=(0.62, 0.75))
    assert "0.62, is the lowest that was tried: add lower ones" in caplog.text
    caplog.clear()
    tune([made], thresholds=(0.65, 0.91, 0.95))
    assert "lie between 0 and 0.902: the thresholds 0.91, 0.95" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        tune([made], thresholds=(0.5, 0.65, 0.75))
    assert not caplog.text


def test_a_criterion_that_is_nowhere_defined_is_an_error(tmp_path):
    made = make_volume(tmp_path, "fibres")
    save_skeletons(made[2][0], Skeletons(np.zeros((0, 2)), np.array([1]), np.array([[30.0, 9.0, 9.0]])))
    with pytest.raises(DataError, match="nerl is not defined"):
        tune([made])


def test_of_equal_values_the_middle_of_the_longest_stretch_is_chosen():
    assert choose([1, 3, 3, 1, 3, 3, 3, 3, 1], True, [0, 1, 2, 3, 4, 5, 6, 7.2, 8]) == 6
    assert choose([1, 0, 0, 1], False, [0.1, 0.2, 0.5, 0.9]) == 1
    assert choose([np.nan, 2, np.nan], True, [0, 1, 2]) == 1
    assert choose([2, 3, 3], True) == 1
    assert choose([np.nan], True) == -1


def test_counts_are_added_and_scores_averaged():
    found = [{"nerl": 0.5, "n_splits": 2, "total_length": 30.0}, {"nerl": 1.0, "n_splits": 1, "total_length": 10.0}, {}]
    assert pool(found) == {"nerl": 0.625, "n_splits": 3, "total_length": 40.0}
    assert np.isnan(pool([{"nerl": np.nan, "total_length": 1.0}, *found])["nerl"])
    assert pool([{"nerl": np.nan, "total_length": 0.0}, *found])["nerl"] == 0.625


@pytest.mark.parametrize(
    ("cfg", "criterion", "reason"),
    [
        ({"fill": "watershed"}, "nerl", "fill"),
        ({"min_size_vx": 9, "remove_small": "neighbor"}, "nerl", "neighbor"),
        ({}, "voxel_voi_sum", "all voxels"),
        ({"remove_small": "neighbor"}, "nerl_5", None),
    ],
)
def test_what_cannot_be_swept_is_decoded_in_full(cfg, criterion, reason):
    said = why_not_sweep(DecodeConfig(**cfg), TuneConfig(criterion=criterion))
    assert reason in said if reason else said == ""


def test_the_script_writes_a_preset_a_table_and_a_figure_and_the_same_again(tmp_path, monkeypatch):
    made = [make_volume(tmp_path, name, gap=gap) for name, gap in (("a", 0.7), ("b", 0.72))]
    (tmp_path / "decode.yaml").write_text("min_size_vx: 4\ntune: {thresholds: [0.5, 0.62, 0.66, 0.69, 0.75]}\n")
    (tmp_path / "measure.yaml").write_text("{}\n")
    scripts = Path(__file__).parents[2] / "scripts"
    monkeypatch.setattr(sys, "argv", [str(scripts / "tune_decoding.py")])
    out = {}
    for attempt in ("first", "second"):
        place = tmp_path / attempt
        sys.argv[1:] = [
            "--affinities",
            *(str(m[0] / "zarr.json") for m in made),
            "--volumes",
            *(str(m[1]) for m in made),
        ]
        sys.argv += ["--skeletons", *(str(m[2][0]) for m in made), "--config", str(tmp_path / "decode.yaml")]
        sys.argv += ["--measure", str(tmp_path / "measure.yaml")]
        sys.argv += ["--best", str(place / "best.yaml"), "--table", str(place / "tune.tsv")]
        sys.argv += ["--figure", str(place / "tune.png")]
        run_script(scripts / "tune_decoding.py")
        out[attempt] = [(place / name).read_bytes() for name in ("best.yaml", "tune.tsv", "tune.png")]
    assert out["first"] == out["second"]
    assert read_preset(tmp_path / "first" / "best.yaml") == {"threshold": 0.66}
    assert re.match(
        r"# Chosen by tune_decoding: nerl 1, the highest of 5 settings, on a, b\.\n", out["first"][0].decode()
    )
    header, *rows = out["first"][1].decode().splitlines()
    assert header.startswith("threshold\tvolume\tnerl\terl\tvoi_split\tvoi_merge\tvoi_sum\tn_splits\tn_mergers")
    assert len(rows) == 15


def run_script(path):
    import runpy

    runpy.run_path(str(path), run_name="__main__")


def test_nested_settings_are_written_as_a_preset(tmp_path):
    tuned = tune([make_volume(tmp_path, "fibres")])
    object.__setattr__(tuned, "best", {"a.b": 1, "a.c": 0.25, "d": "x"})
    write_best(tuned, tmp_path / "best.yaml")
    assert read_preset(tmp_path / "best.yaml") == {"a": {"b": 1, "c": 0.25}, "d": "x"}


@pytest.mark.parametrize("criterion", ["nerl", "nerl_20", "voxel_voi_sum"])
def test_the_figure_shows_the_criterion(tmp_path, criterion):
    tuned = tune([make_volume(tmp_path, "fibres")], criterion=criterion)
    figure = draw_tuning(tuned.table, tuned.chosen, criterion, "tuned on fibres")
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert {"NERL", "VOI over nodes, bits"} <= set(labels)
    assert ("VOI over voxels, bits" in labels) == (criterion == "voxel_voi_sum")
    save_figure(figure, tmp_path / "tune.png")
    assert (tmp_path / "tune.png").stat().st_size > 10_000


def test_a_table_without_metrics_cannot_be_drawn():
    with pytest.raises(DataError, match="nothing to draw"):
        draw_tuning({"threshold": [0.5], "volume": ["all"]}, 0, "nerl", "")


def test_the_default_grid_is_that_of_banis():
    assert len(BANIS_THRESHOLDS) == 13
    assert BANIS_THRESHOLDS[1] == 0.5
    np.testing.assert_allclose(BANIS_THRESHOLDS, 1 / (1 + np.exp(-0.2 * np.arange(-1, 12))), rtol=1e-15)
    assert TuneConfig().thresholds == BANIS_THRESHOLDS


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"criterion": "nrel"}, "did you mean 'nerl'.*known: nerl, nerl_inf, voi_sum"),
        ({"thresholds": [0.5, 0.5]}, "tried once"),
        ({"thresholds": [0.5, 1.0]}, "less than 1"),
        ({"thresholds": []}, "at least 1"),
        ({"method": "optuna"}, "needs a search"),
        ({"search": {"threshold": [0.1, 0.2]}}, "method: optuna"),
        ({"method": "optuna", "search": {"threshold": [0.2, 0.1]}}, "low below high"),
        ({"method": "optuna", "search": {"fill": {"choices": ["none"]}}}, "at least 2"),
        ({"method": "optuna", "search": {"fill": {"choices": ["none", "none"]}}}, "tried once"),
        ({"trials": 0}, "greater than 0"),
        ({"tries": 3}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_mean_anything_are_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        TuneConfig(**settings)


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"treshold": [0.1, 0.2]}, "unknown key 'treshold'.*threshold"),
        ({"tune.seed": [1, 2]}, "unknown key 'tune.seed'"),
        ({"threshold": [0.1, 1.2]}, "threshold does not take 1.2.*less than 1"),
        ({"min_size_vx": [0.5, 3.5]}, "min_size_vx does not take 0.5"),
        ({"threshold": [0, 1]}, "a range of threshold; expected numbers with a decimal point; got 0"),
        ({"fill": [0.1, 0.9]}, "fill does not take"),
        ({"fill": {"choices": ["none", "flood"]}}, "fill does not take 'flood'"),
    ],
)
def test_a_search_that_leads_nowhere_is_refused(search, said):
    tuned = TuneConfig(method="optuna", search=search)
    with pytest.raises(ConfigError, match=said):
        check_search(DecodeConfig(), tuned.search)


def test_a_search_over_settings_that_there_are_is_taken():
    search = {"threshold": [0.1, 0.9], "min_size_vx": [0, 500], "fill": {"choices": ["none", "watershed"]}}
    check_search(DecodeConfig(), TuneConfig(method="optuna", search=search).search)
