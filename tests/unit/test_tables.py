"""Tables: the bytes that are written, and that what is torn or lacks a column is named with its line."""

import csv
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectomake.cellmap.datasplit import SplitEntry, write_datasplit
from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest
from connectomake.errors import DataError, MissingDataError
from connectomake.geometry import Box
from connectomake.planning.stages import Row
from connectomake.planning.table import write_plan
from connectomake.split.class_voxels import AnnotatedCrop, write_class_voxels
from connectomake.split.table import SplitRow, write_split
from connectomake.synth.examples import Example
from connectomake.synth.examples import write_table as write_examples
from connectomake.synth.metrics.rows import Row as GeneratorRow
from connectomake.synth.metrics.rows import write_rows
from connectomake.tables import (
    ALL_QUOTED,
    COMMAS,
    PLAIN,
    QUOTED,
    append_row,
    read_lines,
    read_table,
    write_columns,
    write_table,
)

GRID = CropGrid((6, 5, 4), (1.74, 2.0, 2.0), (23837.13, 7599.0, 1e-7))
ODD = 'a "b"\tc'  # what no name should be, and an earlier version wrote all the same
STATES = {"present": 3, "absent": 10**12, "unknown": 0}
BOX = Box((0, 0, 0), (5, 6, 7))


def wrote(path: Path, write, *args) -> bytes:
    write(path, *args)
    return path.read_bytes()


def test_numbers_are_written_as_ever(tmp_path):
    columns = {
        "name": ["a", 'b "c"', "µ"],
        "float": np.array([0.1, 1e-7, nan]),
        "exact": [1 / 3, 1e22, -0.0],
        "none": [None, inf, 2.0],
        "int": np.array([2**63, 1, 0], np.uint64),
        "bool": [True, False, None],
        "small": np.array([0.1, 2, 3], np.float32),
    }
    assert wrote(tmp_path / "t.tsv", write_columns, columns).decode() == (
        "name\tfloat\texact\tnone\tint\tbool\tsmall\n"
        "a\t0.1\t0.3333333333333333\t\t9223372036854775808\tTrue\t0.10000000149011612\n"
        'b "c"\t1e-07\t1e+22\t\t1\tFalse\t2.0\n'
        "µ\t\t-0.0\t2.0\t0\t\t3.0\n"
    )


def test_every_table_is_written_as_ever(tmp_path):
    """Compare with what the writers wrote that each table once had of its own."""
    crop = AnnotatedCrop("v", "train", "jrc", ODD, "", "", ("mito",), {"mito": STATES, 'er "m"': STATES}, GRID)
    assert wrote(tmp_path / "class_voxels.tsv", write_class_voxels, [crop]).decode() == (
        "dataset\tcrop\tsplit\tclass\tpresent\tabsent\tunknown\n"
        'jrc\t"a ""b""\tc"\ttrain\tmito\t3\t1000000000000\t0\n'
        'jrc\t"a ""b""\tc"\ttrain\t"er ""m"""\t3\t1000000000000\t0\n'
    )
    rows = [
        SplitRow("v", "train", Path("v.json"), BOX, 1.0, "real", 2 / 3),
        SplitRow(ODD, "test", Path("x y.json"), BOX),
    ]
    assert wrote(tmp_path / "split.tsv", write_split, rows).decode() == (
        "volume\trole\tvolume_json\tbox_start_zyx_vx\tbox_stop_zyx_vx\tweight\tsource\tshare\n"
        "v\ttrain\tv.json\t0,0,0\t5,6,7\t1.0\treal\t0.6666666666666666\n"
        '"a ""b""\tc"\ttest\tx y.json\t0,0,0\t5,6,7\t1.0\t\t\n'
    )
    example = Example(
        "k_0", 'a "b", c', "all", "learn", Path("v.json"), BOX, (5, 6, 7), (40.0, 1 / 3, 4.0), (0.1, 255.0), "uint8"
    )
    assert wrote(tmp_path / "examples.tsv", write_examples, [example]).decode() == (
        "key\tclass\trole\tvolume\tsource\tbox_start_zyx_vx\tbox_stop_zyx_vx\tshape_zyx_vx\tvoxel_size_zyx_nm\tintensity\tdtype\n"
        'k_0\tall\tlearn\ta "b", c\tv.json\t0,0,0\t5,6,7\t5,6,7\t40.0,0.3333333333333333,4.0\t0.1,255.0\tuint8\n'
    )
    numbers = [
        GeneratorRow("*", "*", "ssim", nan, 3),
        GeneratorRow(ODD, "5x6x7", "mean", 0.1, 2, 1e-9, 4, "f", "lower"),
    ]
    write_rows(tmp_path / "metrics.tsv", tmp_path / "metrics.json", numbers, {})
    assert (tmp_path / "metrics.tsv").read_text() == (
        "class\tshape_zyx_vx\tmetric\tvalue\tn\treference\tn_reference\tfeatures\tbetter\n"
        "*\t*\tssim\t\t3\t\t0\tvoxels\tnone\n"
        '"a ""b""\tc"\t5x6x7\tmean\t0.1\t2\t1e-09\t4\tf\tlower\n'
    )
    manifest = [ManifestRow("crop7", "jrc", 'a "b", c', GRID)]
    assert wrote(tmp_path / "manifest.csv", write_manifest, manifest).decode() == (
        "crop_name,dataset,class_label,voxel_size,translation,shape\n"
        '7,jrc,"a ""b"", c",[1.74;2.0;2.0],[23837.13;7599.0;1e-07],[6;5;4]\n'
    )
    plan = [Row("decode", "x@a=1", 'a "b"', 3, 0.0, 1234.56, 1e-7, 2.5, 1 / 3, 'rate\tof "v"')]
    assert wrote(tmp_path / "plan.tsv", lambda path: write_plan(plan, path)).decode() == (
        "stage\tname\tvolume\tjobs\tgpu_hours\tcpu_hours\tstorage_gb\tmemory_gb\twall_hours\ttold_by\n"
        'decode\tx@a=1\t"a ""b"""\t3\t0\t1235\t1e-07\t2.5\t0.3333\t"rate\tof ""v"""\n'
    )
    entries = [SplitEntry("train", "/d/x.zarr/em", '/d/x.zarr/labels/"crop7"', ("mito", "er"))]
    assert wrote(tmp_path / "datasplit.csv", write_datasplit, entries).decode() == (
        '"train","/d/x.zarr","em","/d/x.zarr","labels/""crop7""/[mito,er]"\n'
    )


def test_a_course_grows_by_rows(tmp_path):
    path = tmp_path / "metrics.csv"
    append_row(path, ["step", "seconds", "dice/a,b", "loss"], {"step": 10, "seconds": "1.5"})
    append_row(path, ["step", "seconds", "dice/a,b", "loss"], {"loss": "0.1", "step": 20, "seconds": None})
    assert path.read_bytes() == b'step,seconds,"dice/a,b",loss\n10,1.5,,\n20,,,0.1\n'


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0"), max_size=8)


@given(rows=st.lists(st.tuples(TEXTS.filter(bool), TEXTS, st.floats(allow_nan=False, allow_infinity=False))))
@pytest.mark.parametrize("style", [PLAIN, QUOTED])
def test_what_is_written_is_read_again(tmp_path_factory, style, rows):
    path = tmp_path_factory.mktemp("written") / "t.tsv"
    write_table(path, ("a", "b", "c"), rows, style)
    found = read_table(path, ("c", "a"), "things", style)
    assert [(row["a"], row["b"], float(row["c"])) for row in found] == rows


@given(
    rows=st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), st.integers()), min_size=1
    )
)
def test_quotes_hold_whatever_there_is(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("written") / "t.tsv"
    write_table(path, ("a", "b"), rows, QUOTED)
    with path.open(encoding="utf-8", newline="") as file:
        assert [tuple(row) for row in csv.reader(file, delimiter="\t")][1:] == [(a, str(b)) for a, b in rows]


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\rb"])
def test_a_plain_table_holds_no_separators(tmp_path, text):
    with pytest.raises(DataError, match=r"t\.tsv: a row cannot be written; expected text without tabs and line ends"):
        write_table(tmp_path / "t.tsv", ("a", "b"), [("x", text)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\tb\n1\t2\n3\n", r"t\.tsv, line 3; expected 2 fields; got 1"),
        ("a\tb\n\n1\t2\t3\n", r"t\.tsv, line 3; expected 2 fields; got 3"),
        ("a\tc\n1\t2\n", r"t\.tsv is no table of things; expected the columns a, b; got one that lacks columns: b"),
        ("", r"t\.tsv is no table of things; .*lacks columns: a, b"),
        (b"\xff\xfe", r"t\.tsv is no table of things; expected a table of tab-separated text; got .*UTF-8"),
    ],
)
def test_what_is_no_whole_table_is_named_with_its_line(tmp_path, text, said):
    path = tmp_path / "t.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=said) as told:
        read_table(path, ("a", "b"), "things")
    assert "\n" not in str(told.value)
    with pytest.raises(MissingDataError, match=r"no table .*u\.tsv"):
        read_table(tmp_path / "u.tsv", (), "things")


def test_lines_are_counted_as_an_editor_does(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffa, "b"\r\n\r\n  # words, "\r\n"two\nlines",3\r\n4,5'.encode())
    lines = list(read_lines(path, "list", COMMAS, comment="#"))
    assert lines == [(1, ["a", "b"]), (4, ["two\nlines", "3"]), (6, ["4", "5"])]
    assert list(read_lines(path, "list", ALL_QUOTED, comment="#")) == lines
