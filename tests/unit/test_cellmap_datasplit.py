"""The challenge's table of crops: what users write is read, what we write the challenge's own loader reads."""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.cellmap.datasplit import SplitEntry, read_datasplit, write_datasplit
from connectomake.errors import DataError, MissingDataError

RAW, CROP = "jrc_x.zarr/recon-1/em/fibsem-uint8", "jrc_x.zarr/recon-1/labels/groundtruth/crop{}"


@pytest.fixture
def tree(tmp_path) -> Path:
    """Make the folders of a dataset with two crops."""
    for group in (RAW, CROP.format(1), CROP.format(2)):
        (tmp_path / group).mkdir(parents=True)
    return tmp_path


def five(tree: Path | str, number: int = 1, classes: str = "[mito,nuc]", usage: str = "train") -> str:
    container, group = f"{tree}/jrc_x.zarr", CROP.format(number).partition("/")[2]
    return f'"{usage}","{container}","{RAW.partition("/")[2]}","{container}","{group}/{classes}"'


def three(tree: Path | str, number: int = 1, classes: str = "[mito,nuc]", usage: str = "train") -> str:
    return f'{usage},{tree}/{RAW},"{tree}/{CROP.format(number)}/{classes}"'


def write(tree: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tree / "datasplit.csv"
    path.write_bytes(text.encode(encoding))
    return path


def read_as_the_toolbox_does(path: Path) -> list[tuple[str, str, str, list[str]]]:
    """Follow the challenge's own loader: two columns are one path, and brackets hold the classes."""
    found = []
    with path.open() as file:
        for row in csv.reader(file):
            raw, labels = os.path.join(row[1], row[2]), os.path.join(row[3], row[4])
            start, rest = labels.split("[")
            names, end = rest.split("]")
            found.append((row[0], raw, start + "{label}" + end, names.split(",")))
    return found


@pytest.mark.parametrize("line", [five, three])
def test_both_forms_are_read(tree, line):
    path = write(tree, line(tree) + "\n" + line(tree, 2, "[ nuc ]", "validate") + "\n")
    raw, labels = f"{tree}/{RAW}", f"{tree}/{CROP}"
    first, second = read_datasplit(path)
    assert first == SplitEntry("train", raw, labels.format(1), ("mito", "nuc"), 1)
    assert second == SplitEntry("validate", raw, labels.format(2), ("nuc",), 2)
    assert (first.dataset, first.crop) == ("jrc_x", "crop1")


@pytest.mark.parametrize(
    ("written", "classes"), [("[mito]/", ("mito",)), ("", ()), ("[]", ()), ("mito", ("mito",)), ("[mito,]", ("mito",))]
)
def test_classes_are_told_in_several_ways(tree, written, classes):
    (entry,) = read_datasplit(write(tree, three(tree, classes=written)))
    assert (entry.labels, entry.classes) == (f"{tree}/{CROP.format(1)}", classes)


def test_what_editors_and_spreadsheets_add_is_no_harm(tree):
    lines = ["# mine, \"and Tim's", "", three(tree) + ",,", ",,,,", ' "validate" , ' + five(tree, 2)[8:], "  # end"]
    entries = read_datasplit(write(tree, "\r\n".join(lines) + "\r\n", "utf-8-sig"))
    assert [(entry.usage, entry.crop, entry.row) for entry in entries] == [
        ("train", "crop1", 3),
        ("validate", "crop2", 5),
    ]


def test_relative_paths_start_at_the_working_folder_or_beside_the_table(tree, monkeypatch, tmp_path_factory):
    path = write(tree, five("."))
    (beside,) = read_datasplit(path)
    monkeypatch.chdir(tree)
    (here,) = read_datasplit(Path("datasplit.csv"))
    assert beside == here
    assert here.labels == f"{tree}/{CROP.format(1)}"
    assert here.raw == f"{tree}/{RAW}"


def test_paths_in_a_bucket_are_not_looked_for(tmp_path):
    (entry,) = read_datasplit(write(tmp_path, five("s3://bucket")))
    assert entry.labels == "s3://bucket/" + CROP.format(1)
    assert (entry.dataset, entry.classes) == ("jrc_x", ("mito", "nuc"))


def test_labels_outside_a_container_have_no_dataset(tmp_path):
    (tmp_path / "mine" / "crop7").mkdir(parents=True)
    (entry,) = read_datasplit(write(tmp_path, "train,mine,mine/crop7"))
    assert (entry.dataset, entry.crop) == ("", "crop7")


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda line: line.replace("train", "Train"), DataError, "row 2: the first column; expected train or validate"),
        (lambda line: line.replace('"', ""), DataError, "row 2; expected 5 columns, or 3.* double quotes"),
        (lambda line: line.replace("crop2", "crop3"), MissingDataError, "row 2: the labels .*crop3 do not exist"),
        (lambda line: line.replace("em/", "me/"), MissingDataError, "row 2: the images .*me/fibsem-uint8 do not exist"),
        (lambda line: line.replace("crop2", "../groundtruth/crop1"), DataError, "row 2: the crop .*crop1 is in row 1"),
        (lambda line: '"' + line, DataError, "row 2"),
    ],
)
def test_a_broken_row_is_named(tree, change, kind, message):
    path = write(tree, five(tree) + "\n" + change(five(tree, 2)) + "\n")
    with pytest.raises(kind, match=message):
        read_datasplit(path)


def test_a_header_is_told_as_such(tree):
    with pytest.raises(DataError, match=r"row 1: the first column.*got 'usage'; the table has no header"):
        read_datasplit(write(tree, "usage,raw,labels\n" + three(tree)))


def test_a_table_that_says_nothing_is_refused(tree):
    with pytest.raises(DataError, match="has no rows"):
        read_datasplit(write(tree, "# nothing\n\n"))
    with pytest.raises(DataError, match=r"cannot be read.*UTF-8"):
        read_datasplit(write(tree, five(tree), "utf-16"))
    with pytest.raises(MissingDataError, match="no split"):
        read_datasplit(tree / "absent.csv")


def test_what_is_written_is_read_by_both_loaders(tree):
    raw, labels = f"{tree}/{RAW}", f"{tree}/{CROP}"
    path = tree / "out.csv"
    write_datasplit(path, [SplitEntry("train", raw, labels.format(1), ("mito", "nuc"))])
    assert path.read_text() == five(tree) + "\n"
    assert read_as_the_toolbox_does(path) == [("train", raw, labels.format(1) + "/{label}", ["mito", "nuc"])]
    with pytest.raises(DataError, match="no classes of the crop"):
        write_datasplit(path, [SplitEntry("train", raw, labels.format(1))])


NAMES = st.text("ab1-_ ,#'\"é", min_size=1, max_size=8).map(lambda text: f"x{text}x")
ENTRIES = st.builds(
    lambda usage, folder, dataset, crop, classes: SplitEntry(
        usage,
        f"s3://{folder}/{dataset}.zarr/recon-1/em/fibsem-uint8",
        f"s3://{folder}/{dataset}.zarr/recon-1/labels/crop{crop}",
        classes,
    ),
    st.sampled_from(["train", "validate"]),
    NAMES,
    NAMES,
    st.integers(1, 999),
    st.lists(st.sampled_from(["mito", "nuc", "er_mem_all"]), min_size=1, unique=True).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=5, unique_by=lambda entry: entry.labels))
def test_written_entries_come_back(entries):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "datasplit.csv"
        write_datasplit(path, entries)
        read = read_datasplit(path)
        official = read_as_the_toolbox_does(path)
    assert [(e.usage, e.raw, e.labels, e.classes) for e in read] == [
        (e.usage, e.raw, e.labels, e.classes) for e in entries
    ]
    assert [row[1] for row in official] == [entry.raw for entry in entries]
    assert [row[2] for row in official] == [entry.labels + "/{label}" for entry in entries]
