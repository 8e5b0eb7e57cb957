"""The second opinion: what funlib.evaluate is asked, what it answers, and what a difference is."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml

from connectomake.errors import MissingPackageError
from connectomake.measure.funlib_backend import compare_backends, funlib_metrics, require_funlib
from connectomake.measure.skeleton_metrics import skeleton_metrics

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "data" / "golden_metrics"
COUNTS = ("n_splits", "n_mergers", "n_non0_mergers", "n_omitted", "n_merged_edges", "n_correct")

# funlib.evaluate from its definitions, in plain Python over the same graph interface


def get_skeleton_lengths(skeletons, axes, id_attribute, store_edge_length):
    lengths = defaultdict(float)
    for u, v, data in skeletons.edges(data=True):
        apart = [skeletons.nodes[u][axis] - skeletons.nodes[v][axis] for axis in axes]
        data[store_edge_length] = float(np.linalg.norm(apart))
        lengths[skeletons.nodes[u][id_attribute]] += data[store_edge_length]
    return dict(lengths)


def evaluate_skeletons(skeletons, id_attribute, segment_of, return_merge_split_stats=False):
    holds = defaultdict(set)
    for node, data in skeletons.nodes(data=True):
        holds[segment_of[node]].add(data[id_attribute])
    merges = {segment: sorted(found) for segment, found in holds.items() if len(found) > 1}
    merged = {skeleton for found in merges.values() for skeleton in found}
    scores, splits = {}, defaultdict(list)
    for u, v in skeletons.edges():
        owner = skeletons.nodes[u][id_attribute]
        score = scores.setdefault(owner, SimpleNamespace(ommitted=0, split=0, merged=0, correct=0, correct_edges={}))
        a, b = segment_of[u], segment_of[v]
        if a == 0 or b == 0:
            score.ommitted += 1
        elif a != b:
            score.split += 1
            splits[owner].append((a, b))
        elif owner in merged and a in merges:
            score.merged += 1
        else:
            score.correct += 1
            score.correct_edges.setdefault(a, []).append((u, v))
    return (scores, {"merge_stats": merges, "split_stats": splits}) if return_merge_split_stats else scores


def expected_run_length(skeletons, id_attribute, length_attribute, segment_of, skeleton_lengths):
    total = np.float64(sum(skeleton_lengths.values()))
    erl = np.float64(0)
    for owner, score in evaluate_skeletons(skeletons, id_attribute, segment_of).items():
        length = np.float64(skeleton_lengths[owner])
        runs = [sum(skeletons.edges[e][length_attribute] for e in edges) for edges in score.correct_edges.values()]
        erl += length / total * sum(run * (run / length) for run in runs)
    return erl


def rand_voi(truth, test):
    assert truth.dtype == test.dtype == np.uint64, "the compiled function takes nothing else"
    pairs = Counter((s, g) for s, g in zip(truth.tolist(), test.tolist(), strict=True) if s)

    def entropy(counts):
        shares = np.array(list(counts.values()), float) / max(1, sum(counts.values()))
        return float(-(shares * np.log2(shares)).sum())

    def along(side):
        counts = Counter()
        for pair, n in pairs.items():
            counts[pair[side]] += n
        return entropy(counts)

    return {"voi_split": entropy(pairs) - along(0), "voi_merge": entropy(pairs) - along(1)}


@pytest.fixture
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("funlib.evaluate")
    for function in (get_skeleton_lengths, evaluate_skeletons, expected_run_length, rand_voi):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, "funlib", ModuleType("funlib"))
    monkeypatch.setitem(sys.modules, "funlib.evaluate", module)


def has_funlib() -> bool:
    return importlib.util.find_spec("funlib") is not None and importlib.util.find_spec("funlib.evaluate") is not None


def random_graph(seed: int, zero: int = 1) -> tuple[np.ndarray, ...]:
    """Make few ids at many nodes, so that segments merge, split and touch; edges join any two nodes, also twice."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    edges = rng.integers(0, n, (int(rng.integers(1, 2 * n)), 2))
    skeleton, segment = rng.integers(zero, 5, n), rng.integers(0, 6, n)
    return edges, skeleton, rng.random((n, 3)) * 1000, segment


def numbers_of(arrays: tuple[np.ndarray, ...], **settings: object) -> dict:
    return {k: v for k, v in skeleton_metrics(*arrays, **settings).items() if k != "per_skeleton"}


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.parametrize("seed", range(20))
def test_both_give_every_number_and_the_same(seed: int) -> None:
    arrays = random_graph(seed, zero=seed % 2)
    own = numbers_of(arrays, ignored_merger_nodes=(1, 3))
    other = funlib_metrics(*arrays, ignored_merger_nodes=(1, 3))
    assert own.keys() == other.keys()
    assert [name for name, found in compare_backends(own, other).items() if not found["within"]] == []
    assert [other[name] for name in COUNTS] == [own[name] for name in COUNTS]


@pytest.mark.usefixtures("_stand_in")
def test_a_small_contact_counts_only_where_its_skeleton_is_merged_elsewhere() -> None:
    """Skeleton 1 touches segment 9, where 2 and 3 merge, with 3 nodes; skeleton 4 merges with it in segment 1."""
    paths = [(1, [1] * 10 + [9] * 3), (2, [9] * 10), (3, [9] * 10), (4, [1] * 10)]
    skeleton = np.concatenate([[s] * len(g) for s, g in paths])
    segment = np.concatenate([g for _, g in paths])
    position = np.stack([skeleton * 100.0, np.zeros(43), np.arange(43.0)], axis=1)
    edges = np.array([(i, i + 1) for i in range(42) if skeleton[i] == skeleton[i + 1]])
    alone = skeleton < 4
    found = funlib_metrics(edges[alone[edges].all(axis=1)], skeleton[alone], position[alone], segment[alone])
    assert found["erl_5"] == pytest.approx((9**2 + 2**2) / 30)
    assert funlib_metrics(edges, skeleton, position, segment)["erl_5"] == 0


@pytest.mark.usefixtures("_stand_in")
def test_ids_beyond_2_to_the_53_are_renumbered_and_zero_stays() -> None:
    edges, skeleton, position, segment = random_graph(1, zero=0)
    big = np.where(segment > 0, np.uint64(2**53) + segment.astype(np.uint64), np.uint64(0)).astype(np.uint64)
    negative = np.where(skeleton > 0, -skeleton, 0)
    expected = funlib_metrics(edges, skeleton, position, segment)
    assert funlib_metrics(edges, negative, position, big) == pytest.approx(expected, nan_ok=True)


@pytest.mark.usefixtures("_stand_in")
def test_what_funlib_divides_by_zero_is_named(caplog: pytest.LogCaptureFixture) -> None:
    arrays = np.array([[0, 1], [2, 3]]), np.array([1, 1, 2, 2]), np.eye(4, 3) * [[1], [0], [0], [0]], np.array([5] * 4)
    separate = (*arrays[:3], np.array([5, 5, 6, 6]))
    own, other = numbers_of(separate), funlib_metrics(*separate)
    assert np.isnan(other["erl"])
    with caplog.at_level(logging.INFO):
        found = compare_backends(own, other)
    assert found["erl"] == {"own": own["erl"], "funlib": None, "difference": None, "within": False}
    assert found["n_mergers"]["within"]
    assert "length 0 makes funlib divide by 0" in caplog.text
    assert f"{len(own) - 11} of {len(own)} numbers agree" in caplog.text
    json.dumps(found, allow_nan=False)


@pytest.mark.usefixtures("_stand_in")
def test_no_nodes_are_no_opinion() -> None:
    assert funlib_metrics(np.zeros((0, 2)), np.zeros(0, int), np.zeros((0, 3)), np.zeros(0, int)) == {}


@pytest.mark.parametrize(
    ("name", "own", "other", "within"),
    [
        ("n_splits", 3, 3, True),
        ("n_splits", 100_000, 100_001, False),
        ("voi_sum", 1.0, 1.0 + 5e-10, True),
        ("voi_sum", 1.0, 1.0 + 5e-9, False),
        ("nerl_5", 0.5, 0.50004, True),
        ("nerl_5", 0.5, 0.5001, False),
        ("erl", float("nan"), float("inf"), True),
        ("erl", float("nan"), 1.0, False),
    ],
)
def test_tolerances(caplog: pytest.LogCaptureFixture, name: str, own: float, other: float, within: bool) -> None:
    found = compare_backends({name: own, "mine": 1.0}, {name: other, "theirs": 1.0})
    assert list(found) == [name]
    assert found[name]["within"] == within
    assert (name in caplog.text) != within


def test_causes_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    compare_backends({"n_splits": 1, "total_length": 1.0}, {"n_splits": 2, "total_length": 2.0})
    splits, length = (record.getMessage() for record in caplog.records)
    assert "no cause is known" in splits
    assert "float32" in length


def test_without_funlib_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "funlib", None)
    with pytest.raises(MissingPackageError, match=r"--software-deployment-method conda .*envs/funlib.yaml"):
        require_funlib()


def test_the_environment_pins_funlib_and_has_the_projects_versions() -> None:
    packages = yaml.safe_load((ROOT / "envs" / "funlib.yaml").read_text())["dependencies"]
    *conda, pip = packages
    project = dict(
        line.split("==")
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    *pinned, funlib = pip["pip"]
    assert funlib.startswith("git+https://github.com/funkelab/funlib.evaluate@")
    assert len(funlib.rpartition("@")[2]) == 40
    known = dict(line.split("==") for line in pinned) | dict(line.split("=") for line in conda if "=" in line)
    assert {"numpy", "scipy", "numba", "zarr"} <= known.keys()
    assert {name: version for name, version in known.items() if name in project} == {
        name: version for name, version in project.items() if name in known
    }


CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"] if GOLDEN.is_dir() else {}


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared/data/golden_metrics is not there")
@pytest.mark.skipif(not has_funlib(), reason="funlib.evaluate is not installed (envs/funlib.yaml)")
@pytest.mark.parametrize("name", CASES)
def test_funlib_itself_gives_banis_numbers(name: str) -> None:
    with np.load(GOLDEN / CASES[name]["file"]) as arrays:
        graph = [arrays[k] for k in ("edges", "node_skeleton_id", "node_pos_nm", "node_segment_id")]
    found = funlib_metrics(*graph)
    for key, expected in CASES[name]["banis"].items():
        if key == "adapted":
            continue
        if expected is None:
            assert not np.isfinite(found[key]), key
        else:
            assert found[key] == pytest.approx(expected, rel=1e-6, abs=1e-12), key
    compared = compare_backends(numbers_of(tuple(graph)), found)
    differing = {key for key, value in compared.items() if not value["within"]}
    assert {key for key in differing if compared[key]["funlib"] is not None} == set()
    assert bool(differing) == (name == "c12_zero_length_skeleton")
