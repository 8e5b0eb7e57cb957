"""The challenge's classes: the official table, tables that cannot be read, and unions of parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectomake.cellmap.classes import INSTANCE_CLASSES, find_parts, read_class_table
from connectomake.errors import DataError, MissingDataError

OFFICIAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "cellmap"
TABLE = {
    "a": frozenset({1}),
    "b": frozenset({2}),
    "c": frozenset({3}),
    "ab": frozenset({1, 2}),
    "bc": frozenset({2, 3}),
    "abc": frozenset({1, 2, 3}),
}
needs_official = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="the challenge's own tables are not beside the project"
)


def write(folder: Path, text: str) -> Path:
    (folder / "classes.csv").write_text(text)
    return folder / "classes.csv"


@needs_official
def test_the_official_table_is_read() -> None:
    table = read_class_table(OFFICIAL / "classes.csv")
    assert len(table) == 74
    assert table["mito"] == {3, 4, 5}
    assert table["pm"] == {2}
    atoms = {next(iter(ids)) for ids in table.values() if len(ids) == 1}
    assert all(ids <= atoms for ids in table.values())
    tested = (OFFICIAL / "tested_classes.csv").read_text().split()
    assert set(INSTANCE_CLASSES) <= set(tested) <= set(table)


@needs_official
def test_official_classes_are_made_of_parts() -> None:
    table = read_class_table(OFFICIAL / "classes.csv")
    assert find_parts("mito", ["mito_ribo", "mito_lum", "mito_mem", "nuc"], table) == (
        "mito_lum",
        "mito_mem",
        "mito_ribo",
    )
    assert find_parts("mito", ["mito_lum", "mito_mem", "nuc"], table) == ()
    assert find_parts("ne", ["np", "ne_mem", "ne_lum", "np_in"], table) == ("np", "ne_lum", "ne_mem")
    assert set(find_parts("cell", table.keys() - {"cell"}, table)) >= {"er", "nuc", "mito"} - {"ne"}


def test_a_table_is_read_with_blank_lines_and_without_parts(tmp_path: Path) -> None:
    table = read_class_table(write(tmp_path, 'a,1,""\n\n b ,2,\nab,7,"1,2"\n'))
    assert table == {"a": {1}, "b": {2}, "ab": {1, 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,id,parts\n", "row 1; expected name,id"),
        ('a,1,""\nb,2\n', "row 2; expected name,id.*got b,2"),
        ('a,1,""\nb,2,"1,x"\n', "row 2; expected"),
        ('a,1,""\n\na,2,""\n', "row 3: the class 'a' has no name or is there twice"),
        (',1,""\n', "row 1: the class '' has no name"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_class_table(write(tmp_path, text))


def test_a_missing_table_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no table of classes .*classes\.csv of the challenge's toolbox"):
        read_class_table(tmp_path / "classes.csv")


@given(name=st.sampled_from([*TABLE, "unknown"]), available=st.sets(st.sampled_from([*TABLE, "foreign"])))
def test_parts_lie_in_a_class_and_cover_it(name: str, available: set[str]) -> None:
    parts = find_parts(name, available, TABLE)
    assert set(parts) <= available
    inside = [other for other in available if other in TABLE and name in TABLE and TABLE[other] <= TABLE[name]]
    covered = frozenset().union(*(TABLE[other] for other in inside))
    if name in available:
        assert parts == (name,)
    elif name in TABLE and covered == TABLE[name]:
        assert frozenset().union(*(TABLE[part] for part in parts)) == TABLE[name]
        assert all(TABLE[part] <= TABLE[name] for part in parts)
    else:
        assert parts == ()
    assert parts == find_parts(name, sorted(available, reverse=True), TABLE), "whatever the order they are given in"
