"""Expected run length, splits, mergers and VOI of a segmentation along skeletons.

Everything follows from one sparse table: which skeleton meets which segment, at how many nodes, along how much
correct path. Definitions are those of Januszewski et al. 2018 as funlib.evaluate and the BANIS leaderboard compute
them; an edge belongs to the skeleton of its first node and is, in this order, omitted (an end in segment 0), split
(ends in two segments), merged (its segment holds another skeleton too) or correct. Sums are float64, ids of any
integer type stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from connectomake.errors import DataError
from connectomake.measure.node_pairs import NodePairs
from connectomake.measure.variation_of_information import variation_of_information


def skeleton_metrics(
    edges: np.ndarray,
    node_skeleton_id: np.ndarray,
    node_pos_nm: np.ndarray,
    node_segment_id: np.ndarray,
    *,
    ignored_merger_nodes: Sequence[int] = (5, 20, 100),
) -> dict[str, Any]:
    """Compute every skeleton metric of one segmentation.

    About 7 ms for 50,000 nodes on one core.

    Parameters
    ----------
    edges
        (E, 2) node indices.
    node_skeleton_id
        (N,) integers; nodes of id 0 are left out of VOI and max_erl, their edges count in ERL.
    node_pos_nm
        (N, 3) positions in nm (not voxels: an anisotropic length would be wrong).
    node_segment_id
        (N,) integers, 0 = background.
    ignored_merger_nodes
        For each K: `erl_K`, `nerl_K`, for which a contact of K nodes or fewer makes no merger. `erl_inf`, `nerl_inf`
        always.

    Returns
    -------
    dict
        `erl`, `max_erl`, `erl_K`, `total_length` (nm); `nerl`, `nerl_K` (0 to 1; NaN where max_erl is 0: no path, or
        none with an id); `n_splits`, `n_mergers`, `n_non0_mergers` ((segment, skeleton) pairs of segments that hold
        several skeletons, with and without segment 0); `n_omitted`, `n_merged_edges`, `n_correct` (edges);
        `voi_split`, `voi_merge`, `voi_sum` (bits, over nodes); `per_skeleton`: a table, column name -> (S,) array, of
        one row per skeleton id.

    Raises
    ------
    DataError
        When the arrays do not fit together.
    """
    _check(edges, node_skeleton_id, node_pos_nm, node_segment_id)
    pairs = NodePairs.of_nodes(node_skeleton_id, node_segment_id)
    path = _Path.of_edges(edges, node_pos_nm, pairs)
    merging, merged = pairs.merged(0)
    numbers = _counts(pairs, path, merging, merged) | _run_lengths(pairs, path, ignored_merger_nodes)
    split, merge = variation_of_information(pairs.table.without_truth(0))
    numbers |= {"voi_split": split, "voi_merge": merge, "voi_sum": split + merge}
    return numbers | {"per_skeleton": _per_skeleton(pairs, path, merging, merged)}


@dataclass(frozen=True)
class _Path:
    """Length and fate of every edge, and the path within one segment (`run_nm`) of every pair."""

    owner_s: np.ndarray
    owner_pair: np.ndarray
    length_nm: np.ndarray
    is_omitted: np.ndarray
    is_split: np.ndarray
    is_run: np.ndarray
    run_nm: np.ndarray
    skeleton_nm: np.ndarray
    longest_nm: np.ndarray

    @classmethod
    def of_edges(cls, edges: np.ndarray, node_pos_nm: np.ndarray, pairs: NodePairs) -> _Path:
        u, v = np.asarray(edges, np.int64).reshape(-1, 2).T
        difference = np.asarray(node_pos_nm, np.float64)
        difference = difference[u] - difference[v]
        length = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        omitted = pairs.node_is_background[u] | pairs.node_is_background[v]
        same = pairs.node_g[u] == pairs.node_g[v]
        run = ~omitted & same
        owner, s = pairs.node_pair[u], pairs.node_s[u]
        # what a perfect segmentation (segment = skeleton id) would keep: all but id 0 and edges from one id to another
        kept = (s == pairs.node_s[v]) & (pairs.skeleton_id != 0)[s]
        return cls(
            owner_s=s,
            owner_pair=owner,
            length_nm=length,
            is_omitted=omitted,
            is_split=~omitted & ~same,
            is_run=run,
            run_nm=np.bincount(owner[run], length[run], len(pairs.nodes)),
            skeleton_nm=np.bincount(s, length, len(pairs.skeleton_id)),
            longest_nm=np.bincount(s[kept], length[kept], len(pairs.skeleton_id)),
        )


def _run_lengths(pairs: NodePairs, path: _Path, ignored_merger_nodes: Sequence[int]) -> dict[str, float]:
    """Return the expected run lengths.

    ERL = sum over skeletons of (their share of all path) * sum over segments of run^2 / their length = sum run^2 /
    all path.
    """
    total_nm = float(path.skeleton_nm.sum())

    def expected(runs_nm: np.ndarray) -> float:
        return float(runs_nm @ runs_nm) / total_nm if total_nm > 0 else 0.0

    max_erl = expected(path.longest_nm)
    numbers = {"total_length": total_nm, "max_erl": max_erl}
    ignored = {"": 0.0} | {f"_{k}": float(k) for k in ignored_merger_nodes} | {"_inf": np.inf}
    for suffix, nodes in ignored.items():
        erl = expected(np.where(pairs.merged(nodes)[1], 0.0, path.run_nm))
        numbers[f"erl{suffix}"] = erl
        numbers[f"nerl{suffix}"] = erl / max_erl if max_erl > 0 else float("nan")
    return numbers


def _counts(pairs: NodePairs, path: _Path, merging: np.ndarray, merged: np.ndarray) -> dict[str, int]:
    lost = path.is_run & merged[path.owner_pair]
    return {
        "n_splits": int(path.is_split.sum()),
        "n_mergers": int(merging.sum()),
        "n_non0_mergers": int((merging & ~pairs.pair_is_background).sum()),
        "n_omitted": int(path.is_omitted.sum()),
        "n_merged_edges": int(lost.sum()),
        "n_correct": int((path.is_run & ~lost).sum()),
    }


def _per_skeleton(pairs: NodePairs, path: _Path, merging: np.ndarray, merged: np.ndarray) -> dict[str, np.ndarray]:
    """Return one row per skeleton id; n_splits, n_mergers (without segment 0) and n_omitted add up to the totals."""
    size = len(pairs.skeleton_id)
    correct_nm = np.where(merged, 0.0, path.run_nm)
    longest_run_nm = np.zeros(size)
    np.maximum.at(longest_run_nm, pairs.pair_s, correct_nm)
    squares = np.bincount(pairs.pair_s, correct_nm**2, size)
    return {
        "skeleton_id": pairs.skeleton_id,
        "length_nm": path.skeleton_nm,
        "erl_nm": np.divide(squares, path.skeleton_nm, out=np.zeros(size), where=path.skeleton_nm > 0),
        "longest_run_nm": longest_run_nm,
        "n_runs": np.bincount(pairs.pair_s[correct_nm > 0], minlength=size),
        "n_splits": np.bincount(path.owner_s[path.is_split], minlength=size),
        "n_mergers": np.bincount(pairs.pair_s[merging & ~pairs.pair_is_background], minlength=size),
        "n_omitted": np.bincount(path.owner_s[path.is_omitted], minlength=size),
        "n_nodes": np.bincount(pairs.pair_s, pairs.nodes, size).astype(np.int64),
        "n_background_nodes": np.bincount(pairs.node_s[pairs.node_is_background], minlength=size),
    }


def _check(edges: np.ndarray, skeleton: np.ndarray, position: np.ndarray, segment: np.ndarray) -> None:
    n = len(skeleton)
    if np.shape(position) != (n, 3) or np.shape(segment) != (n,) or np.ndim(skeleton) != 1:
        raise DataError(
            "the node arrays of the skeletons do not fit together",
            expected="node_skeleton_id (N,), node_pos_nm (N, 3), node_segment_id (N,)",
            got=[np.shape(skeleton), np.shape(position), np.shape(segment)],
        )
    if np.asarray(skeleton).dtype.kind not in "iu" or np.asarray(segment).dtype.kind not in "iu":
        raise DataError(
            "skeleton and segment ids must be integers", got=[np.asarray(skeleton).dtype, np.asarray(segment).dtype]
        )
    if not np.isfinite(position).all():
        raise DataError("node_pos_nm holds values that are not finite")
    edges = np.asarray(edges)
    if edges.size and (edges.ndim != 2 or edges.shape[1] != 2 or edges.min() < 0 or edges.max() >= n):
        raise DataError("edges must be pairs of node indices", expected=f"(E, 2), 0 to {n - 1}", got=edges.shape)
