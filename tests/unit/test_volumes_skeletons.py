"""Skeletons of every format become the same three arrays, and a pickle can bring nothing but a graph."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path

import networkx
import numpy as np
import pytest

from connectomake.errors import DataError, MissingDataError
from connectomake.volumes.skeletons import Skeletons, load_skeletons, save_skeletons

EDGES = [(0, 1), (1, 2), (3, 4)]
IDS = [7, 7, 7, 9, 9]
POSITIONS = [[0, 1, 2], [0, 1, 10], [20, 1, 10], [5, 5, 5], [5, 5, 9.5]]


def graph() -> networkx.Graph:
    made = networkx.Graph()
    for number, (name, position) in enumerate(zip(IDS, POSITIONS, strict=True)):
        xyz = np.array(position[::-1], np.float32)
        made.add_node(f"n{number}", id=np.uint64(name), nm_position=xyz, index_position=tuple(int(v) for v in xyz))
    made.add_edges_from((f"n{a}", f"n{b}", {"edge_length": np.float32(1)}) for a, b in EDGES)
    return made


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("touched", [False, True], ids=["plain", "with cached views"])
def test_nisb_pickle(tmp_path: Path, protocol: int, touched: bool) -> None:
    written = graph()
    if touched:  # networkx keeps the views in the instance, and so in the pickle
        _ = (written.nodes, written.edges, written.adj, written.degree)
    (tmp_path / "skeleton.pkl").write_bytes(pickle.dumps(written, protocol))
    found = load_skeletons(tmp_path / "skeleton.pkl")
    assert found.node_skeleton_id.tolist() == IDS
    np.testing.assert_array_equal(found.node_pos_nm, POSITIONS)
    assert sorted(tuple(sorted(edge)) for edge in found.edges.tolist()) == EDGES


def test_a_pickle_of_numpy_1_is_read(tmp_path: Path) -> None:
    text = pickle.dumps(graph(), 2).replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
    assert b"numpy.core.multiarray" in text
    (tmp_path / "skeleton.pkl").write_bytes(text)
    assert load_skeletons(tmp_path / "skeleton.pkl").node_skeleton_id.tolist() == IDS


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize(
    "evil",
    [
        Call(os.system, "touch PATH"),
        Call(eval, "open('PATH', 'w')"),
        Call(getattr, "", "join"),
        Call(np.load, "PATH"),
        Call(networkx.read_gml, "PATH"),
        collections.Counter("a"),
    ],
    ids=["os.system", "eval", "getattr", "numpy.load", "networkx.read", "Counter"],
)
def test_a_pickle_that_asks_for_more_is_refused_and_runs_nothing(tmp_path: Path, evil: object) -> None:
    victim = tmp_path / "touched"
    if isinstance(evil, Call):
        function, arguments = evil.call
        evil = Call(function, *(str(a).replace("PATH", str(victim)) for a in arguments))
    carrier = graph()
    carrier.graph["payload"] = evil
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(carrier))
    with pytest.raises(
        DataError, match=r"a\.pkl was not read.*it asks for .*which no graph of skeletons needs.*SWC or npz"
    ):
        load_skeletons(tmp_path / "a.pkl")
    assert not victim.exists()


def test_a_dotted_name_reaches_no_further(tmp_path: Path) -> None:
    names = (b"networkx.classes.graph", b"Graph.__init__.__globals__")
    text = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(name)]) + name for name in names) + b"\x93."
    (tmp_path / "a.pkl").write_bytes(text)
    with pytest.raises(DataError, match=r"asks for networkx\.classes\.graph\.Graph\.__init__\.__globals__"):
        load_skeletons(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": 1}), "does not hold skeletons as NISB writes them"),
        (pickle.dumps(graph())[:-40], "was not read"),
        (b"", "was not read"),
    ],
    ids=["dict", "cut short", "empty"],
)
def test_another_pickle_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_skeletons(tmp_path / "a.pkl")


def test_npz_comes_back(tmp_path: Path) -> None:
    skeletons = Skeletons(np.array(EDGES), np.array(IDS), np.array(POSITIONS))
    save_skeletons(tmp_path / "new" / "s.npz", skeletons)
    found = load_skeletons(tmp_path / "new" / "s.npz")
    for name in ("edges", "node_skeleton_id", "node_pos_nm"):
        np.testing.assert_array_equal(getattr(found, name), getattr(skeletons, name))
    assert (found.edges.dtype, found.node_pos_nm.dtype) == (np.int64, np.float64)
    save_skeletons(tmp_path / "none.npz", Skeletons(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3))))
    assert load_skeletons(tmp_path / "none.npz").edges.shape == (0, 2)


SWC = """# x, y, z in voxels of 8 nm
12 0 1 2 3 0.5 -1
5 0 1.5 2 3 0.5 12

3 0 4 5 6 0.5 5   # tip
"""


def test_swc_is_x_y_z_with_a_unit(tmp_path: Path) -> None:
    (tmp_path / "41.swc").write_text(SWC)
    found = load_skeletons(tmp_path / "41.swc", swc_unit_nm=8)
    np.testing.assert_array_equal(found.node_pos_nm, [[24, 16, 8], [24, 16, 12], [48, 40, 32]])
    assert found.edges.tolist() == [[1, 0], [2, 1]]
    assert found.node_skeleton_id.tolist() == [41, 41, 41]


def test_a_folder_of_swc(tmp_path: Path) -> None:
    for name in ("10", "9"):
        (tmp_path / f"{name}.swc").write_text(SWC)
    found = load_skeletons(tmp_path)
    assert found.node_skeleton_id.tolist() == [9] * 3 + [10] * 3
    assert found.edges.tolist() == [[1, 0], [2, 1], [4, 3], [5, 4]]
    (tmp_path / "cell.SWC").write_text(SWC)
    assert set(load_skeletons(tmp_path).node_skeleton_id) == {1, 2, 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 a 2 3 1 -1", r"a\.swc is not SWC"),
        ("1 0 2 3", r"a\.swc is not SWC.*seven numbers"),
        ("1 0 1 2 3 1 4", "names 4 as its parent"),
    ],
)
def test_a_bad_swc_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.swc").write_text(text)
    with pytest.raises(DataError, match=message):
        load_skeletons(tmp_path / "a.swc")


def test_missing_empty_and_unknown_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"s\.npz does not exist"):
        load_skeletons(tmp_path / "s.npz")
    with pytest.raises(DataError, match=r"holds no \.swc file"):
        load_skeletons(tmp_path)
    (tmp_path / "s.txt").touch()
    with pytest.raises(DataError, match=r"format of .*s\.txt is not known"):
        load_skeletons(tmp_path / "s.txt")
    (tmp_path / "s.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"s\.npz cannot be read as skeletons"):
        load_skeletons(tmp_path / "s.npz")
    np.savez(
        tmp_path / "t.npz", edges=np.zeros((1, 2), int), node_skeleton_id=np.zeros(0), node_pos_nm=np.zeros((0, 3))
    )
    with pytest.raises(DataError, match=r"t\.npz: skeletons: an edge names a node that does not exist"):
        load_skeletons(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([(0, 5)], IDS, POSITIONS), "names a node that does not exist.*got 0 to 5"),
        ((EDGES, IDS[:-1], POSITIONS), r"one id per node; expected \(5,\); got \(4,\)"),
        ((EDGES, IDS, [*POSITIONS[:-1], [0, np.nan, 0]]), "position of node 4 is not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: tuple, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Skeletons(*(np.array(a) for a in arrays))
