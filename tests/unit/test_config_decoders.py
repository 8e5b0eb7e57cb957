"""Settings of decoders: which are refused because nothing reads them, and which channels must be there."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from connectomake.config.engine.variants import load_run
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import DECODERS
from connectomake.config.stages import STAGES
from connectomake.decode import list_decoders
from connectomake.errors import ConfigError


def refusal(**settings):
    with pytest.raises(ValidationError) as caught:
        DecodeConfig.model_validate(settings)
    return str(caught.value.errors()[0]["msg"]).removeprefix("Value error, ")


@pytest.fixture
def load(tmp_path):
    for stage in STAGES:
        (tmp_path / "config" / stage).mkdir(parents=True)
        (tmp_path / "config" / stage / "default.yaml").write_text("")
    (tmp_path / "config/data/tiny.yaml").write_text("volumes:\n  one: {phantom: default, role: train}\n")
    return lambda **override: load_run({"experiments": {"mine": {"data": "tiny", "override": override}}}, tmp_path)


def test_each_decoder_that_settings_name_is_there_and_says_what_it_reads():
    named = DecodeConfig.model_json_schema()["properties"]["decoder"]["enum"]
    assert sorted(named) == list_decoders() == sorted(DECODERS)
    assert all(decoder.reads and decoder.summary and decoder.shared for decoder in DECODERS.values())


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"waterz": {"threshold": 0.4}}, "decode.waterz.threshold changes nothing: decoder is affinity_cc"),
        ({"decoder": "waterz", "threshold": 0.7}, "decode.threshold changes nothing: decoder is waterz"),
        (
            {"decoder": "mutex_watershed", "waterz": {"merge_function": "mean"}},
            "decode.waterz.merge_function changes nothing: decoder is mutex_watershed",
        ),
        ({"decoder": "seeded_watershed", "fill": "grow"}, "decode.fill changes nothing: decoder is seeded_watershed"),
        (
            {"decoder": "semantic", "seeded_watershed": {"min_seed_vx": 1}},
            "decode.seeded_watershed.min_seed_vx changes nothing: decoder is semantic",
        ),
        (
            {"decoder": "semantic", "min_size_vx": 10},
            "decode.min_size_vx changes nothing: semantic.instances names no class",
        ),
        ({"decoder": "semantic", "remove_small": "neighbor"}, "objects of different classes"),
        ({"decoder": "waterz", "tune": {}}, "tune.method: thresholds tries decode.threshold, which waterz does not"),
        ({"decoder": "waterz", "block_zyx_vx": [64, 64, 64]}, "decoder waterz must see beyond its blocks"),
        ({"decoder": "waterz", "waterz": {"merge_function": "aff51_his256"}}, "aff10_his256 to aff95_his256"),
        (
            {"decoder": "waterz", "waterz": {"aff_threshold_low": 0.5, "aff_threshold_high": 0.5}},
            "aff_threshold_low 0.5 must be below aff_threshold_high 0.5",
        ),
        (
            {"decoder": "seeded_watershed", "seeded_watershed": {"seed_binary": 0.5}},
            "seed_binary 0.5 is below foreground_binary 0.85",
        ),
        (
            {"decoder": "seeded_watershed", "seeded_watershed": {"seed_distance": -0.5}},
            "seed_distance -0.5 is below foreground_distance 0.0",
        ),
        (
            {"decoder": "seeded_watershed", "seeded_watershed": {"method": "binary", "seed_contour": 0.5}},
            "seed_contour changes nothing: method is binary",
        ),
        ({"decoder": "semantic", "semantic": {"classes": ["a", "a"]}}, "each class is named once"),
        ({"decoder": "semantic", "semantic": {"classes": ["a"], "instances": ["b"]}}, "'b' is none of the classes"),
        ({"decoder": "semantic", "semantic": {"connectivity": 26}}, "connectivity changes nothing"),
    ],
)
def test_settings_that_change_nothing_or_contradict_are_refused(settings, problem):
    assert problem in refusal(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 0.5, "waterz": {"threshold": 0.3}},
        {"decoder": "waterz", "fill": "watershed", "min_size_vx": 5, "waterz": {"threshold": 0.4}},
        {"decoder": "mutex_watershed", "mutex_watershed": {"long_stride_zyx_vx": [1, 2, 2]}},
        {"decoder": "semantic", "min_size_vx": 5, "semantic": {"classes": ["a"], "instances": ["a"]}},
        {"decoder": "semantic", "semantic": {"class_threshold": {"a": 0.2}}},
    ],
)
def test_settings_survive_the_way_through_plain_values(settings):
    cfg = DecodeConfig.model_validate(settings)
    assert DecodeConfig.model_validate(cfg.model_dump()) == cfg
    assert DecodeConfig.model_validate(cfg.model_dump(mode="json")) == cfg


def test_a_decoder_finds_the_channels_that_network_and_prediction_give(load):
    for decoder in ("affinity_cc", "mutex_watershed", "waterz"):
        assert load(**{"decode.decoder": decoder})
    assert load(**{"decode.decoder": "waterz", "predict.channels": 3})


@pytest.mark.parametrize(
    ("decoder", "override", "problem"),
    [
        ("mutex_watershed", {"predict.channels": 3}, "at least one long-range affinity"),
        ("waterz", {"predict.channels": [0, 1, 3]}, "the affinities to the next voxel along z, y and x"),
        ("affinity_cc", {"train.targets.affinity.offsets_zyx_vx": [[2, 0, 0]]}, "along z, y and x"),
        ("seeded_watershed", {}, "channels named binary, contour and distance"),
        ("flow", {}, "channels named binary and flow y, flow x"),
        ("semantic", {}, "at least one that is a class"),
    ],
)
def test_a_decoder_without_its_channels_is_refused_before_anything_runs(load, decoder, override, problem):
    with pytest.raises(ConfigError) as caught:
        load(**{"decode.decoder": decoder, **override})
    said = str(caught.value)
    assert said.startswith(f"experiment mine: decode.decoder: {decoder} reads ")
    assert problem in said
    assert "got affinity z+" in said
    assert "predict.channels" in said
    assert "\n" not in said


@pytest.mark.parametrize("preset", ["mutex_watershed", "waterz", "seeded_watershed", "flow", "semantic"])
def test_the_presets_name_their_decoder(project: Path, preset):
    text = (project / f"config/decode/{preset}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../../workflow/schemas/decode.schema.json\n")
    assert f"\ndecoder: {preset}\n" in text


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ({"decode.tune": {}}, "chooses by nerl on validation volumes; expected a volume with role: validate and skel"),
        ({"decode.tune": {"criterion": "adapted_rand_error"}}, "role: validate and labels"),
        ({"decode.tune": {"criterion": "nerl_7"}}, "nerl_7 is not measured; expected one of nerl, nerl_inf, nerl_5"),
        (
            {"decode.tune": {"criterion": "voxel_voi_sum"}, "measure.voxel_metrics": ["matching"]},
            "voxel_voi_sum is not measured; got .*matching.*; add voi to measure.voxel_metrics",
        ),
        (
            {"decode.tune": {"criterion": "average_precision_50"}, "measure.iou_thresholds": [0.75]},
            "average_precision_50 is not measured.*add 0.5 to measure.iou_thresholds",
        ),
        ({"decode.tune": {"method": "optuna", "search": {"treshold": [0.1, 0.2]}}}, "unknown key 'treshold'"),
    ],
)
def test_tuning_that_cannot_choose_is_refused_before_anything_runs(load, override, problem):
    with pytest.raises(ConfigError, match=problem):
        load(**override)
