"""What one call of snakemake is about: settings by id, checked in one process, without Snakemake."""

import re
from pathlib import Path

import pytest

from connectomake.errors import ConnectomakeError
from connectomake.flow.paths import WILDCARDS, Paths
from connectomake.flow.study import check_backends, load_study

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(path.stem for path in (ROOT / "config/experiments").glob("*.yaml"))
NEEDS_FILES = {"fib25": "../shared/data/fib25", "cellmap": "../cellmap/data"}


def study_of(experiments="phantom", check_sources=False, **config):
    return load_study({"experiments": experiments, **config}, ROOT, check_sources=check_sources)


def ids_of(variant, **others):
    return {**variant.ids, **others}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_composed_and_checked(experiment):
    text = (ROOT / f"config/experiments/{experiment}.yaml").read_text()
    data = re.search(r"^data: (\w+)", text, re.MULTILINE)[1]
    folder = NEEDS_FILES.get(data)
    if folder is not None and not (ROOT / folder).is_dir():
        pytest.skip(f"there are no data at {folder}")
    study = study_of(experiment, check_sources=True)
    assert study.experiments == [experiment]
    for variant in study.variants:
        for stage, stage_id in variant.ids.items():
            assert study.index[stage, stage_id].settings[stage] == variant.settings[stage]
            assert re.fullmatch(WILDCARDS[stage], stage_id)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"experiments": "phantm"}, ["phantm", "phantom"]),
        ({"override": "train.max_stepz=5"}, ["train.max_stepz", "max_steps"]),
        ({"override": "train.max_steps=many"}, ["max_steps", "many"]),
        ({"override": "decode.threshold=1.5"}, ["threshold", "1.5"]),
        ({"experimentz": "phantom"}, ["experimentz", "experiments"]),
        ({"experiments": "fib25", "override": "data.folder=/nowhere/at/all"}, ["/nowhere/at/all", "neuroproof"]),
        ({"override": "train.patch_zyx_vx=[60,64,64]"}, ["patch_zyx_vx", "64"]),
        ({"override": "train.patch_zyx_vx=[256,64,64]"}, ["patch_zyx_vx", "256", "train"]),
        ({"synthesise": "phantom"}, ["synthesise", "phantom"]),
    ],
)
def test_what_cannot_be_meant_is_one_line(config, words):
    with pytest.raises(ConnectomakeError) as caught:
        load_study({"experiments": "phantom"} | config, ROOT)
    said = str(caught.value)
    assert "\n" not in said
    assert all(word in said for word in words), said


def test_headers_are_looked_at_where_that_is_asked():
    config = {"experiments": "fib25", "override": "data.folder=/nowhere/at/all"}
    assert load_study(config, ROOT, check_sources=False).variants


def test_a_backend_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "funlib.evaluate", None)
    check_backends(study_of())
    with pytest.raises(ConnectomakeError, match=r"funlib\.evaluate"):
        check_backends(study_of(override="measure.backend=both"))


def test_settings_are_plain_values_without_what_is_only_effort():
    study = study_of(override={"predict.jobs": 7, "predict.overlap": 0.25})
    told = study.settings("predict")(ids_of(study.variants[0]))
    assert told["overlap"] == 0.25
    assert not {"jobs", "mvoxel_per_job", "threads"} & set(told)
    assert told is study.settings("predict")(ids_of(study.variants[0]))  # once for thousands of jobs
    augment = study.settings("train", "augment")(ids_of(study.variants[0]))
    assert augment == study.variants[0].augment.model_dump(mode="json")


def test_ids_are_found_by_their_settings():
    study = study_of("phantom_sweep")
    low = study.ids_where("decode", lambda cfg: cfg.threshold < 0.9)
    found = {variant.ids["decode"] for variant in study.variants if re.fullmatch(low, variant.ids["decode"])}
    assert found == {variant.ids["decode"] for variant in study.variants if variant.decode.threshold < 0.9}
    assert len(found) == 2
    assert not re.fullmatch(study.ids_where("decode", lambda cfg: False), "default")


def test_the_layout_of_the_results():
    paths = Paths("out")
    assert paths.folder("train", volume=False) == "out/train/{data}/{split}/{train}"
    assert paths.folder("submit") == "out/submit/{data}/{split}/{train}/{predict}/{submit}/{volume}"
    assert paths.log_of("draw_slices", "split") == "out/log/draw_slices/{data}/{split}/{volume}.log"
    assert paths.packed.format(data=1, split=2, train=3, predict=4, submit=5, part=6) == "out/submit/1/2/3/4/5/6.zip"
    variant = study_of("phantom_sweep", results="out/").variants[1]
    path = f"out/decode/{variant.chain('decode')}/test/labels.zarr/zarr.json"
    assert (
        path
        == paths.fill(paths.labels, ids_of(variant, volume="test"))
        == paths.fill(paths.labels, variant.ids, volume="test")
    )
    assert study_of(results="out/").paths == paths
