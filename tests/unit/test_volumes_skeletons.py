"""Skeletons of every format become the same three arrays, and a pickle can bring nothing but a graph."""

from __future__ import annotations

import collections
import functools
import importlib
import operator
import os
import pickle
import re
import subprocess
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
        Call(exec, "open('PATH', 'w')"),
        Call(subprocess.run, ["touch", "PATH"]),
        Call(networkx.read_gml, "PATH"),
        Call(networkx.write_edgelist, networkx.Graph(), "PATH"),
        Call(importlib.import_module, "antigravity"),
        Call(operator.attrgetter, "__class__.__base__"),
        Call(functools.partial, print),
        collections.Counter("a"),
    ],
    ids=[
        "os.system",
        "eval",
        "getattr",
        "numpy.load",
        "exec",
        "subprocess",
        "networkx.read",
        "networkx.write",
        "import",
        "attrgetter",
        "partial",
        "Counter",
    ],
)
def test_a_pickle_that_asks_for_more_is_refused_and_runs_nothing(tmp_path: Path, evil: object) -> None:
    victim = tmp_path / "touched"
    if isinstance(evil, Call):
        function, arguments = evil.call
        evil = Call(function, *(a.replace("PATH", str(victim)) if isinstance(a, str) else a for a in arguments))
    carrier = graph()
    carrier.graph["payload"] = evil
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(carrier))
    with pytest.raises(
        DataError, match=r"a\.pkl was not read.*it asks for .*which no graph of skeletons needs.*SWC or npz"
    ):
        load_skeletons(tmp_path / "a.pkl")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("networkx.classes.graph", "Graph.__init__.__globals__"),
        ("networkx.classes.graph", "nx"),
        ("networkx.classes.graph", "_dispatchable"),
        ("networkx.utils.decorators", "argmap"),
        ("networkx.drawing.nx_agraph", "view_pygraphviz"),
        ("builtins", "dict.__class__"),
        ("builtins", "__import__"),
        ("numpy", "ndarray.tofile"),
        ("numpy.core.multiarray", "fromfile"),
        ("posix", "system"),
    ],
)
def test_a_name_beside_the_allowed_ones_is_refused(tmp_path: Path, module: str, name: str) -> None:
    words = (module.encode(), name.encode())
    text = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(word)]) + word for word in words) + b"\x93."
    (tmp_path / "a.pkl").write_bytes(text)
    said = f"asks for {module}.{name}".replace("numpy.core", "numpy._core")
    with pytest.raises(DataError, match=re.escape(said)):
        load_skeletons(tmp_path / "a.pkl")


def test_ids_keep_every_digit_or_are_refused(tmp_path: Path) -> None:
    made = networkx.Graph()
    for number, name in enumerate((0, 2**53 + 1, 2**63 - 1)):
        made.add_node(number, id=np.uint64(name), nm_position=np.zeros(3))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(made))
    assert load_skeletons(tmp_path / "a.pkl").node_skeleton_id.tolist() == [0, 2**53 + 1, 2**63 - 1]
    for large in (np.uint64(2**63), 2**63, 2**64, -(2**64), 1.5, "7", None, float(2**53)):
        made.nodes[0]["id"] = large
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(made))
        with pytest.raises(DataError, match=r"a\.pkl: skeletons: a skeleton id is not a whole number that fits"):
            load_skeletons(tmp_path / "a.pkl")


@pytest.mark.parametrize("position", [[0, 1], [0, 1, np.inf], "abc", None, [[0, 1, 2]]])
def test_a_pickle_with_bad_positions_is_refused(tmp_path: Path, position: object) -> None:
    made = graph()
    for node in made.nodes:
        made.nodes[node]["nm_position"] = position
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(made))
    with pytest.raises(DataError, match=r"a\.pkl"):
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
        ("1 0 1 2 3 1 -1\n2 0 1 2 3 1 1\n1 0 4 5 6 1 2", "the node 1 comes twice"),
        ("1 0 nan 2 3 1 -1", r"a\.swc: skeletons: the position of node 0 is not finite"),
        ("1 0 2 inf 3 1 -1", r"a\.swc: .* not finite"),
        ("nan 0 1 2 3 1 -1", r"a\.swc: skeletons: a node is not a whole number"),
        ("1.5 0 1 2 3 1 -1", r"a\.swc: skeletons: a node is not a whole number"),
        ("1 0 1 2 3 1 -1\n2 0 1 2 3 1 1.5", r"a\.swc: skeletons: a parent is not a whole number"),
        (f"{2**53} 0 1 2 3 1 -1", r"a node is not a whole number that fits.*below 2\*\*53"),
        ("1 0 1 2 3 1 2\n2 0 1 2 3 1 1", r"a\.swc: the parents of some nodes lead round in a circle"),
        ("1 0 1 2 3 1 1", "round in a circle"),
        ("1 0 1 2 3 1 -1\n2 0 1 2 3 1 3\n3 0 1 2 3 1 2", "round in a circle"),
    ],
)
def test_a_bad_swc_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.swc").write_text(text)
    with pytest.raises(DataError, match=message):
        load_skeletons(tmp_path / "a.swc")


def test_swc_in_any_order_with_several_roots(tmp_path: Path) -> None:
    lines = [
        "# children first",
        "3 0 5 0 0 1 2",
        "2 0 4 0 0 1 7 # and so on",
        "7 0 3 0 0 1 -1",
        "9 0 0 1 0 1 -1",
        "",
        "1 0 0 2 0 1 9",
    ]
    (tmp_path / "5.swc").write_text("\r\n".join(lines))
    found = load_skeletons(tmp_path / "5.swc")
    assert found.edges.tolist() == [[0, 1], [1, 2], [4, 3]]
    assert found.node_pos_nm[:, 2].tolist() == [5, 4, 3, 0, 0]
    (tmp_path / "5.swc").write_text("# nothing\n")
    assert load_skeletons(tmp_path / "5.swc").edges.shape == (0, 2)


def test_swc_takes_large_ids_from_names_and_refuses_too_large_ones(tmp_path: Path) -> None:
    (tmp_path / "3.swc").write_text(SWC)
    (tmp_path / f"{2**63 - 1}.swc").write_text(SWC)
    assert np.unique(load_skeletons(tmp_path).node_skeleton_id).tolist() == [3, 2**63 - 1]
    for large in (2**63, 2**64 + 5):
        (tmp_path / f"{large}.swc").write_text(SWC)
        with pytest.raises(DataError, match=rf"{large}\.swc: skeletons: a skeleton id is not a whole number that fits"):
            load_skeletons(tmp_path)
        (tmp_path / f"{large}.swc").unlink()


def save_arrays(path: Path, edges: object, ids: object, positions: object) -> Path:
    np.savez(path, edges=edges, node_skeleton_id=ids, node_pos_nm=positions)
    return path


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            np.array([2**63], np.uint64),
            r"s\.npz: skeletons: a skeleton id.*got uint64 up to 9223372036854775808.*renumber",
        ),
        (np.array([2.0**53]), r"s\.npz: skeletons: a skeleton id.*float64"),
        (np.array([0.5]), r"s\.npz: skeletons: a skeleton id"),
        (np.array([np.nan]), r"s\.npz: skeletons: a skeleton id"),
        (np.array(["7"]), r"s\.npz: skeletons: a skeleton id.*got <U1"),
        (np.array([7], object), r"s\.npz cannot be read as skeletons \(Object arrays cannot be loaded"),
        (np.array([[7]]), r"s\.npz: skeletons: one id per node"),
    ],
    ids=["2**63", "float 2**53", "half", "nan", "text", "objects", "square"],
)
def test_an_npz_with_bad_ids_is_refused(tmp_path: Path, ids: np.ndarray, message: str) -> None:
    save_arrays(tmp_path / "s.npz", np.zeros((0, 2), int), ids, np.zeros((1, 3)))
    with pytest.raises(DataError, match=message):
        load_skeletons(tmp_path / "s.npz")


@pytest.mark.parametrize("name", ["edges", "node_skeleton_id", "node_pos_nm"])
def test_an_npz_of_objects_runs_nothing(tmp_path: Path, name: str) -> None:
    arrays = {"edges": np.array(EDGES), "node_skeleton_id": np.array(IDS), "node_pos_nm": np.array(POSITIONS)}
    victim = tmp_path / "touched"
    arrays[name] = np.array([Call(os.system, f"touch {victim}")], object)
    np.savez(tmp_path / "s.npz", allow_pickle=True, **arrays)
    with pytest.raises(DataError, match=r"s\.npz cannot be read as skeletons \(Object arrays"):
        load_skeletons(tmp_path / "s.npz")
    assert not victim.exists()


def test_what_is_no_npz_by_content_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Call(os.system, f"touch {tmp_path / 'touched'}")))
    save_skeletons(tmp_path / "c.npz", Skeletons(np.array(EDGES), np.array(IDS), np.array(POSITIONS)))
    content = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(content[:60] + b"\xff" * 40 + content[100:])
    for name in "abc":
        with pytest.raises(DataError, match=rf"{name}\.npz cannot be read as skeletons"):
            load_skeletons(tmp_path / f"{name}.npz")
    assert not (tmp_path / "touched").exists()


def test_large_ids_come_back_as_they_were(tmp_path: Path) -> None:
    for dtype in (np.int64, np.uint64):
        ids = np.array([0, 2**53 + 1, 2**63 - 1], dtype)
        path = save_arrays(tmp_path / "s.npz", np.array([[0, 1]], np.uint64), ids, np.zeros((3, 3)))
        assert load_skeletons(path).node_skeleton_id.tolist() == [0, 2**53 + 1, 2**63 - 1]


def test_loops_lone_nodes_and_skeletons_of_no_length_are_kept(tmp_path: Path) -> None:
    edges = [[0, 1], [1, 2], [2, 0], [3, 4]]
    path = save_arrays(tmp_path / "s.npz", edges, [1, 1, 1, 2, 2, 3], np.zeros((6, 3)))
    found = load_skeletons(path)
    assert found.edges.tolist() == edges
    assert found.node_skeleton_id.tolist() == [1, 1, 1, 2, 2, 3]


def test_an_edge_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    edges = [[2, 1], [0, 1], [1, 0], [0, 1], [2, 2]]
    found = load_skeletons(save_arrays(tmp_path / "s.npz", edges, [1, 1, 1], np.zeros((3, 3))))
    assert found.edges.tolist() == [[2, 1], [0, 1]]
    assert "3 of 5 edges come again, or lead from a node to itself" in caplog.text


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
        (([(-1, 0)], IDS, POSITIONS), "names a node that does not exist.*got -1 to 0"),
        (([(0, 0.5)], IDS, POSITIONS), "an edge is not a whole number"),
        (([(0, 1, 2), (2, 3, 4)], IDS, POSITIONS), r"edges have another shape; expected \(number, 2\); got \(2, 3\)"),
        ((EDGES, IDS[:2], [[0, 1], [2, 3], [4, 5]]), r"positions have another shape.*got \(3, 2\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: tuple, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Skeletons(*(np.array(a) for a in arrays))
