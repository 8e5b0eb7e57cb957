"""The zip holds every class of every crop of the manifest, as the challenge reads it, with the same bytes each time."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest
import zarr
from small_submission import CLASSES, GRID, decode, read_class, write_rows

from connectomake.cellmap.manifest import CropGrid
from connectomake.errors import DataError, MissingDataError
from connectomake.files import read_json, write_json
from connectomake.submit.pack import pack_submission

CROPS = ("crop7", "crop12")


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("decoded")
    return [decode(folder / crop, crop=crop, seed=seed) for seed, crop in enumerate(CROPS)]


def test_every_class_of_every_crop_is_read_from_the_zip(
    tmp_path: Path, decoded: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_rows(tmp_path / "m.csv", (*CLASSES, "ecs"), crops=(*CROPS, "crop3"))
    out = tmp_path / "new/submission.zip"
    pack_submission(decoded, manifest, out)
    assert "8 of 18 arrays were not decoded and are empty: ecs (3), er (1), mito (1), nuc (1)" in caplog.text
    root = zarr.open_group(zarr.storage.ZipStore(out, mode="r"), mode="r", zarr_format=2)
    assert {name: sorted(group.array_keys()) for name, group in root.groups()} == {
        crop: sorted((*CLASSES, "ecs")) for crop in ("crop12", "crop3", "crop7")
    }
    for crop, group in root.groups():
        for name, array in group.arrays():
            assert array.metadata.zarr_format == 2
            assert array.shape == GRID.shape_zyx
            assert dict(array.attrs) == {
                "voxel_size": list(GRID.voxel_size_zyx_nm),
                "translation": list(GRID.offset_zyx_nm),
                "shape": list(GRID.shape_zyx),
            }
            there = crop in CROPS and name != "ecs"
            expected = read_class(decoded[CROPS.index(crop)], name) if there else np.zeros(GRID.shape_zyx)
            np.testing.assert_array_equal(array[...], expected)
    assert root["crop7/mito"][...].any()
    root.store.close()


def test_the_bytes_are_the_same_each_time(tmp_path: Path, decoded: list[Path]) -> None:
    manifest = write_rows(tmp_path / "m.csv", crops=CROPS)
    pack_submission(decoded, manifest, tmp_path / "a.zip")
    chunk = next((decoded[0].parent / "crop7/er").glob("[0-9]*"))
    os.utime(chunk, (1, 1))
    chunk.chmod(0o600)
    (chunk.parent / "0.0.0.5f.partial").write_bytes(b"half a chunk")
    backwards = write_rows(tmp_path / "b.csv", CLASSES[::-1], crops=CROPS[::-1])
    pack_submission(decoded[::-1], backwards, tmp_path / "b.zip")
    pack_submission(decoded, manifest, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    pack_submission(decoded[::-1], backwards, tmp_path / "c.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "c.zip").read_bytes()


def test_the_zip_holds_plain_files_in_order(tmp_path: Path, decoded: list[Path]) -> None:
    pack_submission(decoded[:1], write_rows(tmp_path / "m.csv"), tmp_path / "s.zip")
    with ZipFile(tmp_path / "s.zip") as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    assert names[:4] == [".zgroup", "crop7/.zgroup", "crop7/er/.zarray", "crop7/er/.zattrs"]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith(("/", "./")) or ".." in name or name.endswith("/")]
    for entry in entries:
        assert entry.compress_type == ZIP_STORED
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.external_attr >> 16 == stat.S_IFREG | 0o644


def test_what_the_manifest_does_not_ask_for_is_left_out(
    tmp_path: Path, decoded: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    pack_submission(decoded, write_rows(tmp_path / "m.csv", ("er",)), tmp_path / "s.zip")
    assert "not in the manifest and left out: crop12" in caplog.text
    with ZipFile(tmp_path / "s.zip") as archive:
        assert {name.rpartition("/")[0] for name in archive.namelist()} == {"", "crop7", "crop7/er"}


@pytest.mark.parametrize(
    "grid",
    [
        CropGrid((20, 40, 31), GRID.voxel_size_zyx_nm, GRID.offset_zyx_nm),
        CropGrid(GRID.shape_zyx, (4.0, 2.0, 2.01), GRID.offset_zyx_nm),
        CropGrid(GRID.shape_zyx, GRID.voxel_size_zyx_nm, (102.0, 51.0, 2.0)),
    ],
)
def test_a_crop_that_lies_elsewhere_is_named_with_the_row(tmp_path: Path, decoded: list[Path], grid: CropGrid) -> None:
    manifest = write_rows(tmp_path / "m.csv", ("er", "mito"), grid)
    with pytest.raises(DataError, match=r"crop.json and .*m.csv, row 2, contradict each other about crop7"):
        pack_submission(decoded, manifest, tmp_path / "s.zip")
    assert not (tmp_path / "s.zip").exists()


def test_what_the_challenge_would_not_score_is_refused(tmp_path: Path, decoded: list[Path]) -> None:
    manifest, out = write_rows(tmp_path / "m.csv"), tmp_path / "s.zip"
    with pytest.raises(DataError, match=r"too large together; expected at most 1e-06 GB .*got .*e-06 GB"):
        pack_submission(decoded, manifest, out, largest_gb=1e-6)
    with pytest.raises(DataError, match=r"cannot be called s.zarr; expected a name that ends in .zip"):
        pack_submission(decoded, manifest, tmp_path / "s.zarr")
    (tmp_path / "s.zarr").mkdir()
    with pytest.raises(DataError, match=r"s.zarr lies beside s.zip: the challenge's toolbox would score it"):
        pack_submission(decoded, manifest, out)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_crops_that_cannot_be_packed_are_named(tmp_path: Path, decoded: list[Path]) -> None:
    manifest, out = write_rows(tmp_path / "m.csv"), tmp_path / "s.zip"
    with pytest.raises(DataError, match="are of the same crop crop7"):
        pack_submission([decoded[0], decoded[0]], manifest, out)
    with pytest.raises(MissingDataError, match=r"crop.json does not exist"):
        pack_submission([tmp_path / "crop.json"], manifest, out)
    write_json(tmp_path / "crop.json", {"crop": "crop7"})
    with pytest.raises(DataError, match=r"crop\.json: classes is missing; .*run decode_crop again"):
        pack_submission([tmp_path / "crop.json"], manifest, out)
    write_json(tmp_path / "crop.json", read_json(decoded[0]))
    with pytest.raises(MissingDataError, match=r"no array .*er, which crop.json names"):
        pack_submission([tmp_path / "crop.json"], manifest, out)
    (tmp_path / "crop7/er").mkdir(parents=True)
    (tmp_path / "crop7/er/.zarray").write_text(json.dumps({"shape": [1, 2, 3]}))
    with pytest.raises(DataError, match=r"er/.zarray is not of crop7; expected \[20, 40, 30\]; got \[1, 2, 3\]"):
        pack_submission([tmp_path / "crop.json"], manifest, out)
    assert not out.exists()
