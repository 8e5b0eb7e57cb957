"""The second opinion: what the toolbox is given, and what a difference is."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
import zarr
from score_twins import VOXELS_NM, make_tree, write_arrays, write_rows

from connectomake.cellmap.manifest import read_manifest
from connectomake.errors import DataError, MissingPackageError
from connectomake.files import read_json, write_json
from connectomake.submit.score import official
from connectomake.submit.score.official import compare_scores, score_by_toolbox, write_plain_truth
from connectomake.submit.score.submission import score_submission

SHAPE = (9, 10, 11)


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    mito, er = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint8)
    mito[2:6, 2:7, 3:8] = 300
    er[4:, :5] = 1
    return {"crop7/mito": mito, "crop7/er": er}


def test_a_tree_becomes_plain_arrays_and_masks(tmp_path: Path, arrays: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays["crop7/er"][:2] = 255
    rows = read_manifest(write_rows(tmp_path / "m.csv", {**dict.fromkeys(arrays, SHAPE), "crop7/pm": SHAPE}))
    tree = make_tree(tmp_path / "tree", arrays, unknown=255)
    monkeypatch.setattr(official, "planes_of_slab", lambda shape: 4)
    store = write_plain_truth(tree, rows, tmp_path / "truth.zarr")
    group = zarr.open_group(store, mode="r", zarr_format=2)["crop7"]
    assert sorted(group.array_keys()) == ["er", "er_mask", "mito", "mito_mask"]
    np.testing.assert_array_equal(group["mito"][:], arrays["crop7/mito"])
    np.testing.assert_array_equal(group["er"][:], arrays["crop7/er"] == 1)
    np.testing.assert_array_equal(group["er_mask"][:], arrays["crop7/er"] != 255)
    assert group["er"].attrs["voxel_size"] == list(VOXELS_NM)


def test_a_store_is_taken_as_it_is(tmp_path: Path, arrays: dict) -> None:
    store = write_arrays(tmp_path / "truth.zarr", arrays)
    rows = read_manifest(write_rows(tmp_path / "m.csv", dict.fromkeys(arrays, SHAPE)))
    assert write_plain_truth(store, rows, tmp_path / "unused") == store


def score(folder: Path, arrays: dict) -> tuple[Path, Path, Path, Path]:
    truth = write_arrays(folder / "truth.zarr", arrays)
    manifest = write_rows(folder / "m.csv", dict.fromkeys(arrays, SHAPE))
    write_json(folder / "ours.json", score_submission(truth, truth, manifest).to_json())
    packed = folder / "submission.zip"
    packed.write_bytes(b"zip")
    return truth, packed, manifest, folder / "ours.json"


def as_official(ours: dict) -> dict:
    keys = ("label_scores", "overall_instance_score", "overall_semantic_score", "overall_score")
    return copy.deepcopy({**ours["crops"], **{key: ours[key] for key in keys}})


def test_the_toolbox_is_asked_and_masks_are_left_out(tmp_path: Path, arrays: dict, monkeypatch) -> None:
    paths = score(tmp_path, arrays)
    asked = {}

    def score_as_toolbox(submission: str, result: str, truth_path: str) -> None:
        asked.update(submission=Path(submission), truth=truth_path)
        found = as_official(read_json(paths[3]))
        found["label_scores"]["er_mask"] = {"iou": 0.0}
        found["crop7"]["er_mask"] = {"tp": 0}
        write_json(Path(result).with_name("result_extended.json"), found | {"overall_semantic_score": 0.5})

    toolbox = ModuleType(official.TOOLBOX)
    toolbox.score_submission = score_as_toolbox
    monkeypatch.setitem(sys.modules, official.TOOLBOX.partition(".")[0], ModuleType("cellmap"))
    monkeypatch.setitem(sys.modules, official.TOOLBOX, toolbox)
    monkeypatch.setenv("CSC_TEST_CROP_MANIFEST_URL", "")
    found = score_by_toolbox(*paths)
    assert found["agrees"]
    assert found["official"]["overall_semantic_score"] == 1
    assert "er_mask" not in found["official"]["crop7"]
    assert asked["submission"].parent != tmp_path, "the toolbox unpacks beside the zip"
    assert asked["truth"] == str(paths[0])


def test_differences_are_told_and_ties_allowed(tmp_path: Path, arrays: dict) -> None:
    ours = read_json(score(tmp_path, arrays)[3])
    other = as_official(ours)
    assert compare_scores(ours, other) == []
    other["crop7"]["er"]["tp"] += 1
    other["crop7"]["mito"]["hausdorff_norm_sum"] -= 0.1
    assert [(d["place"], d["number"]) for d in compare_scores(ours, other)] == [
        ("crop7/mito", "hausdorff_norm_sum"),
        ("crop7/er", "tp"),
    ]
    ours["ties"] = [{"crop": "crop7", "class": "mito", "difference": 0.1}]
    assert [d["place"] for d in compare_scores(ours, other)] == ["crop7/er"]
    del other["crop7"]
    assert len(compare_scores(ours, other)) == 10


def test_without_the_toolbox_or_a_zip_the_error_says_what_to_do(tmp_path: Path, arrays: dict, monkeypatch) -> None:
    paths = score(tmp_path, arrays)
    monkeypatch.setitem(sys.modules, official.TOOLBOX.partition(".")[0], None)
    monkeypatch.setenv("CSC_TEST_CROP_MANIFEST_URL", "")
    with pytest.raises(MissingPackageError, match=r"--software-deployment-method conda .*envs/cellmap.yaml"):
        score_by_toolbox(*paths)
    with pytest.raises(DataError, match="scores a zip"):
        score_by_toolbox(paths[0], paths[0], *paths[2:])


def test_the_environment_has_the_toolbox_of_the_metric_and_zarr_2(project: Path) -> None:
    packages = yaml.safe_load((project / "envs" / "cellmap.yaml").read_text())["dependencies"]
    *pinned, toolbox = packages[-1]["pip"]
    assert toolbox.endswith("cellmap-segmentation-challenge@6b9ad68")
    known = dict(line.split("==") for line in pinned)
    assert known["zarr"].startswith("2.")
    required = dict(
        line.split("==")
        for line in (project / "requirements.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    for name in ("pydantic", "PyYAML"):
        assert known[name] == required[name]
