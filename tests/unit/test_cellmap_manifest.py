"""The challenge's manifests: read as they are and as people edit them, refused by row, written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectomake.cellmap.manifest import CropGrid, ManifestRow, group_by_crop, read_manifest, write_manifest
from connectomake.errors import DataError, MissingDataError

OFFICIAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "cellmap"
HEAD = "crop_name,dataset,class_label,voxel_size,translation,shape"
MITO = "557,jrc_ctl-id8-1,mito,[1.74;2.0;2.0],[23837.13;7599.0;35999.0],[600;500;400]"
GRID = CropGrid((600, 500, 400), (1.74, 2.0, 2.0), (23837.13, 7599.0, 35999.0))
ROW = ManifestRow("crop557", "jrc_ctl-id8-1", "mito", GRID)


def write(folder: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    path = folder / "manifest.csv"
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return path


@pytest.mark.parametrize(
    "lines",
    [
        [HEAD, MITO],
        ["", HEAD, "", MITO, ",,,,,", "  "],
        [HEAD, f"crop{MITO}"],
        [HEAD, f"0{MITO}"],
        [HEAD.replace(",", " , "), MITO.replace(",", " , ").replace(";", " ; ")],
        [f"{HEAD},note", f"{MITO},seen"],
        [f'"{HEAD.replace(",", chr(34) + "," + chr(34))}"', f'"{MITO.replace(",", chr(34) + "," + chr(34))}"'],
        ["shape,translation,voxel_size,class_label,dataset,crop_name", ",".join(reversed(MITO.split(",")))],
        [HEAD, MITO.replace("[", "").replace("]", "")],
    ],
    ids=["plain", "blank lines", "crop", "zero", "spaces", "more columns", "quoted", "other order", "no brackets"],
)
def test_a_manifest_is_read_as_people_edit_it(tmp_path: Path, lines: list[str]) -> None:
    assert read_manifest(write(tmp_path, *lines)) == [ROW]


@pytest.mark.parametrize(("encoding", "end"), [("utf-8-sig", "\n"), ("utf-8", "\r\n"), ("utf-8-sig", "\r\n")])
def test_a_manifest_is_read_as_spreadsheets_write_it(tmp_path: Path, encoding: str, end: str) -> None:
    assert read_manifest(write(tmp_path, HEAD, MITO, encoding=encoding, end=end)) == [ROW]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (MITO.replace("557", "x7"), "a crop's number"),
        (MITO.replace("557", "²"), "a crop's number"),
        (MITO.replace("557", "-1"), "a crop's number"),
        (MITO.replace("jrc_ctl-id8-1", " "), "a crop's number, a dataset and a class"),
        (MITO.replace("mito", ""), "a crop's number, a dataset and a class"),
        (MITO.replace("mito", "../mito"), "class_label; expected what can be the name of a folder; got ../mito"),
        (MITO.replace("mito", "er/mito"), "class_label"),
        (MITO.replace("[1.74;2.0;2.0]", "[2.0;2.0]"), r"voxel_size; expected \[z;y;x\]; got \[2.0;2.0\]"),
        (MITO.replace("[1.74;2.0;2.0]", ""), "voxel_size; .*got nothing"),
        (MITO.replace("7599.0", "y"), "translation; expected"),
        (MITO.replace("600", "600.5"), "shape; .*whole numbers"),
        (MITO.replace("600", "0"), "voxels of a size, at least one along each axis"),
        (MITO.replace("1.74", "-1.74"), "voxels of a size"),
        (MITO.replace("7599.0", "nan"), "at a place"),
        (MITO.replace("1.74", "inf"), "voxels of a size"),
        (MITO.replace(";", ","), "6 values; got 12.*semicolons"),
        (MITO.rpartition(",")[0], "6 values; got 5"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, line: str, said: str) -> None:
    good = MITO.replace("mito", "er")
    with pytest.raises(DataError, match=f"manifest.csv, row 4.*{said}"):
        read_manifest(write(tmp_path, HEAD, good, "", line))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (MITO, "row 5: mito of crop557 is in row 3 already"),
        (f"crop{MITO}", "row 5: mito of crop557 is in row 3 already"),
        (MITO.replace("mito", "er").replace("600", "601"), "row 5 and row 3 contradict each other about crop557"),
        (MITO.replace("mito", "er").replace("1.74", "1.75"), "row 5 and row 3 contradict each other"),
        (MITO.replace("mito", "er").replace("7599.0", "7600.0"), "row 5 and row 3 contradict each other"),
        (MITO.replace("mito", "er").replace("id8-1", "id8-2"), "row 5 and row 3 contradict each other"),
    ],
)
def test_rows_that_contradict_each_other_are_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_manifest(write(tmp_path, HEAD, "", MITO, MITO.replace("mito", "nuc"), line))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is no manifest.*got nothing"),
        ([HEAD], "has no rows"),
        ([MITO], "is no manifest; expected crop_name, dataset"),
        ([HEAD.replace("class_label", "class_labels"), MITO], "'class_labels' should be 'class_label'"),
        (["crop_number,collection,alignment,crop_url,em_url", "234,a,b,c,d"], "is no manifest.*got crop_number"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_manifest(write(tmp_path, *lines))


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no manifest .*manifest.csv; it is test_crop_manifest.csv"):
        read_manifest(tmp_path / "manifest.csv")
    path = tmp_path / "manifest.csv"
    path.write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(DataError, match="is no manifest; expected a table of comma-separated text"):
        read_manifest(path)


SIZES = st.tuples(*[st.floats(1e-3, 1e4)] * 3)
PLACES = st.tuples(*[st.floats(-1e9, 1e9)] * 3)
GRIDS = st.builds(CropGrid, st.tuples(*[st.integers(1, 10**6)] * 3), SIZES, PLACES)
LABELS = st.sets(st.sampled_from(["mito", "er_mem_all", "nuc", 'a "b", c']), min_size=1)


@given(crops=st.dictionaries(st.integers(0, 10**6), st.tuples(GRIDS, LABELS), min_size=1, max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, crops: dict) -> None:
    path = tmp_path_factory.mktemp("written") / "manifest.csv"
    rows = [ManifestRow(f"crop{n}", "jrc_a", label, grid) for n, (grid, labels) in crops.items() for label in labels]
    write_manifest(path, rows)
    found = read_manifest(path)
    assert found == rows
    assert [row.line for row in found] == list(range(2, len(rows) + 2))
    grouped = group_by_crop(found)
    assert {crop: {row.label for row in its} for crop, its in grouped.items()} == {
        f"crop{n}": labels for n, (_, labels) in crops.items()
    }


def test_it_is_written_as_the_challenge_writes_it(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", [ROW])
    assert (tmp_path / "manifest.csv").read_text().splitlines() == [HEAD, MITO]


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="../shared/data/cellmap is not there")
@pytest.mark.parametrize(("name", "rows", "crops"), [("test", 413, 16), ("train", 11786, 289)])
def test_the_official_manifests_are_read(tmp_path: Path, name: str, rows: int, crops: int) -> None:
    path = OFFICIAL / f"{name}_crop_manifest.csv"
    found = read_manifest(path)
    assert (len(found), len(group_by_crop(found))) == (rows, crops)
    assert len({row.label for row in found}) == 48
    write_manifest(tmp_path / "again.csv", found)
    assert (tmp_path / "again.csv").read_text().split() == path.read_text().split()
