"""What is scored, what is skipped, missing, refused or unknown, and what the results say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from score_twins import VOXELS_NM, make_pair, make_tree, write_arrays, write_rows

from connectomake.cellmap.manifest import read_manifest
from connectomake.errors import ConfigError, DataError, MissingDataError
from connectomake.submit.score.crop import count_objects, count_voxels
from connectomake.submit.score.metric import METRICS, find_metric
from connectomake.submit.score.pooling import gains, overall
from connectomake.submit.score.submission import score_submission

SHAPE = (12, 14, 16)
METRIC = find_metric("6b9ad68")


def make_labels(moved: int = 0) -> dict[str, np.ndarray]:
    mito, er = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint8)
    mito[2:6, 2 + moved : 7 + moved, 3:8] = 1
    mito[7:11, 8:12, 5:12] = 300
    er[:, 4 + moved : 9, 2:14] = 1
    return {"crop7/mito": mito, "crop7/er": er}


def files(folder: Path, truth: dict, submitted: dict, attributes: dict | None = None) -> tuple[Path, Path, Path]:
    manifest = write_rows(folder / "manifest.csv", {name: a.shape for name, a in truth.items()})
    return (
        write_arrays(folder / "truth.zarr", truth),
        write_arrays(folder / "submitted.zarr", submitted, attributes),
        manifest,
    )


def zip_folder(folder: Path, path: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                zipped.write(file, f"{inside}{file.relative_to(folder).as_posix()}")
    return path


def test_a_perfect_submission_scores_one(tmp_path):
    ours = score_submission(*files(tmp_path, make_labels(), make_labels())).to_json()
    assert ours["overall_score"] == 1
    assert ours["crops"]["crop7"]["mito"]["tp"] == 2
    assert ours["metric"] == ours["git_version"] == "6b9ad68"
    assert (ours["skipped"], ours["ties"], ours["gains"]) == ([], [], {"mito": 0, "er": 0})


@pytest.mark.parametrize("inside", ["", "my/submission.zarr/"])
def test_a_zip_scores_as_the_folder_does(tmp_path, inside):
    truth, submitted, manifest = files(tmp_path, make_labels(), make_labels(1))
    expected = score_submission(truth, submitted, manifest).to_json()
    assert 0 < expected["overall_score"] < 1
    zips = [zip_folder(path, tmp_path / f"{path.stem}.zip", inside) for path in (truth, submitted)]
    assert score_submission(*zips, manifest, threads=2).to_json() == expected
    outer = tmp_path / "outer"
    outer.mkdir()
    shutil.move(submitted, outer / "submitted.zarr")
    assert score_submission(truth, outer, manifest).to_json() == expected


def test_truth_is_read_from_the_tree_at_the_level_of_the_manifest(tmp_path):
    truth, submitted, manifest = files(tmp_path, make_labels(), make_labels(1))
    expected = score_submission(truth, submitted, manifest).to_json()
    tree = make_tree(tmp_path / "tree", make_labels())
    assert score_submission(tree, submitted, manifest).to_json() == expected


def test_a_tree_without_the_level_is_an_error_that_lists_those_there(tmp_path):
    _, submitted, _ = files(tmp_path, make_labels(), make_labels())
    tree = make_tree(tmp_path / "tree", make_labels())
    other = write_rows(tmp_path / "other.csv", {"crop7/mito": SHAPE}, (8.0, 8.0, 8.0))
    with pytest.raises(DataError, match=r"no level on the manifest's voxels.*s0.*s1.*voxel size"):
        score_submission(tree, submitted, other)


def test_unknown_voxels_are_nothing_in_truth_and_submission(tmp_path):
    truth, submitted = make_labels(), make_labels(1)
    truth["crop7/mito"][:, :, 12:] = 255
    truth["crop7/er"][:4] = 255
    submitted["crop7/mito"][2:4, 2:4, 13:] = 9
    _, wrong, manifest = files(tmp_path, truth, submitted)
    ours = score_submission(make_tree(tmp_path / "tree", truth, unknown=255), wrong, manifest).to_json()
    mito, er = (ours["crops"]["crop7"][name] for name in ("mito", "er"))
    assert (mito["tp"], mito["fp"], mito["fn"], mito["n_truth"]) == (2, 0, 0, 2)
    known = make_labels(1)["crop7/er"][4:] > 0
    whole = make_labels()["crop7/er"][4:] > 0
    assert (er["tp"], er["fp"], er["fn"]) == (np.sum(known & whole), np.sum(known & ~whole), np.sum(whole & ~known))


def test_255_is_an_object_where_the_encoding_does_not_say_unknown(tmp_path):
    truth = make_labels()
    truth["crop7/mito"][truth["crop7/mito"] == 300] = 255
    _, submitted, manifest = files(tmp_path, truth, truth)
    ours = score_submission(make_tree(tmp_path / "tree", truth), submitted, manifest).to_json()
    assert ours["crops"]["crop7"]["mito"]["tp"] == 2


def test_a_mask_takes_voxels_out_of_both_sides(tmp_path):
    truth, submitted = make_labels(), make_labels()
    submitted["crop7/mito"][0, 0, :3] = 5
    manifest = write_rows(tmp_path / "manifest.csv", dict.fromkeys(truth, SHAPE))
    mask = np.ones(SHAPE, np.uint8)
    mask[0] = 0
    store = write_arrays(tmp_path / "truth.zarr", {**truth, "crop7/mito_mask": mask})
    ours = score_submission(store, write_arrays(tmp_path / "s.zarr", submitted), manifest).to_json()
    assert ours["crops"]["crop7"]["mito"]["fp"] == 0
    assert list(ours["label_scores"]) == ["mito", "er"]


def test_a_class_that_is_not_annotated_does_not_count(tmp_path):
    truth, submitted, _ = files(tmp_path, make_labels(), make_labels())
    more = write_rows(tmp_path / "more.csv", dict.fromkeys([*make_labels(), "crop7/pm", "crop9/er"], SHAPE))
    ours = score_submission(truth, submitted, more).to_json()
    assert ours["overall_score"] == 1
    assert [(s["crop"], s["class"], s["status"]) for s in ours["skipped"]] == [
        ("crop7", "pm", "not_annotated"),
        ("crop9", "er", "not_annotated"),
    ]


def test_what_was_not_submitted_counts_as_nothing_found(tmp_path):
    truth, submitted, manifest = files(tmp_path, make_labels(), {"crop7/x": np.zeros(SHAPE, np.uint8)})
    ours = score_submission(truth, submitted, manifest).to_json()
    mito, er = (ours["crops"]["crop7"][name] for name in ("mito", "er"))
    assert (mito["status"], mito["fn"], mito["n_hausdorff"], mito["hausdorff_norm_sum"]) == ("missing", 2, 2, 0)
    assert (er["status"], er["fn"], er["is_missing"]) == ("missing", np.prod(SHAPE), True)
    assert ours["overall_score"] == 0


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"voxel_size": [4.0, 4.0, 4.0], "translation": [0, 0, 0]}, "voxel size"),
        ({"resolution": list(VOXELS_NM), "offset": [0, 4.0, 0]}, "translation"),
        ({"scale": [8.0, 4.0]}, "voxel size"),
        ({"voxel_size": "4 nm"}, "voxel size"),
    ],
)
def test_an_array_on_other_voxels_is_refused_and_shown(tmp_path, attributes, told):
    paths = files(tmp_path, make_labels(), make_labels(), {"crop7/er": attributes})
    score = score_submission(*paths)
    assert [(s["class"], s["status"]) for s in score.skipped] == [("er", "refused")]
    assert score.skipped[0]["reason"].startswith(f"{told}: expected")
    assert score.to_json()["label_scores"]["er"]["iou"] == 0
    assert score.to_json()["label_scores"]["mito"]["f1"] == 1


def test_arrays_without_attributes_are_taken_as_they_are(tmp_path):
    ours = score_submission(*files(tmp_path, make_labels(), make_labels(), {"crop7/er": {}})).to_json()
    assert ours["overall_score"] == 1


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda node: write_v3(node), "format 3"),
        (
            lambda node: (
                (node / ".zarray").rename(node / "s0") and (node / ".zattrs").write_text('{"multiscales": [1]}')
            ),
            "multiscale",
        ),
        (lambda node: (node / ".zarray").write_text('{"zarr_format": 2}'), "cannot be opened"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_with_the_reason(tmp_path, spoil, told):
    truth, submitted, manifest = files(tmp_path, make_labels(), make_labels())
    spoil(submitted / "crop7" / "er")
    skipped = score_submission(truth, submitted, manifest).skipped
    assert [(s["class"], s["status"]) for s in skipped] == [("er", "refused")]
    assert told in skipped[0]["reason"]


def write_multiscale(node: Path) -> None:
    (node / ".zarray").rename(node / "s0")
    (node / ".zattrs").write_text('{"multiscales": [1]}')


def write_v3(node: Path) -> None:
    shutil.rmtree(node)
    node.mkdir()
    (node / "zarr.json").write_text("{}")


def test_an_array_of_no_numbers_is_refused(tmp_path):
    submitted = make_labels()
    submitted["crop7/er"] = submitted["crop7/er"].astype(np.complex64)
    score = score_submission(*files(tmp_path, make_labels(), submitted))
    assert score.skipped[0]["reason"] == "values: expected numbers, got complex64"


def test_an_array_of_another_shape_is_refused(tmp_path):
    submitted = make_labels()
    submitted["crop7/er"] = submitted["crop7/er"][:-1]
    assert (
        "shape: expected [12, 14, 16], got [11, 14, 16]"
        in score_submission(*files(tmp_path, make_labels(), submitted)).skipped[0]["reason"]
    )


def test_a_damaged_chunk_is_named(tmp_path):
    truth, submitted, manifest = files(tmp_path, make_labels(), make_labels())
    (submitted / "crop7" / "er" / "0.0.0").write_bytes(b"short")
    with pytest.raises(DataError, match=r"submitted.zarr: crop7/er: planes 0 to 12 cannot be decoded"):
        score_submission(truth, submitted, manifest)


@pytest.mark.parametrize("kind", ["absent", "file", "other crops"])
def test_what_is_no_submission_is_an_error(tmp_path, kind):
    truth, _, manifest = files(tmp_path, make_labels(), make_labels())
    path = tmp_path / "other"
    if kind == "file":
        path.write_text("no zip")
    elif kind == "other crops":
        write_arrays(path, {"crop8/er": np.zeros(SHAPE, np.uint8)})
    with pytest.raises(MissingDataError if kind == "absent" else DataError, match=str(path)):
        score_submission(truth, path, manifest)


def test_truth_of_no_class_and_truth_that_is_no_ids_are_errors(tmp_path):
    truth, submitted, _ = files(tmp_path, make_labels(), make_labels())
    other = write_rows(tmp_path / "other.csv", {"crop7/pm": SHAPE})
    with pytest.raises(DataError, match="no labels of any class"):
        score_submission(truth, submitted, other)
    volume = np.zeros((3, 4, 5), np.uint8)
    with pytest.raises(DataError, match=r"expected ids; got float32"):
        count_objects(make_pair(volume.astype(np.float32), volume), METRIC)
    with pytest.raises(DataError, match="renumber"):
        count_objects(make_pair(volume.astype(np.int64) - 1, volume), METRIC)


def test_far_too_many_objects_are_skipped_and_said_so():
    truth = np.zeros((24, 24, 24), np.uint8)
    truth[1:4, 1:4, 1:4] = 1
    noise = np.zeros_like(truth)
    noise[::2, ::2, ::2] = 1
    most = 10 + 50 * np.exp(-1 / 5)
    few = noise.copy()
    places = np.argwhere(few)
    few[tuple(places[int(most) :].T)] = 0
    assert count_objects(make_pair(truth, few), METRIC).status == "scored"
    more = few.copy()
    more[tuple(places[int(most)])] = 1
    counts = count_objects(make_pair(truth, more), METRIC)
    assert counts.status == "skipped_too_many_instances"
    assert (counts.tp, counts.fp, counts.fn, counts.n_hausdorff) == (0, 0, 0, 0)
    assert counts.about == {"n_truth": 1, "n_submitted": int(most) + 1}


def test_the_guard_counts_ids_up_to_the_largest_as_the_scorer_does():
    truth = np.zeros((24, 24, 24), np.uint16)
    truth[1:4, 1:4, 1:4] = 200
    noise = np.zeros_like(truth)
    noise[::2, ::2, ::2] = 1
    assert count_objects(make_pair(truth, noise), METRIC).status == "scored"


def test_too_many_pairs_are_skipped():
    truth = np.zeros((4, 4, 8), np.uint8)
    truth[:, :, :4], truth[:, :, 4:] = 1, 2
    from dataclasses import replace

    assert count_objects(make_pair(truth, truth), replace(METRIC, most_pairs=2)).status == "scored"
    assert count_objects(make_pair(truth, truth), replace(METRIC, most_pairs=1)).status.startswith("skipped")


def test_one_side_empty():
    empty, full = np.zeros((6, 6, 6), np.uint8), np.zeros((6, 6, 6), np.uint8)
    full[1:3], full[4] = 1, 2
    farthest = 1.01 ** (-12 / np.linalg.norm(VOXELS_NM))
    nothing, lost, invented = (
        count_objects(make_pair(*pair), METRIC) for pair in ((empty, empty), (full, empty), (empty, full))
    )
    assert (nothing.tp, nothing.fp, nothing.fn, nothing.n_hausdorff) == (0, 0, 0, 0)
    assert (lost.tp, lost.fp, lost.fn, lost.n_hausdorff) == (0, 0, 2, 2)
    assert (invented.tp, invented.fp, invented.fn, invented.n_hausdorff) == (0, 2, 0, 2)
    assert lost.hausdorff_norm_sum == invented.hausdorff_norm_sum == pytest.approx(2 * farthest, abs=1e-6)
    voxels = count_voxels(make_pair(full, empty))
    assert (voxels.tp, voxels.fp, voxels.fn) == (0, 0, np.count_nonzero(full))


def test_a_tie_is_reported(tmp_path):
    truth, submitted = np.zeros((4, 4, 12), np.uint8), np.zeros((4, 4, 12), np.uint8)
    truth[:, :, 2:6] = 1
    submitted[:, :, 3:4], submitted[:, :, 5:6] = 1, 2
    ours = score_submission(*files(tmp_path, {"crop1/ves": truth}, {"crop1/ves": submitted})).to_json()
    assert len(ours["ties"]) == 1
    tie = ours["ties"][0]
    assert (tie["crop"], tie["class"], tie["pairs"]) == ("crop1", "ves", 1)
    assert tie["difference"] == pytest.approx(abs(tie["other_sum"] - tie["hausdorff_norm_sum"]))


def test_only_one_kind_gives_no_overall_score():
    scores = overall({"mito": 1.0, "ves": 0.5}, METRIC)
    assert scores == {"overall_instance_score": 0.75, "overall_semantic_score": 0.0, "overall_score": 0.0}


def test_gains_are_what_a_perfect_class_would_add():
    scores = {"mito": 0.25, "er": 0.64, "pm": 1.0}
    found = gains(scores, METRIC)
    assert list(found) == ["mito", "er", "pm"]
    now = (0.25 * 0.82) ** 0.5
    assert found["mito"] == pytest.approx(0.82**0.5 - now)
    assert found["er"] == pytest.approx(0.25**0.5 - now)
    assert found["pm"] == 0


def test_metrics_are_named_in_the_config_and_unknown_ones_refused():
    from connectomake.config.settings.submit import SubmitConfig

    assert SubmitConfig().metric in METRICS
    with pytest.raises(ConfigError, match="did you mean '6b9ad68'"):
        find_metric("6b9ad86")


def test_the_script_writes_result_and_table(tmp_path, project):
    truth, submitted, manifest = files(tmp_path, make_labels(), make_labels(1))
    names = {"truth": truth, "submission": submitted, "manifest": manifest, "out": tmp_path / "score.json"}
    flags = [text for name, path in names.items() for text in (f"--{name}", str(path))]
    script = project / "scripts" / "score_submission.py"
    subprocess.run([sys.executable, script, *flags, "--table", tmp_path / "score.tsv"], check=True, capture_output=True)
    result = json.loads((tmp_path / "score.json").read_text())
    lines = (tmp_path / "score.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:3] == ["class", "kind", "score"]
    table = {line.split("\t")[0]: float(line.split("\t")[2]) for line in lines[1:]}
    assert table["er"] == result["label_scores"]["er"]["iou"]
    assert table["mito"] == result["label_scores"]["mito"]["combined_score"]
    assert len(read_manifest(manifest)) == len(table)


def test_a_zip_of_other_crops_is_refused_with_those_that_it_has(tmp_path):
    truth, _, manifest = files(tmp_path, make_labels(), make_labels())
    other = write_arrays(tmp_path / "other.zarr", {"crop8/mito": make_labels()["crop7/mito"]})
    with pytest.raises(DataError, match="none of the manifest's crops; expected folders such as crop7; got crop8;"):
        score_submission(truth, zip_folder(other, tmp_path / "other.zip"), manifest)


def test_a_zip_that_has_the_crop_but_none_of_its_classes_scores_nothing(tmp_path):
    truth, _, manifest = files(tmp_path, make_labels(), make_labels())
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as zipped:
        zipped.writestr("crop7/.zgroup", '{"zarr_format": 2}')
    ours = score_submission(truth, tmp_path / "empty.zip", manifest).to_json()
    assert ours["overall_score"] == 0
    assert {entry["status"] for entry in ours["skipped"]} == {"missing"}
