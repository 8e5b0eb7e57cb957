"""The score equals that of the challenge's own scorer on the officially scored cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from score_twins import write_arrays

from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest
from connectomake.submit.score.submission import score_submission

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "cellmap" / "scoring_cases"
NAMES = ["c01", "c03", "c05", "c07", "c09", "c11"]

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/data/cellmap/scoring_cases is not there")


def score(name: str, folder: Path, **settings) -> tuple[dict, dict, dict]:
    meta = json.loads((CASES / name / "meta.json").read_text())
    grids = {crop: CropGrid(*(tuple(m[k]) for k in ("shape", "voxel_size", "translation"))) for crop, m in meta.items()}
    sides: dict[str, dict] = {"truth": {}, "pred": {}}
    with np.load(CASES / name / "case.npz") as arrays:
        for key in arrays:
            side, _, array = key.partition("/")
            sides[side][array] = arrays[key]
    for side, arrays in sides.items():
        places = {a: {k: meta[a.split("/")[0]][k] for k in ("voxel_size", "translation", "shape")} for a in arrays}
        write_arrays(folder / f"{side}.zarr", arrays, places)
    names = [array.split("/") for array in sides["truth"]]
    rows = [ManifestRow(crop, "jrc_x", label, grids[crop]) for crop, label in names]
    write_manifest(folder / "manifest.csv", rows)
    ours = score_submission(folder / "truth.zarr", folder / "pred.zarr", folder / "manifest.csv", **settings).to_json()
    official = [json.loads((CASES / name / f"{file}.json").read_text()) for file in ("official", "official_extended")]
    return ours, official[0], official[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_the_official_one(name: str, tmp_path: Path) -> None:
    ours, official, extended = score(name, tmp_path)
    free = {(tie["crop"], tie["class"]): tie["difference"] for tie in ours["ties"]}
    assert all(difference <= 0.2 for difference in free.values())
    for crop, classes in ours["crops"].items():
        assert set(classes) == set(extended[crop])
        for label, numbers in classes.items():
            for key, expected in extended[crop][label].items():
                if key == "hausdorff_norm_sum":
                    assert numbers[key] == pytest.approx(expected, abs=1e-6 + free.get((crop, label), 0))
                else:
                    assert numbers[key] == expected, (crop, label, key)
    if not free:
        for label, numbers in official["label_scores"].items():
            for key, expected in numbers.items():
                assert ours["label_scores"][label][key] == pytest.approx(expected, abs=1e-6), (label, key)
        for key in ("overall_instance_score", "overall_semantic_score", "overall_score"):
            assert ours[key] == pytest.approx(official[key], abs=1e-6)
    assert (ours["total_evals"], ours["num_evals_done"]) == (official["total_evals"], official["num_evals_done"])
    assert set(official) <= set(ours)


def test_slabs_and_threads_change_nothing(tmp_path: Path) -> None:
    whole, *_ = score("c07", tmp_path / "whole")
    thin, *_ = score("c07", tmp_path / "thin", slab_voxels=20000, threads=2)
    assert thin == whole


def test_skipped_and_missing_arrays_are_told(tmp_path: Path) -> None:
    ours, _, extended = score("c03", tmp_path)
    told = {(entry["crop"], entry["class"]): entry["status"] for entry in ours["skipped"]}
    expected = {
        (crop, label): numbers["status"]
        for crop, classes in extended.items()
        if crop.startswith("crop")
        for label, numbers in classes.items()
        if numbers["status"] != "scored"
    }
    assert told == expected
    assert len(set(expected.values())) == 2
