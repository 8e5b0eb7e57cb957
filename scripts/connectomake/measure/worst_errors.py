"""The worst errors along skeletons: splits, mergers, and path without a label; what each one costs, where to look.

What a (skeleton, segment) pair has in common, its run, is the length of the skeleton's edges with both ends in the
segment, as in `skeleton_metrics`. Errors are ranked by runs alone, so places are looked up for the worst only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from connectomake.errors import DataError
from connectomake.measure.error_table import KINDS, Ranked, Table, error_table
from connectomake.measure.nearest import Forest, nearest_of_group, nearest_to_median
from connectomake.measure.node_pairs import NodePairs
from connectomake.volumes.skeletons import Skeletons


def find_errors(
    skeletons: Skeletons,
    node_segment_id: np.ndarray,
    *,
    worst: int,
    voxel_size_zyx_nm: Sequence[float],
    offset_zyx_nm: Sequence[float],
) -> Table:
    """List the worst splits, the worst mergers and the worst missing path of a segmentation along skeletons.

    A *split* is a skeleton that passes from one segment into another, directly or through a stretch of background;
    one row for each skeleton and pair of segments. It costs the shorter of the two runs, which is torn off the longer.
    `n_splits` of `skeleton_metrics` counts edges instead, and only those that lead from segment to segment directly.
    Where a stretch of background lies between several segments, each is paired with that of the longest run.

    A *merger* is a skeleton that shares a segment with one of a longer run in it: K skeletons in a segment are K - 1
    rows, each naming the nearest of those with a longer run. It costs the run of this skeleton, and the first row of
    a segment also the longest run, for ERL counts no run in a segment of several skeletons: the rows of a segment
    add up to the path that it voids, and its first row says what one contact of a single node may cost.

    *Missing* is a stretch of a skeleton in the background (segment 0); it costs the path of its edges, those at its
    ends included, so that all stretches together cost the path of all omitted edges.

    Background merges nothing here; skeletons of id 0 count, as in `n_non0_mergers`; edges between two
    skeletons are no path. About 2 s for 5 million nodes on one core.

    Parameters
    ----------
    skeletons
        Clipped to the volume.
    node_segment_id
        (N,) integers, 0 = background.
    worst
        So many of each kind are listed, at most.
    voxel_size_zyx_nm, offset_zyx_nm
        Of the segmentation.

    Returns
    -------
    dict
        Columns of one row per error, worst first, kind by kind: `kind` (split, merge, missing), `rank` (from 1 for
        each kind), `z_nm` to `x_nm`, `z_vx` to `x_vx` (voxel of the segmentation), `truth_a`, `truth_b` (skeletons;
        of a merger, b is the one whose path is lost), `segment_a`, `segment_b` (of a split, b is what was torn off;
        0 where path is missing), `lost_nm`, `lost_vx` (NaN).

        A split lies in the middle of its edge, or at the node of its stretch of background nearest to the middle
        between the segments' ends; where a skeleton passes several times between two segments, at the place nearest
        to the median of all. A merger lies midway between the closest two nodes of its skeletons in the segment,
        missing path at the node of its stretch nearest to the median of all.

    Raises
    ------
    DataError
        When there is not one segment, an integer, for each node.
    """
    segment = np.asarray(node_segment_id)
    if segment.shape != skeletons.node_skeleton_id.shape or segment.dtype.kind not in "iu":
        raise DataError(
            "every node of the skeletons needs the segment it lies in",
            expected=f"{len(skeletons.node_skeleton_id)} integers",
            got=f"{segment.shape} {segment.dtype}",
        )
    runs = _Runs.along(skeletons, segment)
    gaps = _Gaps.within(runs)
    ranked = (_worst_splits(runs, gaps, worst), _worst_mergers(runs, worst), _worst_missing(runs, gaps, worst))
    return error_table(dict(zip(KINDS, ranked, strict=True)), "nm", voxel_size_zyx_nm, offset_zyx_nm)


@dataclass(frozen=True)
class _Runs:
    """The (skeleton, segment) pairs that share nodes, sorted by skeleton and segment, and the run of each."""

    position: np.ndarray
    edges: np.ndarray
    node_pair: np.ndarray
    skeleton: np.ndarray
    segment: np.ndarray
    run_nm: np.ndarray

    @classmethod
    def along(cls, skeletons: Skeletons, node_segment_id: np.ndarray) -> _Runs:
        pairs = NodePairs.of_nodes(skeletons.node_skeleton_id, node_segment_id)
        first, second = skeletons.edges.T
        edges = skeletons.edges[pairs.node_s[first] == pairs.node_s[second]]
        u, v = edges[pairs.node_pair[edges[:, 0]] == pairs.node_pair[edges[:, 1]]].T
        length = np.linalg.norm(skeletons.node_pos_nm[u] - skeletons.node_pos_nm[v], axis=1)
        run = np.bincount(pairs.node_pair[u], length, len(pairs.nodes))
        return cls(
            position=skeletons.node_pos_nm,
            edges=edges,
            node_pair=pairs.node_pair,
            skeleton=pairs.skeleton_id[pairs.pair_s],
            segment=pairs.segment_id[pairs.pair_g],
            run_nm=run.round(3),  # equal runs stay equal in any order of edges
        )

    @cached_property
    def is_background(self) -> np.ndarray:
        """(N,) bool: the nodes in segment 0."""
        return (self.segment == 0)[self.node_pair]

    def key(self, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Make one number of two pairs, whichever comes first: longer run * number of pairs + shorter run."""
        swap = (self.run_nm[p] < self.run_nm[q]) | ((self.run_nm[p] == self.run_nm[q]) & (p > q))
        return np.where(swap, q, p) * len(self.run_nm) + np.where(swap, p, q)


def _worst_splits(runs: _Runs, gaps: _Gaps, worst: int) -> Ranked:
    direct = runs.edges[~runs.is_background[runs.edges].any(axis=1)]
    p, q = runs.node_pair[direct].T
    direct, direct_key = direct[p != q], runs.key(p[p != q], q[p != q])
    key = np.unique(np.concatenate([direct_key, gaps.key]))
    long, short = np.divmod(key, len(runs.run_nm) or 1)
    chosen = np.lexsort((short, long, -runs.run_nm[short]))[:worst]
    long, short = long[chosen], short[chosen]
    number, gap_number = (_number_in(key[chosen], keys) for keys in (direct_key, gaps.key))
    here = number >= 0
    middle = runs.position[direct[here]].mean(axis=1)
    place = np.concatenate([middle, gaps.middles(gap_number >= 0, runs.position)])
    owner = np.concatenate([number[here], gap_number[gap_number >= 0]])
    position = place[nearest_to_median(owner, place)]
    skeleton = runs.skeleton[long]
    return Ranked(position, skeleton, skeleton, runs.segment[long], runs.segment[short], runs.run_nm[short])


@dataclass(frozen=True)
class _Gaps:
    """Stretches of background within a skeleton, and the pairs of segments that each comes between.

    An end is where a stretch meets a segment: all its edges to one (skeleton, segment) pair. Arrays over background
    nodes: `node`, `stretch`; over edges that leave a stretch: `leaves_at` (its node), `end_of`; over pairs of ends:
    `first_end`, `second_end`, `key` (as `_Runs.key`); `end_stretch` over ends.
    """

    node: np.ndarray
    stretch: np.ndarray
    leaves_at: np.ndarray
    end_of: np.ndarray
    end_stretch: np.ndarray
    first_end: np.ndarray
    second_end: np.ndarray
    key: np.ndarray

    @property
    def n_stretches(self) -> int:
        return int(self.stretch.max(initial=-1)) + 1

    @classmethod
    def within(cls, runs: _Runs) -> _Gaps:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        node = np.flatnonzero(runs.is_background)
        number = np.cumsum(runs.is_background) - 1
        inside = runs.is_background[runs.edges]
        u, v = number[runs.edges[inside.all(axis=1)]].T
        graph = coo_array((np.ones(len(u), bool), (u, v)), shape=(len(node), len(node)))
        stretch = connected_components(graph, directed=False)[1].astype(np.int64)
        leaving = inside[:, 0] != inside[:, 1]
        edges, from_first = runs.edges[leaving], inside[leaving, 0]
        at, to = (np.where(one, edges[:, 0], edges[:, 1]) for one in (from_first, ~from_first))
        size = len(runs.run_nm) or 1
        end, end_of = np.unique(stretch[number[at]] * size + runs.node_pair[to], return_inverse=True)
        end_stretch, end_pair = np.divmod(end, size)
        order = np.lexsort((end_pair, -runs.run_nm[end_pair], end_stretch))
        is_longest = np.diff(end_stretch[order], prepend=-1) != 0
        longest = order[is_longest][np.cumsum(is_longest) - 1]
        first, second = longest[~is_longest], order[~is_longest]
        key = runs.key(end_pair[first], end_pair[second])
        return cls(node, stretch, at, end_of, end_stretch, first, second, key)

    def middles(self, chosen: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return for pairs of ends the node of their stretch nearest to the middle between them, as (M, 3) nm."""
        first, second = self.first_end[chosen], self.second_end[chosen]
        ends = np.unique([first, second])
        here = np.isin(self.end_of, ends)
        at = position[self.leaves_at[here]]
        end_place = at[nearest_to_median(np.searchsorted(ends, self.end_of[here]), at)]
        middle = (end_place[np.searchsorted(ends, first)] + end_place[np.searchsorted(ends, second)]) / 2
        stretch = self.end_stretch[first]
        inside = np.isin(self.stretch, stretch)
        return nearest_of_group(stretch, middle, self.stretch[inside], position[self.node[inside]])


def _number_in(chosen: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return for each key its place among the chosen ones, which differ from each other; -1 where it is not chosen."""
    if not len(chosen):
        return np.full(len(keys), -1)
    order = np.argsort(chosen)
    at = order[np.searchsorted(chosen, keys, sorter=order).clip(max=len(chosen) - 1)]
    return np.where(chosen[at] == keys, at, -1)


def _worst_mergers(runs: _Runs, worst: int) -> Ranked:
    _, pair_g, skeletons = np.unique(runs.segment, return_inverse=True, return_counts=True)
    merging = np.flatnonzero((skeletons[pair_g] >= 2) & (runs.segment != 0))
    pair = merging[np.lexsort((merging, -runs.run_nm[merging], pair_g[merging]))]
    is_first = np.diff(pair_g[pair], prepend=-1) != 0
    start = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    rank = np.arange(len(pair)) - start  # of a skeleton within its segment, 0 for the longest run
    lost = runs.run_nm[pair] + np.where(rank == 1, runs.run_nm[pair[start]], 0.0)
    rows = np.flatnonzero(rank > 0)
    rows = rows[np.lexsort((rows, -lost[rows]))][:worst]
    contact = _contacts(runs, pair, rows, start[rows])
    a, b = runs.node_pair[contact].T
    named = runs.segment[b]
    return Ranked(runs.position[contact].mean(axis=1), runs.skeleton[a], runs.skeleton[b], named, named, lost[rows])


def _worst_missing(runs: _Runs, gaps: _Gaps, worst: int) -> Ranked:
    is_background = runs.is_background[runs.edges]
    edges, from_first = (of[is_background.any(axis=1)] for of in (runs.edges, is_background[:, 0]))
    stretch = gaps.stretch[np.searchsorted(gaps.node, np.where(from_first, edges[:, 0], edges[:, 1]))]
    length = np.linalg.norm(runs.position[edges[:, 0]] - runs.position[edges[:, 1]], axis=1)
    lost = np.bincount(stretch, length, gaps.n_stretches).round(3)
    least = -np.partition(-lost, worst - 1)[worst - 1] if 0 < worst < len(lost) else 0.0
    chosen = np.flatnonzero((lost > 0) & (lost >= least)) if worst else np.zeros(0, np.int64)
    place = _number_in(chosen, gaps.stretch)
    node, place = gaps.node[place >= 0], place[place >= 0]
    position = runs.position[node][nearest_to_median(place, runs.position[node])]
    skeleton = np.zeros(len(chosen), runs.skeleton.dtype)
    skeleton[place] = runs.skeleton[runs.node_pair[node]]
    first = np.lexsort((*position.T[::-1], skeleton, -lost[chosen]))[:worst]
    none = np.zeros(len(first), runs.segment.dtype)
    return Ranked(position[first], skeleton[first], skeleton[first], none, none, lost[chosen[first]])


def _contacts(runs: _Runs, pair: np.ndarray, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Find for each row the closest two nodes of its pair and of any pair before it in its segment.

    The pairs before are kept in search trees of doubling size (Bentley and Saxe 1980), so a node is put into a new
    tree a logarithmic number of times, however many skeletons a segment joins. Rows with a higher loss come earlier in
    their segment, so of each segment only a leading part is looked at.

    Parameters
    ----------
    runs
        All pairs.
    pair
        Pairs sorted by segment, longest run first.
    rows, starts
        (M,) places in `pair` of the rows, and of the first pair of their segments.

    Returns
    -------
    np.ndarray
        (M, 2) nodes: of another skeleton, and of the row's own.
    """
    found = np.zeros((len(rows), 2), np.int64)
    wanted = {row: k for k, row in enumerate(rows.tolist())}
    last = {start: max(rows[starts == start].tolist()) for start in np.unique(starts).tolist()}
    nodes_of = _nodes_of(runs, pair, [p for start, stop in last.items() for p in range(start, stop + 1)])
    for start, stop in last.items():
        forest = Forest(runs.position)
        for place in range(start, stop + 1):
            if place > start:
                found[wanted[place]] = forest.closest(nodes_of[place])
            forest.add(nodes_of[place])
    return found


def _nodes_of(runs: _Runs, pair: np.ndarray, places: list[int]) -> dict[int, np.ndarray]:
    """Return the nodes of the pairs at some places, each sorted by z, y, x."""
    number = np.full(len(runs.run_nm), -1)
    number[pair[places]] = np.arange(len(places))
    number = number[runs.node_pair]
    nodes = np.flatnonzero(number >= 0)
    nodes = nodes[np.lexsort((*runs.position[nodes].T[::-1], number[nodes]))]
    parts = np.split(nodes, np.cumsum(np.bincount(number[nodes], minlength=len(places)))[:-1])
    return dict(zip(places, parts, strict=False))
