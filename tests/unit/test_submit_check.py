"""A right submission has no findings; every way in which files and layout can be wrong is found and named."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from checked_submission import GRIDS, ROWS, make_mask, pack, write_array, write_rows
from small_volume import MADE

from connectomake.errors import DataError, MissingDataError
from connectomake.submit.arrays import create_array
from connectomake.submit.check.finding import describe_findings, is_good, summarise
from connectomake.submit.check.report import report_findings
from connectomake.submit.check.submission import check_submission
from connectomake.submit.pack import pack_submission


def told(path: Path, manifest: Path | None = None, **options) -> list[tuple[str, str, str]]:
    return [(f.severity, f.where, f.what) for f in check_submission(path, manifest, **options)]


def add(path: Path, name: str, data: bytes = b"x", mode: int = 0) -> None:
    with zipfile.ZipFile(path, "a") as packed:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        packed.writestr(entry, data)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("known", [True, False])
def test_a_right_submission_has_no_findings(top, tmp_path, manifest, known, threads):
    asked = manifest if known else None
    assert told(top, asked, threads=threads) == []
    assert told(top.parent, asked, threads=threads) == []  # a folder that holds it
    assert told(pack(top, tmp_path / "a.zip"), asked, threads=threads) == []
    assert told(pack(top, tmp_path / "b.zip", "any/sub.zarr/"), asked, threads=threads) == []
    assert told(pack(top, tmp_path / "c.zip", "./"), asked, threads=threads) == []


def test_what_is_packed_here_is_right(tmp_path, manifest):
    """One crop with objects and a mask, of which one class was not decoded, and a crop that was not decoded at all."""
    crop = GRIDS["crop557"]
    for label, values in (("mito", make_mask().astype(np.uint16)), ("er", make_mask())):
        create_array(tmp_path / "crop557" / label, crop, values.dtype, (4, 8, 8))[...] = values
    described = {
        "crop": "crop557",
        "dataset": "jrc_x",
        "folder": "crop557",
        "shape_zyx": crop.shape_zyx,
        "voxel_size_zyx_nm": crop.voxel_size_zyx_nm,
        "offset_zyx_nm": crop.offset_zyx_nm,
        "classes": {"mito": MADE, "er": MADE},
    }
    (tmp_path / "crop.json").write_text(json.dumps(described))
    pack_submission([tmp_path / "crop.json"], manifest, tmp_path / "submission.zip")
    assert told(tmp_path / "submission.zip", manifest) == []
    pack_submission([], manifest, tmp_path / "empty.zip")
    assert told(tmp_path / "empty.zip", manifest) == [("zero", "submission", "no array holds anything but 0")]


def test_folders_of_a_zip_may_be_entries(top, tmp_path, manifest):
    shutil.make_archive(str(tmp_path / "sub"), "zip", top)
    assert told(tmp_path / "sub.zip", manifest) == []


def test_missing_group_files_are_no_harm(top, manifest):
    for file in top.rglob(".zgroup"):
        file.unlink()
    assert told(top, manifest) == []


def test_crops_without_the_word_are_only_noted(top, manifest):
    for crop in GRIDS:
        (top / crop).rename(top / crop.removeprefix("crop"))
    for asked in (manifest, None):
        [(severity, where, what)] = told(top, asked)
        assert (severity, where) == ("note", "submission")
        assert "lack `crop`" in what


def test_a_link_in_a_zip(top, tmp_path):
    add(pack(top, tmp_path / "a.zip"), "crop557/mito/9.9.9", b"/etc/passwd", stat.S_IFLNK | 0o777)
    assert told(tmp_path / "a.zip") == [("fails", "crop557/mito/9.9.9", "is a link, which the scorer refuses")]


def test_links_in_a_folder(top):
    (top / "crop557" / "mito" / "0.0.0").rename(top.parent / "chunk")
    (top / "crop557" / "mito" / "0.0.0").symlink_to(top.parent / "chunk")
    (top / "crop557" / "mito" / "0.0.1").unlink()
    (top / "crop557" / "mito" / "0.0.1").symlink_to(top.parent / "nowhere")
    [(severity, where, what)] = told(top)
    assert (severity, where.rpartition("/")[0]) == ("fails", "crop557/mito")
    assert "is a link" in what
    assert "(and 1 more)" in what


@pytest.mark.parametrize("name", ["../x", "/x", "crop557/../../x", "./", "crop557/.."])
def test_entries_that_lead_out_or_are_the_root(top, tmp_path, name):
    add(pack(top, tmp_path / "a.zip"), name)
    [(severity, where, what)] = told(tmp_path / "a.zip")
    assert (severity, where) == ("fails", name)
    assert "leads out" in what


def test_a_name_with_dots_that_stays_inside_is_no_harm(top, tmp_path):
    add(pack(top, tmp_path / "a.zip"), "crop557/../.hidden")
    assert told(tmp_path / "a.zip") == []


def test_entries_of_windows(top, tmp_path):
    add(pack(top, tmp_path / "a.zip"), "crop557\\mito\\0.0.0")
    assert [(s, w) for s, w, _ in told(tmp_path / "a.zip")] == [("zero", "crop557\\mito\\0.0.0")]


def test_an_entry_that_is_there_twice(top, tmp_path):
    packed = pack(top, tmp_path / "a.zip")
    chunk = (top / "crop557/mito/0.0.0").read_bytes()
    with pytest.warns(UserWarning, match="Duplicate name"):
        add(packed, "crop557/mito/0.0.0", chunk)
    [(severity, where, what)] = told(packed)
    assert (severity, where) == ("loses", "crop557/mito/0.0.0")
    assert "more than once" in what


def test_an_encrypted_zip(top, tmp_path):
    packed = pack(top, tmp_path / "a.zip")
    data = bytearray(packed.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    packed.write_bytes(data)
    [(severity, _, what)] = told(packed)
    assert (severity, what) == ("fails", "is encrypted")


def test_an_unknown_way_of_compression(top, tmp_path):
    packed = pack(top, tmp_path / "a.zip")
    data = bytearray(packed.read_bytes())
    data[data.index(b"PK\x01\x02") + 10] = 9  # deflate64
    packed.write_bytes(data)
    [(severity, _, what)] = told(packed)
    assert severity == "fails"
    assert "by a method" in what


@pytest.mark.parametrize("length", [0, 100, -30])
def test_a_truncated_zip(top, tmp_path, length):
    packed = pack(top, tmp_path / "a.zip")
    packed.write_bytes(packed.read_bytes()[:length])
    [(severity, where, what)] = told(packed)
    assert (severity, where) == ("fails", "submission")
    assert "no zip, or not all of it" in what


def test_a_stale_sibling(top, tmp_path):
    packed = pack(top, top.with_suffix(".zip"))
    [(severity, where, what)] = told(packed)
    assert (severity, where) == ("fails", "sub.zarr")
    assert "ignores the zip" in what
    shutil.rmtree(top)
    assert told(packed) == []


@pytest.mark.parametrize("packed", [True, False])
def test_files_that_are_too_large(top, tmp_path, packed):
    path = pack(top, tmp_path / "a.zip") if packed else top
    total = sum(file.stat().st_size for file in top.rglob("*") if file.is_file())
    assert told(path, largest_gb=total / 2**30) == []
    [(severity, where, what)] = told(path, largest_gb=(total - 1) / 2**30)
    assert (severity, where) == ("fails", "submission")
    assert "expected at most" in what


def test_two_zarr_folders(top, manifest):
    shutil.copytree(top, top.parent / "other.zarr")
    [(severity, where, what)] = told(top.parent, manifest)
    assert (severity, where) == ("fails", "submission")
    assert "other.zarr, sub.zarr" in what


@pytest.mark.parametrize("known", [True, False])
def test_a_wrapper_folder(top, tmp_path, manifest, known):
    packed = pack(top, tmp_path / "a.zip", "my/submission/")
    [(severity, where, what)] = told(packed, manifest if known else None)
    assert (severity, where) == ("fails", "submission")
    assert "they lie in my/submission/" in what


def test_an_empty_submission(tmp_path, manifest):
    (tmp_path / "sub.zarr").mkdir()
    assert told(tmp_path / "sub.zarr", manifest) == [("fails", "submission", "it is empty")]
    (tmp_path / "sub.zarr" / ".zgroup").write_text("{}")
    [(severity, _, what)] = told(tmp_path / "sub.zarr", manifest)
    assert severity == "fails"
    assert "no folder of a crop" in what
    (tmp_path / "sub.zarr" / ".zgroup").unlink()
    (tmp_path / "sub.zarr" / "crop1").mkdir()
    assert told(tmp_path / "sub.zarr") == [("zero", "submission", "no arrays in the crops' folders")]


def test_missing_and_extra_crops(top, manifest):
    (top / "crop558").rename(top / "crop559")
    assert told(top, manifest) == [
        ("zero", "crop558", "no such folder: 3 classes are scored as missing"),
        ("note", "crop559", "a folder that is no crop to score: ignored"),
    ]


def test_missing_and_extra_classes(top, manifest):
    (top / "crop557/mito").rename(top / "crop557/mitos")
    missing, extra = check_submission(top, manifest)
    assert (missing.severity, missing.where) == ("zero", "crop557/mito")
    assert (extra.severity, extra.where, extra.hint) == ("note", "crop557/mitos", "did you mean 'mito'?")


def test_format_3(tmp_path, manifest):
    group = zarr.open_group(tmp_path / "sub.zarr", mode="w", zarr_format=3)
    for row in ROWS:
        group.create_array(f"{row.crop}/{row.label}", data=make_mask())
    found = told(tmp_path / "sub.zarr", manifest)
    assert [(s, w) for s, w, _ in found] == sorted(("zero", f"{row.crop}/{row.label}") for row in ROWS)
    assert all("Zarr format 3" in what for *_, what in found)


@pytest.mark.parametrize("is_ome", [True, False])
def test_groups_instead_of_arrays(top, manifest, is_ome):
    shutil.rmtree(top / "crop557/mito")
    for level in ("s0", "s1"):
        write_array(top, f"crop557/mito/{level}", make_mask(), GRIDS["crop557"])
    if is_ome:
        (top / "crop557/mito/.zattrs").write_text(json.dumps({"multiscales": []}))
    [(severity, where, what)] = told(top, manifest)
    assert (severity, where) == ("zero", "crop557/mito")
    assert what.startswith(f"{'an OME multiscale group' if is_ome else 'a group'} (s0, s1)")


def test_a_folder_that_is_no_array(top, manifest):
    (top / "crop557/mito/.zarray").unlink()
    [(severity, where, what)] = told(top, manifest)
    assert (severity, where) == ("zero", "crop557/mito")
    assert "without .zarray" in what


def test_a_crop_that_is_an_array(top, manifest):
    shutil.copy(top / "crop557/mito/.zarray", top / "crop557/.zarray")
    [(severity, where, what)] = told(top, manifest)
    assert (severity, where) == ("fails", "crop557")
    assert "is an array" in what


@pytest.mark.parametrize(("place", "where"), [("", "submission"), ("crop557/", "crop557")])
def test_a_group_that_cannot_be_opened(top, manifest, place, where):
    (top / f"{place}.zgroup").write_text("{")
    [(severity, at, what)] = told(top, manifest)
    assert (severity, at) == ("fails", where)
    assert ".zgroup cannot be read" in what


def test_bad_input_is_named(top, tmp_path):
    with pytest.raises(MissingDataError, match="no submission"):
        check_submission(tmp_path / "nothing.zip")
    with pytest.raises(MissingDataError, match="no manifest"):
        check_submission(top, tmp_path / "nothing.csv")
    twice = write_rows(tmp_path / "twice.csv", [ROWS[0], ROWS[0]])
    with pytest.raises(DataError, match="row 3"):
        check_submission(top, twice)


def test_findings_are_ordered_and_summed_up(top, manifest):
    shutil.rmtree(top / "crop558/er")
    (top / "crop557/er/.zarray").write_text("?")
    (top / "crop999").mkdir()
    found = check_submission(top, manifest)
    assert [f.severity for f in found] == ["fails", "zero", "note"]
    assert str(found[1]).startswith("zero   crop558/er  no such array: it is scored as missing; write one")
    assert summarise(found) == "1 fails, 1 zero, 0 loses, 1 note: do not submit"
    assert not is_good(found)
    assert is_good(found[2:])
    described = describe_findings(top, manifest, found)
    assert described["verdict"] == "bad"
    assert described["counts"] == {"fails": 1, "zero": 1, "loses": 0, "note": 1}
    assert json.loads(json.dumps(described)) == described


def test_a_job_writes_the_findings_and_logs_the_lines(top, manifest, tmp_path, caplog, capsys):
    shutil.rmtree(top / "crop558/er")
    found = check_submission(top, manifest)
    assert report_findings(top, manifest, found, file=tmp_path / "check.json", as_json=False) == 1
    assert json.loads((tmp_path / "check.json").read_text())["findings"][0]["where"] == "crop558/er"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [str(found[0])]
    assert capsys.readouterr().out == ""
    assert report_findings(top, manifest, [], file=None, as_json=False) == 0
    assert capsys.readouterr().out == "0 fails, 0 zero, 0 loses, 0 note: good to submit\n"


def test_the_script_tells_by_lines_or_json_and_by_its_status(top, manifest, project):
    def check(*more: str) -> subprocess.CompletedProcess:
        script = str(project / "scripts/check_submission.py")
        return subprocess.run([sys.executable, script, *more], capture_output=True, text=True, check=False)

    good = check(str(top), "--manifest", str(manifest), "--json")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["verdict"] == "good"
    shutil.rmtree(top / "crop558/er")
    bad = check(str(top), "--manifest", str(manifest))
    assert bad.returncode == 1
    line, last = bad.stdout.splitlines()
    assert line.startswith("zero   crop558/er  no such array")
    assert last.endswith("do not submit")
