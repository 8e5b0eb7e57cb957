"""Labels are told from probabilities, and ids that were cut to 8 bits from those that were not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pytest
from checked_submission import grid_for, make_mask, make_objects, write_array, write_rows
from scipy import ndimage

from connectomake.cellmap.manifest import ManifestRow
from connectomake.submit.check.cut_ids import measure_pieces
from connectomake.submit.check.files import open_files
from connectomake.submit.check.finding import Finding
from connectomake.submit.check.layout import find_crops
from connectomake.submit.check.stored import read_array
from connectomake.submit.check.submission import check_submission
from connectomake.submit.check.values import look_at

RANDOM = np.random.default_rng(5)


def judge(tmp_path: Path, values: np.ndarray, label: str, **options: Any) -> list[Finding]:
    """Return the findings of one array, with a manifest that fits."""
    grid = grid_for(values)
    write_array(tmp_path / "one.zarr", f"crop557/{label}", values, grid, **options)
    rows = write_rows(tmp_path / "one.csv", [ManifestRow("crop557", "jrc_x", label, grid)])
    return check_submission(tmp_path / "one.zarr", rows)


def make_probabilities(shape: tuple[int, int, int] = (24, 40, 40)) -> np.ndarray:
    """Return (Z, Y, X) float32 of smooth blobs that saturate at 0 and 1, as a network gives."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=shape), 3)
    return (1 / (1 + np.exp(-200 * (smooth - 0.02)))).astype(np.float32)


def as_bytes(probabilities: np.ndarray) -> np.ndarray:
    return (probabilities * 255).astype(np.uint8)


GRADED = {
    "fractions": make_probabilities(),
    "half precision": make_probabilities().astype(np.float16),
    "bytes": as_bytes(make_probabilities()),
    "saturated bytes": as_bytes(np.clip(3 * make_probabilities() - 1, 0, 1)),
    "16 bits": (make_probabilities() * 65535).astype(np.uint16),
    "noise": RANDOM.integers(0, 256, (8, 16, 16), np.uint8),
}


@pytest.mark.parametrize("label", ["er", "mito"])
@pytest.mark.parametrize("name", GRADED)
def test_probabilities(tmp_path, name, label):
    [found] = judge(tmp_path, GRADED[name], label)
    assert (found.severity, found.where) == ("zero", f"crop557/{label}")
    assert "look like probabilities" in found.what


def make_touching(count: int = 60, size: int = 6) -> np.ndarray:
    """Return objects that fill the volume and touch, in no order."""
    ids = np.random.default_rng(2).permutation(np.arange(1, count + 1)).reshape(3, 4, -1)
    return np.kron(ids, np.ones((size,) * 3, np.int64))


LABELS = {
    "objects": make_objects(40, np.uint8),
    "255 objects": make_objects(255, np.uint8),
    "300 objects": make_objects(300, np.uint16),
    "70,000 objects": make_objects(70_000, np.uint32, size=1),
    "touching": make_touching().astype(np.uint8),
    "touching, thin": make_touching(60, 2).astype(np.uint8),
    "one": make_mask(),
    "one of 255": make_mask() * 255,
    "64 bits": make_objects(40, np.uint64),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_objects_are_right(tmp_path, name):
    assert judge(tmp_path, LABELS[name], "mito") == []


@pytest.mark.parametrize(
    ("values", "severity", "says"),
    [
        (make_mask() * 255, "note", "values up to 255 instead of 0 and 1"),
        (make_objects(40, np.uint8), "note", "values up to 40"),
        (make_touching().astype(np.uint16), "note", "values up to 60"),
        (np.where(np.arange(6)[:, None, None] == 5, 255, make_mask()).astype(np.uint8), "loses", "140 voxels are 255"),
        (make_mask().astype(np.int16) * -1 + 0, "note", "values down to -1"),
        (make_mask().astype(np.float32), "note", "whole numbers of type float32"),
        (np.ones((3, 4, 5), np.uint8), "note", "every voxel is foreground"),
        (np.where(make_mask(), np.nan, 1).astype(np.float32), "zero", "values that are NaN or infinite"),
    ],
)
def test_what_a_class_that_is_scored_by_voxels_should_not_hold(tmp_path, values, severity, says):
    found = judge(tmp_path, values, "er")
    assert [f.severity for f in found if says in f.what] == [severity]


def test_true_and_false_are_right_for_voxels_but_lose_objects(tmp_path):
    assert judge(tmp_path, make_mask().astype(bool), "er", fill_value=False) == []
    [found] = judge(tmp_path / "b", make_mask().astype(bool), "mito", fill_value=False)
    assert (found.severity, "touch count as one" in found.what) == ("loses", True)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.float32])
def test_ids_below_0(tmp_path, dtype):
    values = make_mask().astype(dtype)
    values[0, 0, :4] = -1
    found = judge(tmp_path, values, "mito")
    assert [f.severity for f in found if "ids down to -1" in f.what] == ["loses"]


def test_a_submission_of_nothing(tmp_path):
    [found] = judge(tmp_path, make_probabilities().astype(np.uint8) * 0, "er")
    assert (found.severity, found.where, found.what) == ("zero", "submission", "no array holds anything but 0")


@pytest.mark.parametrize("count", [270, 300, 512, 2000])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_ids_that_were_cut_to_8_bits(tmp_path, count, dtype):
    wrapped = make_objects(count).astype(dtype)
    found = [f for f in judge(tmp_path, wrapped, "mito") if f.severity == "zero"]
    assert len(found) == 1
    assert f"all 255 ids of {np.dtype(dtype).name} are used, for {count - count // 256} objects" in found[0].what


def test_objects_of_very_different_sizes_are_still_counted(tmp_path):
    values = make_objects(600, size=4)
    values[:, :, ::2][RANDOM.random(values[:, :, ::2].shape) < 0.2] = 0  # holes and frayed borders
    assert any("ids seem cut" in f.what for f in judge(tmp_path, values.astype(np.uint8), "ves"))


def test_crumbs_are_no_objects(tmp_path):
    """255 objects, each with a crumb apart from it."""
    ids = np.concatenate((np.arange(1, 256), np.zeros(45, np.int64))).reshape(3, 10, 10)
    cell = np.zeros((7, 7, 7), np.int64)
    cell[:4, :4, :4] = cell[5, 5, 5] = 1
    values = np.kron(ids, cell).astype(np.uint8)
    assert cc3d.connected_components(values, return_N=True)[1] == 510
    [found] = judge(tmp_path, values, "mito")
    assert (found.severity, "in 510 pieces" in found.what) == ("note", True)


def test_ids_that_are_used_again_on_purpose_are_right(tmp_path):
    """Seven ids for 600 objects: the scorer numbers the pieces itself."""
    values = make_objects(600)
    assert judge(tmp_path, np.where(values, values % 7 + 1, 0).astype(np.uint8), "mito") == []


@pytest.mark.parametrize("most_voxels", [1, 200, 700, 10**6])
def test_pieces_slab_by_slab_are_those_of_the_whole(tmp_path, most_voxels):
    values = RANDOM.choice(np.array([0, 1, 2, 3], np.uint8), (11, 12, 13), p=[0.7, 0.1, 0.1, 0.1])
    values[:, 5, 5] = 9
    write_array(tmp_path / "one.zarr", "crop1/mito", values, grid_for(values), chunks=(3, 5, 13))
    with open_files(tmp_path / "one.zarr") as files:
        array = read_array(files, find_crops(files, None).crops["crop1"]["mito"])
        ids, voxels = measure_pieces(array, most_voxels)
    pieces, number = cc3d.connected_components(values, return_N=True)
    expected = [(values[pieces == n][0], int((pieces == n).sum())) for n in range(1, number + 1)]
    assert sorted(zip(ids.tolist(), voxels.tolist(), strict=True)) == sorted(expected)


def test_numbers_of_values_are_those_of_numpy(tmp_path):
    values = RANDOM.integers(0, 5, (9, 10, 11)).astype(np.int8) - 1
    write_array(tmp_path / "one.zarr", "crop1/er", values, grid_for(values))
    with open_files(tmp_path / "one.zarr") as files:
        seen = look_at(read_array(files, find_crops(files, None).crops["crop1"]["er"]))
    assert (seen.voxels, seen.foreground) == (values.size, np.count_nonzero(values))
    assert (seen.low, seen.high) == (-1, 3)
    np.testing.assert_array_equal(seen.counts, np.bincount(values.view(np.uint8).ravel(), minlength=256))
