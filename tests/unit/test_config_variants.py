"""Presets, bases, overrides and sweeps give the variants that are meant, and say in one line what cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectomake.config.engine.layers import read_preset
from connectomake.config.engine.variant import CHAIN, Variant
from connectomake.config.engine.variants import index_variants, load_run
from connectomake.config.stages import STAGES
from connectomake.errors import ConfigError

STAGED = set(STAGES) - {"phantom", "synth"}  # phantoms are the data's, synth is not for each experiment

FILES = {
    "data/tiny.yaml": "volumes:\n  one: {phantom: demo, role: train}\n  two: {phantom: demo, role: test, seed: 1}\n",
    "data/real.yaml": "volumes:\n  one: {raw: a.h5::raw, labels: a.h5::labels, role: train}\n",
    "data/traced.yaml": "volumes:\n  one: {raw: a.h5::raw, labels: a.h5::labels, role: train}\n"
    "  two: {raw: b.h5::raw, skeletons: b.swc, role: test}\n",
    "data/untrained.yaml": "volumes:\n  one: {raw: a.h5::raw, role: predict}\n",
    "phantom/demo.yaml": "",
    "decode/strict.yaml": "base: default\nthreshold: 0.9\n",
    "decode/stricter.yaml": "base: strict\nmin_size_vx: 10\nthreshold: 0.95\n",
    "decode/several.yaml": "sweep:\n  threshold: [0.2, 0.4]\n",
    "decode/round.yaml": "base: trip\n",
    "decode/trip.yaml": "base: round\n",
    "decode/typo.yaml": "# a comment\ntreshold: 0.5\n",
    "experiments/plain.yaml": "data: tiny\n",
    "experiments/both.yaml": "data: tiny\noverride:\n  decode.threshold: 0.4\n  predict.overlap: 2\n",
    "experiments/grid.yaml": "data: tiny\nsweep: {decode.threshold: [0.3, 0.5], predict.overlap: [0.25, 0.5, 0.75]}\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a project with empty default presets and the files above."""
    for name, text in {f"{stage}/default.yaml": "" for stage in STAGES}.items() | FILES.items():
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def load(root: Path) -> Callable[..., list[Variant]]:
    """Return a function that loads an experiment: inline keys, or a name."""

    def load_one(experiments: Any = None, override: Any = None, **inline: Any) -> list[Variant]:
        named = {"mine": {"data": "tiny", **inline}} if experiments is None else experiments
        return load_run({"experiments": named, "override": override}, root)

    return load_one


@pytest.fixture
def refuse(load: Callable[..., list[Variant]]) -> Callable[..., str]:
    """Return a function that loads what cannot be loaded, and gives the one line that says why."""

    def refused(experiments: Any = None, override: Any = None, **inline: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            load(experiments, override, **inline)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refused


Load = Callable[..., list[Variant]]
Refuse = Callable[..., str]


def test_an_experiment_without_a_sweep_is_one_variant(load: Load) -> None:
    (variant,) = load("plain")
    assert variant.experiment == variant.name == "plain"
    assert variant.ids == dict(zip((*CHAIN, "submit"), ["tiny", *["default"] * 6], strict=True))
    assert variant.chain("submit") == "tiny/default/default/default/default"
    assert variant.chain("train") == "tiny/default/default"
    assert variant.chain("measure") == "tiny/default/default/default/default/default"
    assert variant.phantoms["demo"].id == "demo"
    assert all(isinstance(variant.settings[stage], model) for stage, model in STAGES.items() if stage in STAGED)


def test_experiments_are_named_in_every_form(load: Load, root: Path) -> None:
    path = root / "config/experiments/plain.yaml"
    forms: list[Any] = ["plain", ["plain"], str(path), "config/experiments/plain.yaml", {"plain": {"data": "tiny"}}]
    assert [[v.resolved() for v in load(form)] for form in forms] == [[v.resolved() for v in load("plain")]] * len(
        forms
    )
    assert [v.experiment for v in load(["plain", "grid"])] == ["plain", *["grid"] * 6]


def test_a_preset_holds_only_what_differs_from_its_base(load: Load, root: Path) -> None:
    (variant,) = load(decode="stricter")
    assert variant.ids["decode"] == "stricter"
    assert variant.resolved()["decode"]["threshold"] == 0.95
    assert variant.resolved()["decode"]["min_size_vx"] == 10
    assert read_preset(root / "config/decode/stricter.yaml") == {"threshold": 0.95, "min_size_vx": 10}


@pytest.mark.parametrize(
    "override",
    [
        {"decode.threshold": 0.7, "predict.overlap": 0.25},
        {"predict.overlap": "0.25", "decode.threshold": "7e-1"},
        ["decode.threshold=0.7", "predict.overlap=0.25"],
        "predict.overlap=.25 decode.threshold=0.70",
    ],
    ids=["mapping", "mapping as snakemake hands it on", "list", "text"],
)
def test_single_keys_are_overridden_in_every_form(load: Load, override: Any) -> None:
    (variant,) = load(override=override)
    assert variant.ids["decode"] == "default@threshold=0.7"
    assert variant.ids["predict"] == "default@overlap=0.25"
    assert variant.resolved()["decode"]["threshold"] == 0.7


def test_the_command_line_is_stronger_than_the_experiment_and_that_than_the_preset(load: Load) -> None:
    mine = {"mine": {"data": "tiny", "decode": "strict", "override": {"decode.threshold": 0.6}}}
    assert load(mine)[0].ids["decode"] == "strict@threshold=0.6"
    assert load(mine, override="decode.threshold=0.1")[0].ids["decode"] == "strict@threshold=0.1"


def test_an_override_that_changes_nothing_is_not_in_the_id(load: Load) -> None:
    assert load(decode="strict", override="decode.threshold=0.9")[0].ids["decode"] == "strict"


def test_a_sweep_gives_every_combination(load: Load) -> None:
    variants = load("grid")
    assert len(variants) == len({v.chain("measure") for v in variants}) == 6
    assert len({v.chain("predict") for v in variants}) == 3
    assert variants[0].point == {"decode.threshold": 0.3, "predict.overlap": 0.25}
    assert variants[0].name == "threshold=0.3, overlap=0.25"


def test_variants_that_differ_in_decoding_share_training_and_prediction(load: Load) -> None:
    one, other = load(sweep={"decode.threshold": [0.1, 0.2]})
    assert one.chain("predict") == other.chain("predict")
    assert one.chain("decode") != other.chain("decode")


def test_a_sweep_from_the_command_line_is_read_though_snakemake_hands_on_text(load: Load) -> None:
    variants = load(sweep={"decode.threshold": ["0.1", "2e-1"], "predict.window_zyx_vx": ["null", ["96", "96", "96"]]})
    assert [variant.point["decode.threshold"] for variant in variants] == [0.1, 0.1, 0.2, 0.2]
    assert [variant.ids["predict"] for variant in variants[:2]] == ["default", "default@window_zyx_vx=96x96x96"]


def test_a_preset_may_sweep_and_be_based_on_one_that_does(load: Load, root: Path) -> None:
    (root / "config/decode/more.yaml").write_text(
        "base: several\nmin_size_vx: 7\nsweep: {fill_floor: [0.1, 0.2, 0.3]}\n"
    )
    assert [v.ids["decode"] for v in load(decode="several")] == ["several@threshold=0.2", "several@threshold=0.4"]
    assert len(load(decode="more")) == 6
    assert len(load(decode="several", sweep={"predict.overlap": [0, 0.5]})) == 4


def test_augment_is_part_of_the_training_id(load: Load, root: Path) -> None:
    (root / "config/augment/other.yaml").write_text("")
    assert load(augment="other")[0].ids["train"] == "default+other"
    assert "augment" not in load()[0].ids


def test_a_changed_phantom_is_part_of_the_data_id(load: Load) -> None:
    (variant,) = load(override="phantom.shape_zyx=[96,96,96]")
    assert variant.phantoms["demo"].id == "demo@shape_zyx=96x96x96"
    assert variant.ids["data"] == f"tiny+{variant.phantoms['demo'].id}"
    assert variant.resolved()["phantom"]["demo"]["shape_zyx"] == [96, 96, 96]


def test_a_volume_is_changed_by_its_name(load: Load) -> None:
    (variant,) = load(override="data.volumes.one.seed=7")
    assert variant.ids["data"] == "tiny@volumes.one.seed=7"


def test_settings_are_found_by_stage_and_id(load: Load) -> None:
    index = index_variants(load("grid"))
    assert index["decode", "default@threshold=0.3"].resolved()["decode"]["threshold"] == 0.3
    assert {stage for stage, _ in index} == {*CHAIN, "submit"}


def test_a_long_id_is_a_hash_and_ids_are_the_same_in_every_run(load: Load) -> None:
    override = (
        "predict.window_zyx_vx=[128,128,128] predict.blending=constant predict.overlap=0.25 predict.precision=float32"
    )
    (one,), (other,) = load(override=override), load(override=" ".join(reversed(override.split())))
    assert one.ids == other.ids
    assert one.ids["predict"] == "default@blending=constant@overlap=0.25@precision=float32@59fb6e01d5"


def test_unknown_names_are_told_with_the_nearest_and_all_others(refuse: Refuse) -> None:
    assert "there is no config/experiments/plane.yaml; did you mean 'plain'? known: both, grid, plain" in refuse(
        "plane"
    )
    assert "decode: there is no config/decode/strikt.yaml; did you mean 'strict'?" in refuse(decode="strikt")
    assert "data: there is no config/data/tinny.yaml; did you mean 'tiny'?" in refuse(data="tinny")
    assert "unknown key 'decod'; did you mean 'decode'?" in refuse(decod="strict")
    assert "no such file" in refuse("nowhere/mine.yaml")
    assert "there is no config/decode/../decode/strict.yaml" in refuse(decode="../decode/strict")


def test_unknown_keys_of_the_config_are_told(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'experimnts'; did you mean 'experiments'\?"):
        load_run({"experimnts": "plain"}, root)


def test_errors_name_file_and_line(refuse: Refuse) -> None:
    assert refuse(decode="typo") == (
        "config/decode/typo.yaml:2: unknown key 'decode.treshold'; did you mean 'threshold'?"
    )
    assert refuse("both") == (
        "config/experiments/both.yaml:4: predict.overlap: wrong value; expected less than or equal to 0.9; got 2"
    )


def test_a_cyclic_base_is_refused(refuse: Refuse, root: Path) -> None:
    (root / "config/decode/self.yaml").write_text("base: self\n")
    assert "base is cyclic: round -> trip -> round" in refuse(decode="round")
    assert "base is cyclic: self -> self" in refuse(decode="self")


def test_a_base_that_is_none_is_refused(refuse: Refuse, root: Path) -> None:
    (root / "config/decode/lost.yaml").write_text("base: strikt\n")
    (root / "config/decode/odd.yaml").write_text("base: [strict]\n")
    assert "config/decode/lost.yaml: base: there is no config/decode/strikt.yaml; did you mean 'strict'?" in refuse(
        decode="lost"
    )
    assert "expected the name of another preset" in refuse(decode="odd")


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({}, "the sweep is empty"),
        ({"decode.threshold": []}, "expected a list of values; got []"),
        ({"decode.threshold": 0.5}, "expected a valid list; got 0.5"),
        ({"decode.treshold": [0.5]}, "unknown key 'decode.treshold'; did you mean 'threshold'?"),
        ({"decod.threshold": [0.5]}, "starts with no stage; did you mean 'decode'?"),
        ({"sweep.decode.threshold": [0.5]}, "starts with no stage"),
        ({"decode.sweep": [{}]}, "part of a preset file"),
        ({"decode.threshold": [0.5, 5]}, "expected less than 1; got 5"),
        ({"decode.threshold": [0.1, "1e-1"]}, "two points of the sweep have the same settings"),
        ({"data.volumes.one.role": ["train", "test"]}, "compares results on different volumes"),
        ({"data.volumes.three.seed": [1, 2]}, "data.volumes has no 'three'"),
        ({"data.volumes.one": [{}], "data.volumes.one.seed": [1]}, "swept twice"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(refuse: Refuse, sweep: dict[str, Any], words: str) -> None:
    assert words in refuse(sweep=sweep)


def test_a_swept_key_is_not_overridden_and_not_swept_again(refuse: Refuse) -> None:
    sweep = {"decode.threshold": [0.1, 0.2]}
    assert "is swept and overridden" in refuse(sweep=sweep, override="decode.threshold=0.5")
    with_own = {"mine": {"data": "tiny", "sweep": sweep, "override": {"decode.threshold": 0.5}}}
    assert "is swept and overridden" in refuse(with_own)
    assert "is swept twice" in refuse(decode="several", sweep=sweep)


def test_an_empty_sweep_of_a_preset_is_refused(refuse: Refuse, root: Path) -> None:
    (root / "config/decode/none.yaml").write_text("sweep:\n")
    assert refuse(decode="none").startswith("config/decode/none.yaml: the sweep is empty")


def test_changes_that_nothing_reads_are_refused(refuse: Refuse) -> None:
    assert "changes nothing" in refuse(data="real", override="phantom.shape_zyx=[64,64,64]")


def test_data_without_a_volume_to_train_on_are_refused(refuse: Refuse) -> None:
    assert "expected a volume with role: train; got one: predict" in refuse(data="untrained")


@pytest.mark.parametrize("role", ["train", "validate"])
def test_volumes_that_are_learnt_from_need_labels(refuse: Refuse, role: str) -> None:
    message = refuse(data="real", override={"data.volumes": {"two": {"raw": "b.h5::raw", "role": role}}})
    assert f"config/data/real.yaml: volumes.two: a volume with role: {role} needs labels" in message


def test_names_are_parts_of_paths(refuse: Refuse) -> None:
    assert "the name of an experiment; expected letters, digits" in refuse({"a/b": {"data": "tiny"}})
    new = {"one/two": {"phantom": "demo", "role": "train"}}
    assert "the name of a volume; expected letters, digits" in refuse(override={"data.volumes": new})


def test_a_split_that_makes_validation_data_needs_data_without(refuse: Refuse, load: Load) -> None:
    slab = {"split.method": "slab"}
    assert load(override=slab)[0].ids["split"] == "default@method=slab"
    words = refuse(override={**slab, "data.volumes.two.role": "validate"})
    assert "has a validate volume, and split.method: slab would cut another" in words


def test_blocks_for_validation_hold_a_patch(refuse: Refuse, load: Load) -> None:
    small = {"split.method": "blocks", "split.block_zyx_vx": [64, 64, 64], "train.patch_zyx_vx": [64, 64, 64]}
    assert load(override=small)
    assert "is smaller than a patch; expected at least train.patch_zyx_vx, [64, 64, 64]; got [64, 48, 64]" in refuse(
        override={**small, "split.block_zyx_vx": [64, 48, 64]}
    )


def test_windows_fit_the_network(refuse: Refuse, load: Load) -> None:
    assert load(override="predict.window_zyx_vx=[96,96,96]")
    assert "[96, 90, 96] must be multiples of [16, 16, 16]" in refuse(override="predict.window_zyx_vx=[96,90,96]")


def test_axes_that_windows_are_turned_over_have_equal_sides(refuse: Refuse, load: Load) -> None:
    turned = {"predict.tta": {"rotate": ["yx"]}}
    assert load(override={**turned, "predict.window_zyx_vx": [48, 96, 96]})
    assert "predict.tta.rotate: yx exchanges axes along which windows have different sides" in refuse(
        override={**turned, "predict.window_zyx_vx": [96, 48, 96]}
    )


def test_regions_are_of_volumes_that_there_are(refuse: Refuse, load: Load) -> None:
    box = {"box_zyx_vx": [[0, 0, 0], [9, 9, 9]]}
    assert load(override={"predict.regions": {"two": box}})
    assert "no volume 'twoo'" in refuse(override={"predict.regions": {"twoo": box}})
    assert "needs a box, crops or a mask" in refuse(override={"predict.regions": {"two": {}}})


def test_a_network_from_a_file_needs_no_volume_to_train_on(refuse: Refuse, load: Load) -> None:
    assert load(data="untrained", override={"predict.checkpoints": ["other.ckpt"]})
    assert "no volume to train on" in refuse(
        data="untrained", override={"predict.checkpoints": ["trained", "other.ckpt"]}
    )


def test_two_experiments_of_one_name_are_refused(refuse: Refuse) -> None:
    assert "a second experiment 'plain'" in refuse(["plain", "plain"])
    assert "no experiment to run" in refuse([])


def test_an_experiment_that_is_no_mapping_is_refused(refuse: Refuse) -> None:
    assert "expected key: value pairs; got 3" in refuse({"mine": 3})


@pytest.mark.parametrize("metric", ["clefts", "classes"])
def test_metrics_that_need_truth_labels_are_refused_without_any(load, refuse, metric):
    wanted = {"measure.voxel_metrics": [metric]}
    problem = f"measure.voxel_metrics: {metric} is measured against truth labels; expected labels of a volume"
    assert problem in refuse(data="traced", override=wanted)
    assert load(data="tiny", override=wanted)


@pytest.mark.parametrize(
    ("key", "values"), [("voxel_metrics", ["voi", "voi"]), ("iou_thresholds", [0.5, 0.5]), ("iou_thresholds", [0])]
)
def test_metrics_are_named_once_and_thresholds_mean_something(refuse, key, values):
    assert key in refuse(override={f"measure.{key}": values})
