"""The second opinion: skeleton metrics by funlib.evaluate, and how they compare with our own.

funlib.evaluate (Funke lab) is what the NISB leaderboard computes with. It finds mergers, classes edges and adds up
runs; what BANIS puts on top (counts, max ERL, mergers of more than K nodes) is asked of it here, not computed anew.
"""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from connectomake.errors import MissingPackageError

log = logging.getLogger(__name__)

VOI_TOLERANCE = 1e-9  # absolute: both sides count in float64
LENGTH_TOLERANCE = 1e-4  # relative: funlib adds up float32 lengths one by one
_ID, _LENGTH = "id", "length"
_AXES = ("z", "y", "x")


def require_funlib() -> Any:
    """Import funlib.evaluate; call it before long work that ends in `funlib_metrics`.

    Raises
    ------
    MissingPackageError
        When it cannot be imported.
    """
    try:
        return importlib.import_module("funlib.evaluate")
    except ImportError as error:
        raise MissingPackageError(
            "measure.backend asks for funlib.evaluate, which cannot be imported",
            got=error,
            hint="run snakemake with --software-deployment-method conda (it makes envs/funlib.yaml), install it as "
            "that file does, or set measure.backend to own",
        ) from error


def funlib_metrics(
    edges: np.ndarray,
    node_skeleton_id: np.ndarray,
    node_pos_nm: np.ndarray,
    node_segment_id: np.ndarray,
    *,
    ignored_merger_nodes: Sequence[int] = (5, 20, 100),
) -> dict[str, Any]:
    """Compute the numbers of `skeleton_metrics` with funlib.evaluate.

    About 1 s for 50,000 nodes: it walks over nodes and edges in Python, once for each ERL.

    Parameters
    ----------
    edges, node_skeleton_id, node_pos_nm, node_segment_id, ignored_merger_nodes
        As for `skeleton_metrics`. Ids of any integer type: funlib holds some as float64, so they are renumbered first.

    Returns
    -------
    dict
        All numbers of `skeleton_metrics`, without its table; NaN where funlib divides by a length of 0. Empty where
        there are no nodes, which funlib cannot take.

    Raises
    ------
    MissingPackageError
        When funlib.evaluate is not installed.
    """
    funlib = require_funlib()
    if not len(node_skeleton_id):
        return {}
    skeleton, segment = _renumber(node_skeleton_id), _renumber(node_segment_id)
    graph = _Graph(np.asarray(edges, np.int64).reshape(-1, 2), skeleton, np.asarray(node_pos_nm, np.float64))
    found = dict(enumerate(segment.tolist()))
    with np.errstate(divide="ignore", invalid="ignore"):  # skeletons of length 0: funlib gives NaN
        lengths = funlib.get_skeleton_lengths(graph, _AXES, _ID, store_edge_length=_LENGTH)
        numbers = _counts(funlib, graph, found) | {"total_length": float(sum(lengths.values()))}
        perfect = dict(enumerate(skeleton.tolist()))
        numbers["max_erl"] = _expected(funlib, graph, perfect, lengths)
        for suffix, nodes in _ignored(ignored_merger_nodes).items():
            seen = graph.seen_at(_in_large_pairs(skeleton, segment, nodes))
            erl = _expected(funlib, seen, found, lengths)
            numbers |= {f"erl{suffix}": erl, f"nerl{suffix}": float(np.float64(erl) / numbers["max_erl"])}
    voi = funlib.rand_voi(skeleton.astype(np.uint64), segment.astype(np.uint64))
    split, merge = float(voi["voi_split"]), float(voi["voi_merge"])
    return numbers | {"voi_split": split, "voi_merge": merge, "voi_sum": split + merge}


def compare_backends(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Compare our numbers with funlib's, and warn of every real difference with its likely cause.

    Parameters
    ----------
    own
        What `skeleton_metrics` gives.
    other
        What `funlib_metrics` gives.

    Returns
    -------
    dict
        Number -> {`own`, `funlib`, `difference` (funlib - own), `within`}, for the numbers that both have; None for NaN
        and infinities. `within`: counts are equal, VOI is within 1e-9, lengths and ratios of lengths are within 1e-4 of
        one another; two numbers that are both undefined agree.
    """
    compared = {}
    for name in own.keys() & other.keys():
        if isinstance(own[name], int | float):
            compared[name] = _compare(name, float(own[name]), float(other[name]))
    for name, found in sorted(compared.items()):
        if not found["within"]:
            log.warning(
                "%s: own %s, funlib.evaluate %s; %s",
                name,
                found["own"],
                found["funlib"],
                _cause(name, float(own[name]), float(other[name])),
            )
    log.info("%d of %d numbers agree with funlib.evaluate", sum(f["within"] for f in compared.values()), len(compared))
    return dict(sorted(compared.items()))


class _Graph:
    """As much of a networkx graph as funlib asks for; keeps the direction of edges, whose first node owns them."""

    def __init__(self, edges: np.ndarray, skeleton: np.ndarray, position_zyx_nm: np.ndarray) -> None:
        self.edges = _Edges(edges)
        attributes = zip(skeleton.tolist(), position_zyx_nm.tolist(), strict=True)
        data = [{_ID: owner, **dict(zip(_AXES, place, strict=True))} for owner, place in attributes]
        self.nodes = _Nodes(data, range(len(data)))

    def seen_at(self, nodes: np.ndarray) -> _Graph:
        """Return graph of which funlib sees these nodes only when it looks for mergers; edges are classed as ever."""
        seen = object.__new__(_Graph)
        seen.edges, seen.nodes = self.edges, _Nodes(self.nodes.data, nodes.tolist())
        return seen


class _Nodes:
    """`nodes()`, `nodes(data=True)` and `nodes[n]`."""

    def __init__(self, data: list[dict[str, Any]], listed: Sequence[int]) -> None:
        self.data, self.listed = data, listed

    def __call__(self, data: bool = False) -> Iterator[Any]:
        return ((n, self.data[n]) if data else n for n in self.listed)

    def __getitem__(self, node: int) -> dict[str, Any]:
        return self.data[node]


class _Edges:
    """`edges()`, `edges(data=True)` and `edges[u, v]`."""

    def __init__(self, edges: np.ndarray) -> None:
        self.pairs = [(u, v) for u, v in edges.tolist()]
        self.data: dict[tuple[int, int], dict[str, Any]] = {pair: {} for pair in self.pairs}

    def __call__(self, data: bool = False) -> Iterator[Any]:
        return ((*pair, self.data[pair]) if data else pair for pair in self.pairs)

    def __getitem__(self, pair: tuple[int, int]) -> dict[str, Any]:
        return self.data[pair]


def _renumber(ids: np.ndarray) -> np.ndarray:
    """Return ids 1 to n in their order; 0 stays 0."""
    unique, index = np.unique(ids, return_inverse=True)
    return np.where(unique == 0, 0, np.cumsum(unique != 0))[index]


def _ignored(ignored_merger_nodes: Sequence[int]) -> dict[str, float]:
    return {"": 0.0} | {f"_{k}": float(k) for k in ignored_merger_nodes} | {"_inf": np.inf}


def _in_large_pairs(skeleton: np.ndarray, segment: np.ndarray, ignored_nodes: float) -> np.ndarray:
    """Return the nodes whose skeleton and segment share more than so many nodes; at least one, which merges nothing.

    funlib finds mergers among the nodes that it sees, so showing it these alone is BANIS' adapted ERL.
    """
    _, pair, nodes = np.unique(np.stack([skeleton, segment]), axis=1, return_inverse=True, return_counts=True)
    large = np.flatnonzero(nodes[pair.reshape(-1)] > ignored_nodes)
    return large if large.size else np.zeros(1, np.int64)


def _counts(funlib: Any, graph: _Graph, found: Mapping[int, int]) -> dict[str, int]:
    scores, stats = funlib.evaluate_skeletons(graph, _ID, found, return_merge_split_stats=True)
    merges = {int(segment): len(skeletons) for segment, skeletons in stats["merge_stats"].items()}
    return {
        "n_splits": sum(len(pairs) for pairs in stats["split_stats"].values()),
        "n_mergers": sum(merges.values()),
        "n_non0_mergers": sum(n for segment, n in merges.items() if segment != 0),
        "n_omitted": sum(score.ommitted for score in scores.values()),  # funlib's spelling
        "n_merged_edges": sum(score.merged for score in scores.values()),
        "n_correct": sum(score.correct for score in scores.values()),
    }


def _expected(funlib: Any, graph: _Graph, segment_of_node: Mapping[int, int], lengths: Mapping[int, float]) -> float:
    return float(funlib.expected_run_length(graph, _ID, _LENGTH, segment_of_node, skeleton_lengths=lengths))


def _compare(name: str, own: float, other: float) -> dict[str, Any]:
    defined = math.isfinite(own) and math.isfinite(other)
    if name.startswith("n_"):
        tolerance = 0.0
    else:
        tolerance = VOI_TOLERANCE if name.startswith("voi") else LENGTH_TOLERANCE * max(abs(own), abs(other))
    return {
        "own": own if math.isfinite(own) else None,
        "funlib": other if math.isfinite(other) else None,
        "difference": other - own if defined else None,
        "within": abs(other - own) <= tolerance if defined else not (math.isfinite(own) or math.isfinite(other)),
    }


def _cause(name: str, own: float, other: float) -> str:
    """Return what is known to make the two differ."""
    if math.isfinite(own) and not math.isfinite(other):
        return "a skeleton of length 0 makes funlib divide by 0, while here it adds nothing"
    if "erl" in name or name == "total_length":
        return "funlib adds up lengths in float32, which loses 1e-4 at 100,000 nodes in a skeleton"
    return "no cause is known: please report it"
