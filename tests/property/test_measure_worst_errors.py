"""The worst errors against slow twins that follow the definitions node by node and voxel by voxel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.measure.contingency import contingency
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.measure.voxel_samples import REACH_VX, SAMPLE
from connectomake.measure.worst_errors import find_errors
from connectomake.measure.worst_voxel_errors import find_voxel_errors
from connectomake.volumes.skeletons import Skeletons
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import open_volume

ALL = 10**6
SEEDS = st.integers(0, 2**32)


def check(*strategies: st.SearchStrategy) -> Callable:
    return lambda test: settings(deadline=None, max_examples=60)(given(*strategies)(test))


@st.composite
def forests(draw: st.DrawFn) -> tuple[Skeletons, np.ndarray]:
    """Random trees of small whole-number steps, and a segment for each node that often is its parent's."""
    sizes = draw(st.lists(st.integers(1, 25), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(SEEDS))
    edges, position, segment = [], [], []
    for size in sizes:
        first = len(position)
        for k in range(size):
            parent = first + int(rng.integers(max(0, k - 3), k)) if k else -1
            if k:
                edges.append((parent, first + k))
            position.append((position[parent] if k else rng.integers(0, 9, 3)) + rng.integers(-2, 3, 3))
            stay = k and rng.random() < 0.5
            segment.append(segment[parent] if stay else int(rng.integers(0, 5)))
    ids = np.repeat(np.arange(len(sizes)), sizes)  # the first skeleton's id is 0
    position = np.array(position) * [20.0, 9.0, 9.0]
    return Skeletons(np.array(edges).reshape(-1, 2), ids, position), np.array(segment, np.uint64)


def find_all(skeletons: Skeletons, segment: np.ndarray, worst: int = ALL) -> list[dict]:
    table = find_errors(skeletons, segment, worst=worst, voxel_size_zyx_nm=(20, 9, 9), offset_zyx_nm=(0, 0, 0))
    return [dict(zip(table, row, strict=True)) for row in zip(*(c.tolist() for c in table.values()), strict=True)]


def slow_runs(skeletons: Skeletons, segment: np.ndarray) -> dict[tuple[int, int], float]:
    runs = {(int(s), int(g)): 0.0 for s, g in zip(skeletons.node_skeleton_id, segment, strict=True)}
    for u, v in skeletons.edges.tolist():
        if segment[u] == segment[v]:
            length = float(np.linalg.norm(skeletons.node_pos_nm[u] - skeletons.node_pos_nm[v]))
            runs[int(skeletons.node_skeleton_id[u]), int(segment[u])] += length
    return runs


def slow_splits(skeletons: Skeletons, segment: np.ndarray) -> dict[tuple[int, int, int], list[set[int]]]:
    """Return for each (skeleton, a, b), a < b, its places: the two nodes of an edge, or the nodes of a stretch."""
    graph, runs = nx.Graph(skeletons.edges.tolist()), slow_runs(skeletons, segment)
    found: dict[tuple[int, int, int], list[set[int]]] = {}
    for u, v in graph.edges:
        a, b = sorted((int(segment[u]), int(segment[v])))
        if a and a != b:
            found.setdefault((int(skeletons.node_skeleton_id[u]), a, b), []).append({u, v})
    for stretch in nx.connected_components(graph.subgraph([n for n in graph if segment[n] == 0])):
        s = int(skeletons.node_skeleton_id[next(iter(stretch))])
        around = {int(segment[n]) for node in stretch for n in graph[node]} - {0}
        if len(around) > 1:
            longest = min(around, key=lambda g: (-round(runs[s, g], 3), g))
            for g in around - {longest}:
                a, b = sorted((longest, g))
                found.setdefault((s, a, b), []).append(set(stretch))
    return found


@check(forests())
def test_splits_are_those_of_a_walk_along_the_graph(forest: tuple) -> None:
    skeletons, segment = forest
    expected, runs = slow_splits(*forest), slow_runs(*forest)
    rows = [row for row in find_all(*forest) if row["kind"] == "split"]
    found = {(row["truth_a"], *sorted((row["segment_a"], row["segment_b"]))): row for row in rows}
    assert found.keys() == expected.keys()
    assert len(found) == len(rows)
    for (s, a, b), row in found.items():
        assert row["lost_nm"] == pytest.approx(min(runs[s, a], runs[s, b]), abs=1e-3)
        assert runs[s, row["segment_b"]] == pytest.approx(row["lost_nm"], abs=1e-3)
        place = [row["z_nm"], row["y_nm"], row["x_nm"]]
        possible = []
        for nodes in expected[s, a, b]:
            at = skeletons.node_pos_nm[sorted(nodes)]
            possible += [at.mean(axis=0)] if (segment[sorted(nodes)] > 0).all() else list(at)
        assert np.isclose(possible, place).all(axis=1).any()


@check(forests())
def test_missing_path_is_that_of_the_stretches_of_background_and_in_all_what_is_omitted(forest: tuple) -> None:
    skeletons, segment = forest
    length = np.linalg.norm(np.diff(skeletons.node_pos_nm[skeletons.edges], axis=1)[:, 0], axis=1)
    graph = nx.Graph(skeletons.edges.tolist())
    expected = []
    for stretch in nx.connected_components(graph.subgraph([n for n in graph if segment[n] == 0])):
        lost = length[np.isin(skeletons.edges, list(stretch)).any(axis=1)].sum()
        if lost:
            expected.append((int(skeletons.node_skeleton_id[min(stretch)]), pytest.approx(lost, abs=1e-3), stretch))
    rows = [row for row in find_all(*forest) if row["kind"] == "missing"]
    assert len(rows) == len(expected)
    assert [row["lost_nm"] for row in rows] == sorted((row["lost_nm"] for row in rows), reverse=True)
    omitted = length[(segment[skeletons.edges] == 0).any(axis=1)].sum()
    assert sum(row["lost_nm"] for row in rows) == pytest.approx(omitted, abs=0.05)
    for row in rows:
        place = [row["z_nm"], row["y_nm"], row["x_nm"]]
        assert any(
            (row["truth_a"], row["lost_nm"]) == (skeleton, lost)
            and np.isclose(skeletons.node_pos_nm[sorted(stretch)], place).all(axis=1).any()
            for skeleton, lost, stretch in expected
        )


@check(forests())
def test_mergers_are_those_that_the_metrics_count_and_void_all_their_path(forest: tuple) -> None:
    skeletons, segment = forest
    runs = slow_runs(*forest)
    members = {g: [s for s, h in runs if h == g] for g in {g for _, g in runs} - {0}}
    rows = [row for row in find_all(*forest) if row["kind"] == "merge"]
    counted = skeleton_metrics(skeletons.edges, skeletons.node_skeleton_id, skeletons.node_pos_nm, segment)
    joined = [g for g, held in members.items() if len(held) > 1]
    assert len(rows) + len(joined) == counted["n_non0_mergers"]
    for g in joined:
        here = [row for row in rows if row["segment_a"] == g]
        tree = nx.Graph([(row["truth_a"], row["truth_b"]) for row in here])
        assert nx.is_tree(tree)
        assert set(tree) == set(members[g])
        assert sum(row["lost_nm"] for row in here) == pytest.approx(sum(runs[s, g] for s in members[g]), abs=0.01)
        for row in here:
            own = skeletons.node_pos_nm[(skeletons.node_skeleton_id == row["truth_b"]) & (segment == g)]
            order = {s: (-round(runs[s, g], 3), s) for s in members[g]}
            before = [s for s in members[g] if order[s] < order[row["truth_b"]]]
            assert row["truth_a"] in before
            others = skeletons.node_pos_nm[np.isin(skeletons.node_skeleton_id, before) & (segment == g)]
            away = np.linalg.norm(own[:, None] - others, axis=2)
            i, j = np.nonzero(np.isclose(away, away.min()))
            place = [row["z_nm"], row["y_nm"], row["x_nm"]]
            assert np.isclose((own[i] + others[j]) / 2, place).all(axis=1).any()


@check(forests(), st.integers(0, 6))
def test_the_worst_come_first_and_fewer_are_the_first_of_all(forest: tuple, worst: int) -> None:
    every = find_all(*forest)
    for kind in ("split", "merge", "missing"):
        rows = [row for row in every if row["kind"] == kind]
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["lost_nm"] for row in rows] == sorted((row["lost_nm"] for row in rows), reverse=True)
        few = [row for row in find_all(*forest, worst=worst) if row["kind"] == kind]
        assert str(few) == str(rows[:worst])  # NaN is equal to nothing, its text is


@check(forests(), SEEDS)
def test_the_order_of_nodes_and_edges_changes_nothing(forest: tuple, seed: int) -> None:
    skeletons, segment = forest
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(segment))
    rank = np.argsort(order)
    edges = rank[rng.permuted(rng.permutation(skeletons.edges), axis=1)]
    turned = Skeletons(edges, skeletons.node_skeleton_id[order], skeletons.node_pos_nm[order])
    assert_same_rows(find_all(turned, segment[order]), find_all(*forest))


def assert_same_rows(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name, value in other.items():
            assert one[name] == (pytest.approx(value, nan_ok=True) if isinstance(value, float) else value), name


def slow_hash(place: int) -> int:
    place = (place ^ (place >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    place = (place ^ (place >> 27)) * 0x94D049BB133111EB % 2**64
    return place ^ (place >> 31)


def slow_place(truth: np.ndarray, labels: np.ndarray, part: tuple[int, int], whole: tuple[int, int]) -> list[int]:
    """Follow the definition of a voxel error's place with whole arrays."""
    held, other = ((truth == t) & (labels == g) for t, g in (part, whole))
    around, near = np.pad(other, REACH_VX), np.zeros_like(held)
    inner = tuple(slice(REACH_VX, REACH_VX + n) for n in held.shape)
    for axis in range(3):
        for step in range(-REACH_VX, REACH_VX + 1):
            near |= np.roll(around, step, axis)[inner]
    chosen = held & near if (held & near).any() else held
    voxels = sorted(np.argwhere(chosen).tolist(), key=lambda v: slow_hash(int(np.ravel_multi_index(v, truth.shape))))
    voxels = sorted(voxels[:SAMPLE])
    median = [sorted(axis)[(len(voxels) - 1) // 2] for axis in zip(*voxels, strict=True)]
    return min(voxels, key=lambda v: sum(((a - b) * s) ** 2 for a, b, s in zip(v, median, (2, 1, 1), strict=True)))


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Random truth and labels of large cells: unknown, background, a few objects."""
    rng = np.random.default_rng(draw(SEEDS))
    shape = draw(st.tuples(*[st.integers(1, 4)] * 3))
    pair = (rng.integers(low, 4, shape).repeat(3, 0).repeat(4, 1).repeat(5, 2) for low in (-1, 0))
    truth, labels = pair
    mixed = np.where(rng.random(truth.shape) < 0.7, np.maximum(truth, 0), labels)
    return truth.astype(np.int32), mixed.astype(np.uint64)


@settings(deadline=None, max_examples=15)
@given(label_pairs(), st.sampled_from([30, 10**6]), st.integers(1, 2))
def test_voxel_errors_are_those_of_whole_arrays(pair: tuple, block_vx: int, threads: int) -> None:
    truth, labels = pair
    with TemporaryDirectory() as folder:
        volumes = []
        for name, array in zip(("truth", "labels"), pair, strict=True):
            write_store(Path(folder, f"{name}.zarr"), array, voxel_size_zyx_nm=(2.0, 1.0, 1.0), chunk_zyx=(2, 4, 4))
            volumes.append(open_volume(Path(folder, f"{name}.zarr")))
        table = find_voxel_errors(contingency(*volumes), *volumes, worst=ALL, block_vx=block_vx, threads=threads)
    names = ("kind", "truth_a", "truth_b", "segment_a", "segment_b", "lost_vx", "z_vx", "y_vx", "x_vx")
    found = sorted(zip(*(table[name].tolist() for name in names), strict=True))
    assert found == sorted(slow_voxel_errors(truth, labels))


def slow_voxel_errors(truth: np.ndarray, labels: np.ndarray) -> list[tuple]:
    size = {
        (t, g): n
        for t in range(1, 4)
        for g in range(1, 4)
        if (n := int(np.count_nonzero((truth == t) & (labels == g))))
    }
    expected = [
        ("missing", t, t, 0, 0, n, *slow_place(truth, labels, (t, 0), (t, 0)))
        for t in range(1, 4)
        if (n := int(np.count_nonzero((truth == t) & (labels == 0))))
    ]
    for (t, g), n in size.items():
        owner = min((s for s, h in size if h == g), key=lambda s: (-size[s, g], s))
        largest = min((h for s, h in size if s == t), key=lambda h: (-size[t, h], h))
        if owner != t:
            expected.append(("merge", owner, t, g, g, n, *slow_place(truth, labels, (t, g), (owner, g))))
        elif largest != g:
            expected.append(("split", t, t, largest, g, n, *slow_place(truth, labels, (t, g), (t, largest))))
    return expected
