"""Every way in which one array can be wrong is found and named, and what only looks wrong is not."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checked_submission import (
    GRIDS,
    SHAPE,
    edit_json,
    make_mask,
    make_objects,
    pack,
    write_array,
    write_rows,
)
from numcodecs import LZMA, Delta, GZip, Zlib

from connectomake.cellmap.manifest import CropGrid, ManifestRow, read_manifest
from connectomake.submit.check.finding import Finding
from connectomake.submit.check.placement import _moved_vx
from connectomake.submit.check.submission import check_submission

MANIFESTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "cellmap"
GRID = GRIDS["crop557"]
SIZE, OFFSET = list(GRID.voxel_size_zyx_nm), list(GRID.offset_zyx_nm)


def find(path: Path, manifest: Path | None = None) -> list[tuple[str, str, str]]:
    return [(f.severity, f.where, f.what) for f in check_submission(path, manifest)]


def judge(top: Path, manifest: Path, values: np.ndarray, label: str = "er", **options: Any) -> list[Finding]:
    """Return the findings after one array of crop557 was replaced."""
    write_array(top, f"crop557/{label}", values, GRID, **options)
    found = check_submission(top, manifest)
    return [finding for finding in found if finding.where == f"crop557/{label}"]


def attributes(**changes: Any) -> dict[str, Any]:
    every = {"voxel_size": SIZE, "translation": OFFSET, "shape": list(SHAPE)} | changes
    return {key: value for key, value in every.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "severity", "says"),
    [
        ({"voxel_size": [4.0, 2.0, 2.0]}, "zero", "wrong voxel_size, expected [1.74, 2.0, 2.0], got [4.0, 2.0, 2.0]"),
        ({"voxel_size": SIZE[::-1]}, "zero", "wrong voxel_size"),
        ({"voxel_size": [1.75, 2.0, 2.0]}, "zero", "the scorer resamples, cuts and pads it"),
        ({"translation": [0, 0, 0]}, "zero", "wrong translation, expected [23837.13, 7599.0, 35999.0], got"),
        ({"translation": OFFSET[::-1]}, "zero", "wrong translation"),
        ({"translation": [OFFSET[0], OFFSET[1], OFFSET[2] + 4]}, "zero", "moves it by [0, 0, 1] voxels"),
        ({"translation": [OFFSET[0], OFFSET[1], OFFSET[2] + 0.5]}, "loses", "less than a voxel off"),
        ({"translation": None}, "note", "no attribute translation"),
        ({"voxel_size": None}, "note", "no attribute voxel_size"),
        ({"shape": [1, 2, 3]}, "note", "attribute shape is [1, 2, 3], but the array's is [6, 10, 14]"),
        ({"voxel_size": "4 nm"}, "fails", "attribute voxel_size is '4 nm', expected three numbers"),
        ({"voxel_size": [4.0, 4.0]}, "fails", "expected three numbers"),
        ({"voxel_size": 4.0}, "fails", "expected three numbers"),
        ({"voxel_size": [0.0, 2.0, 2.0]}, "fails", "expected sizes above 0"),
        ({"translation": [float("nan")] * 3}, "fails", "expected three numbers"),
    ],
)
def test_wrong_attributes(top, manifest, changes, severity, says):
    [found] = judge(top, manifest, make_mask(), attributes=attributes(**changes))
    assert found.severity == severity
    assert says in found.what
    reverse = any(value in (SIZE[::-1], OFFSET[::-1]) for value in changes.values())
    assert ("order x, y, z" in found.hint) == reverse


@pytest.mark.parametrize("names", [("resolution", "offset"), ("scale", "offset"), ("voxel_size", "translation")])
def test_other_names_of_attributes_are_accepted(top, manifest, names):
    assert judge(top, manifest, make_mask(), attributes=dict(zip(names, (SIZE, OFFSET), strict=True))) == []


def test_no_attributes_at_all(top, manifest):
    found = judge(top, manifest, make_mask(), attributes={})
    assert [finding.severity for finding in found] == ["note", "note"]


@pytest.mark.parametrize("shape", [SHAPE[::-1], (6, 10, 13), (1, 1, 1), (12, 20, 28)])
def test_a_wrong_shape(top, manifest, shape):
    found = judge(top, manifest, np.ones(shape, np.uint8))
    assert (found[0].severity, found[-1].what) == ("zero", "every voxel is foreground")
    assert found[0].what.startswith(f"wrong shape, expected [6, 10, 14], got {list(shape)}")
    assert ("order x, y, z" in found[0].hint) == (shape == SHAPE[::-1])


def test_coarser_voxels_over_the_crop_cost_points_only(top, manifest):
    """An array of half the resolution, with the crop's translation, as the challenge's own code writes it."""
    coarse = make_mask()[::2, ::2, ::2]
    own = attributes(voxel_size=[3.48, 4.0, 4.0], shape=None)
    [found] = judge(top, manifest, coarse, attributes=own)
    assert found.severity == "loses"
    both = judge(top, manifest, coarse * 255, attributes=own)
    assert [finding.severity for finding in both] == ["loses", "loses"]
    floats = judge(top, manifest, coarse.astype(np.float32), label="mito", attributes=own)
    assert "blends ids" in next(f.what for f in floats if "whole numbers" in f.what)


def test_far_finer_voxels_are_refused(top, tmp_path):
    write_array(top, "crop557/er", np.ones((17, 17, 17), np.uint8), GRID, attributes={"voxel_size": [1.0, 1.0, 1.0]})
    rows = [ManifestRow("crop557", "jrc_x", "er", CropGrid((1, 1, 1), (17.0, 17.0, 17.0), (0.0, 0.0, 0.0)))]
    found = check_submission(top, write_rows(tmp_path / "one.csv", rows))
    assert [f.severity for f in found if f.where == "crop557/er" and "at most 4096" in f.what] == ["fails"]


@pytest.mark.skipif(not MANIFESTS.is_dir(), reason="../shared/data/cellmap is not there")
@pytest.mark.parametrize("name", ["test", "train"])
def test_the_translation_of_a_manifest_is_never_moved(name):
    rows = read_manifest(MANIFESTS / f"{name}_crop_manifest.csv")
    for grid in {row.grid for row in rows}:
        offset, size = np.array(grid.offset_zyx_nm), np.array(grid.voxel_size_zyx_nm)
        assert _moved_vx(offset, grid) == [0, 0, 0], grid
        assert np.min(_moved_vx(offset + 2 * size, grid)) >= 1, grid
        assert np.max(_moved_vx(offset - 2 * size, grid)) <= -1, grid


@pytest.mark.parametrize("shape", [(10, 14), (1, *SHAPE)])
def test_other_than_three_axes(top, manifest, shape):
    file = top / "crop557/er/.zarray"
    edit_json(file, lambda meta: meta.update(shape=list(shape), chunks=[2] * len(shape)))
    [(severity, where, what)] = find(top, manifest)
    assert (severity, where) == ("fails", "crop557/er")
    assert f"{len(shape)} axes" in what


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dtype": "|O"}, "values of objects"),
        ({"dtype": "<U4"}, "values of type '<U4'"),
        ({"dtype": "nonsense"}, "values of type 'nonsense'"),
        ({"dtype": [["a", "|u1"]]}, "values of type"),
        ({"compressor": {"id": "crc32c"}}, "compressed or filtered by {'id': 'crc32c'}"),
        ({"filters": [{"id": "pickle"}]}, "compressed or filtered by {'id': 'pickle'}"),
        ({"filters": ["delta"]}, "compressed or filtered by 'delta'"),
        ({"zarr_format": 3}, "zarr_format 3, expected 2"),
        ({"order": "A"}, ".zarray cannot be read"),
        ({"shape": None}, ".zarray cannot be read"),
        ({"shape": [0, 10, 14]}, ".zarray cannot be read"),
        ({"fill_value": "none"}, ".zarray cannot be read"),
    ],
)
def test_metadata_that_the_scorer_cannot_read(top, manifest, change, says):
    edit_json(top / "crop557/er/.zarray", lambda meta: meta.update(change))
    [(severity, where, what)] = find(top, manifest)
    assert (severity, where) == ("fails", "crop557/er")
    assert says in what


@pytest.mark.parametrize("name", [".zarray", ".zattrs"])
@pytest.mark.parametrize("text", ["{", "[1]", "\ud800"])
def test_metadata_that_are_no_json(top, manifest, name, text):
    (top / "crop557/er" / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    [(severity, where, what)] = find(top, manifest)
    assert (severity, where) == ("fails", "crop557/er")
    assert f"{name} cannot be read" in what


@pytest.mark.parametrize("data", [b"", b"\x02\x01\x21\x01" + b"\xff" * 40])
@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_chunk_is_named(top, tmp_path, manifest, data, packed):
    (top / "crop557/er/0.1.0").write_bytes(data)
    path = pack(top, tmp_path / "a.zip") if packed else top
    [(severity, where, what)] = find(path, manifest)
    assert (severity, where) == ("fails", "crop557/er")
    assert "chunk 0.1.0 cannot be decoded" in what


def test_a_chunk_of_another_size_is_damaged(top, manifest):
    edit_json(top / "crop557/er/.zarray", lambda meta: meta.update(chunks=[4, 8, 7]))
    [(severity, where, what)] = find(top, manifest)
    assert (severity, where) == ("fails", "crop557/er")
    assert "expected 224 voxels, got 256" in what


def test_an_entry_of_a_zip_that_was_changed_is_damaged(top, tmp_path, manifest):
    packed = tmp_path / "a.zip"
    write_array(top, "crop557/er", make_mask(), GRID, compressor=None)  # stored as it is, to be found in the zip
    with zipfile.ZipFile(packed, "w") as stored:
        for file in sorted(path for path in top.rglob("*") if path.is_file()):
            stored.write(file, file.relative_to(top).as_posix())
        start = stored.getinfo("crop557/er/0.0.0").header_offset
    data = bytearray(packed.read_bytes())
    data[start + 60] ^= 1
    packed.write_bytes(data)
    [(severity, where, what)] = find(packed, manifest)
    assert (severity, where) == ("fails", "crop557/er")
    assert "Bad CRC" in what


def test_missing_chunks_are_background(top, manifest):
    (top / "crop557/er/0.0.0").unlink()
    assert find(top, manifest) == []


@pytest.mark.parametrize(("fill", "severity", "says"), [(None, "zero", "random"), (1, "loses", "count as 1")])
def test_missing_chunks_without_a_fill_of_0(top, manifest, fill, severity, says):
    write_array(top, "crop557/er", make_mask() + 1, GRID)
    before = find(top, manifest)
    edit_json(top / "crop557/er/.zarray", lambda meta: meta.update(fill_value=fill))
    assert find(top, manifest) == before
    write_array(top, "crop557/er", make_mask(), GRID)
    edit_json(top / "crop557/er/.zarray", lambda meta: meta.update(fill_value=fill))
    [(got, where, what)] = find(top, manifest)
    assert (got, where) == (severity, "crop557/er")
    assert what.startswith("6 of 8 chunks are not there")
    assert says in what


def test_chunks_that_are_named_otherwise_than_told(top, manifest):
    edit_json(top / "crop557/er/.zarray", lambda meta: meta.update(dimension_separator="/"))
    found = find(top, manifest)
    assert [(severity, where) for severity, where, _ in found] == [("zero", "crop557/er")]
    assert "2 files are no chunks of it" in found[0][2]
    edit_json(top / "crop557/er/.zarray", lambda meta: meta.update(dimension_separator="."))
    (top / "crop557/er/9.9.9").write_bytes(b"")
    [(severity, _, what)] = find(top, manifest)
    assert (severity, what) == ("note", "1 file is no chunk of it, such as 9.9.9")


def test_every_way_to_store_that_zarr_2_knows_is_right(top, manifest):
    ways = [
        {"compressor": None},
        {"compressor": Zlib()},
        {"compressor": GZip()},
        {"compressor": LZMA()},
        {"filters": [Delta(dtype="u2")]},
        {"order": "F"},
        {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"chunks": SHAPE},
        {"fill_value": 7},
    ]
    for way in ways:
        assert judge(top, manifest, make_mask().astype(np.uint16), label="mito", **way) == [], way


def test_large_arrays_that_are_not_compressed_are_noted(top, manifest, monkeypatch):
    monkeypatch.setattr("connectomake.submit.check.contents.LARGE_BYTES", 100)
    [found] = judge(top, manifest, make_mask(), compressor=None)
    assert (found.severity, "not compressed" in found.what) == ("note", True)


def test_numbers_that_the_connected_components_refuse(top, manifest):
    [found] = judge(top, manifest, make_mask().astype(">u2"), label="mito")
    assert (found.severity, found.hint) == ("fails", "write <u2")
    assert judge(top, manifest, make_mask().astype(">u2"), label="er") == []


def test_a_grid_that_fits_itself_needs_no_manifest(tmp_path):
    values = make_objects(30)
    write_array(tmp_path / "one.zarr", "crop1/mito", values, replace(GRID, shape_zyx=values.shape))
    assert check_submission(tmp_path / "one.zarr") == []
