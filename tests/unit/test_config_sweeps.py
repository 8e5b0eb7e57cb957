"""Sweeps: presets as values, short names, and the list of variants that a dry run shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectomake.config.engine.ids import name_point
from connectomake.config.engine.listing import list_variants
from connectomake.config.engine.variant import Variant
from connectomake.config.engine.variants import load_run
from connectomake.errors import ConfigError

Load = Callable[..., list[Variant]]
STAGES = ("data", "train", "predict", "decode", "measure")
GRID = {"decode.threshold": [0.3, 0.5], "predict.overlap": [0.25, 0.5, 0.75]}


@pytest.fixture(scope="module")
def load(project: Path) -> Load:
    """Return a function that loads experiments on the phantom with the project's own presets."""

    def load_all(**experiments: dict[str, Any]) -> list[Variant]:
        return load_run({"experiments": {name: {"data": "phantom", **e} for name, e in experiments.items()}}, project)

    return load_all


def test_presets_of_a_stage_are_swept_by_its_name(load: Load) -> None:
    swept = {"augment": ["default", "heavy"], "decode": ["dense", "default"], "decode.fill_floor": [0.25, 0.5]}
    variants = load(mine={"sweep": swept})
    assert [v.ids["train"] for v in variants[::4]] == ["default", "default+heavy"]
    assert [v.ids["decode"].partition("@")[0] for v in variants[:4]] == ["dense", "dense", "default", "default"]
    assert len({v.chain("decode") for v in variants}) == 8
    assert variants[5].name == "augment=heavy, decode=dense, fill_floor=0.5"
    assert variants[5].presets["augment"] == "heavy"
    assert variants[5].resolved()["augment"]["missing_sections"]["fill"] == "delete"
    assert variants[5].resolved()["decode"]["fill_floor"] == 0.5


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        ({"sweep": {"decode": ["dens"]}}, "there is no config/decode/dens.yaml; did you mean 'dense'?"),
        ({"sweep": {"decode": [0.5]}}, "expected names of presets in config/decode; got 0.5"),
        ({"sweep": {"decode": ["default", "default"]}}, "two points of the sweep have the same settings"),
        ({"sweep": {"decode": ["default"]}, "decode": "dense"}, "names a preset as well; got dense"),
        ({"sweep": {"data": ["phantom", "fib25"]}}, "compares results on different volumes"),
        ({"sweep": {"phantom": ["demo"]}}, "sweep phantom.KEY"),
        ({"sweep": {"decod": ["dense"]}}, "starts with no stage; did you mean 'decode'?"),
    ],
)
def test_a_sweep_of_presets_that_cannot_be_is_refused(load: Load, experiment: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(mine=experiment)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_swept_preset_does_not_sweep_itself(tmp_path: Path, project: Path) -> None:
    (tmp_path / "config").mkdir()
    for folder in (project / "config").iterdir():
        if folder.is_dir() and folder.name != "decode":
            (tmp_path / "config" / folder.name).symlink_to(folder)
    (tmp_path / "config/decode").mkdir()
    (tmp_path / "config/decode/default.yaml").write_text("")
    (tmp_path / "config/decode/several.yaml").write_text("sweep:\n  threshold: [0.2, 0.4]\n")
    mine = {"data": "phantom", "sweep": {"decode": ["default", "several"]}}
    with pytest.raises(ConfigError, match="the preset 'several' has a sweep of its own"):
        load_run({"experiments": {"mine": mine}}, tmp_path)


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ({}, ""),
        ({"train.optimizer.learning_rate": 1e-5, "augment": "heavy"}, "optimizer.learning_rate=1e-05, augment=heavy"),
        ({"train.seed": 1, "split.seed": 2, "predict.overlap": 0.5}, "train.seed=1, split.seed=2, overlap=0.5"),
        ({"train.targets.affinity.erosion_zyx_vx": [0, 2, 2]}, "affinity.erosion_zyx_vx=0x2x2"),
        ({"train.losses": [{"loss": "bce"}]}, "losses=bce"),
        ({"train.losses": [{"loss": "bce"}, {"loss": "dice", "weight": 2}]}, "losses=bce;(loss:dice;weight:2)"),
        ({"data.mix": {"real": 1, "synthetic": 0.5}}, "mix=real:1;synthetic:0.5"),
        ({"decode.tune": None, "predict.flag": True}, "tune=none, flag=true"),
        ({"train.words": ["a b", "c, d"]}, "words=a_b;c_d"),
    ],
)
def test_a_point_of_a_sweep_has_a_short_name(point: dict[str, Any], name: str) -> None:
    assert name_point(point) == name


def test_the_variants_of_each_experiment_are_listed(load: Load) -> None:
    variants = load(plain={}, grid={"sweep": GRID})
    assert list_variants(variants, lambda stage, _: None if stage == "submit" else False) == [
        "plain: 1 variant: 0 done, 1 new",
        "  data 1, train 1, predict 1, decode 1, measure 1",
        "grid: 6 variants over decode.threshold, predict.overlap: 0 done, 6 new",
        "  data 1, train 1, predict 3, decode 6, measure 6",
        "  shared with plain: data 1, train 1, predict 1, decode 1, measure 1",
    ]


def test_what_is_there_is_told_from_what_is_new(load: Load) -> None:
    variants = load(grid={"sweep": GRID})
    there = {variants[0].chain(stage) for stage in STAGES}
    assert list_variants(variants, lambda stage, v: v.chain(stage) in there if stage in STAGES else None) == [
        "grid: 6 variants over decode.threshold, predict.overlap: 1 done, 5 new",
        "  data 1 (1 done), train 1 (1 done), predict 3 (1 done), decode 6 (1 done), measure 6 (1 done)",
        "  done: threshold=0.3, overlap=0.25",
        "  new: threshold=0.3, overlap=0.5 | threshold=0.3, overlap=0.75 | threshold=0.5, overlap=0.25"
        " | threshold=0.5, overlap=0.5 | threshold=0.5, overlap=0.75",
    ]


def test_of_many_variants_some_are_named_and_each_result_is_looked_for_once(load: Load) -> None:
    asked = []

    def is_there(stage: str, variant: Variant) -> bool:
        asked.append((stage, variant.chain(stage)))
        return stage != "measure" or variant.point["decode.threshold"] == 0.55

    variants = load(mine={"sweep": {"decode.threshold": [k / 100 for k in range(1, 61)]}})
    lines = list_variants(variants, is_there)
    assert lines[0] == "mine: 60 variants over decode.threshold: 1 done, 59 new"
    assert lines[3].endswith("threshold=0.05 | threshold=0.06 | and 53 more")
    assert len(asked) == len(set(asked)) == 1 + 1 + 1 + 60 + 60 + 1
