"""Remove the branches that blocks add to skeletons: those that TEASAR would not have drawn, had it seen all blocks.

Two blocks that cut a neurite lengthwise both trace it; and each leads a twig to every place where a label but touches
the plane between them. TEASAR (Sato 2000) draws no path to what lies within `scale` x radius + `const_nm` of a path:
a terminal branch that meets a plane between blocks, and lies within that distance of the rest all along, is removed,
the shortest first.
"""

from __future__ import annotations

import heapq

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

_BATCH = 16  # nodes of a branch looked at together, from its tip: most branches that stay are told by the first


def prune_branches(
    position_nm: np.ndarray, reach_nm: np.ndarray, edges: np.ndarray, is_shared: np.ndarray
) -> np.ndarray:
    """Choose the nodes of one label's skeletons that stay.

    Parameters
    ----------
    position_nm
        (N, 3).
    reach_nm
        (N,) the distance from each node within which no further path is drawn.
    edges
        (E, 2) of a forest.
    is_shared
        (N,) bool, the nodes on planes between blocks.

    Returns
    -------
    ndarray
        (N,) bool. Every tree of the forest stays one tree.
    """
    forest = _Forest(position_nm, edges)
    waiting = [(length, leaf) for leaf in forest.leaves() for _, end, length in [forest.walk(leaf)] if end is not None]
    heapq.heapify(waiting)
    near = _Neighbourhood(position_nm, reach_nm)
    while waiting:
        length, leaf = heapq.heappop(waiting)
        branch, end, now = forest.walk(leaf)
        if end is None:
            continue
        if now > length:  # a side branch was removed, and this one is longer since
            heapq.heappush(waiting, (now, leaf))
        elif is_shared[[*branch, end]].any() and near.covers(branch):
            forest.cut(branch, end)
            near.alive[branch] = False
    return near.alive


class _Forest:
    """Who is connected with whom: the number of neighbours of each node, and the exclusive or of their numbers.

    Of a node with two neighbours, the number of one and that exclusive or give the other.
    """

    def __init__(self, position_nm: np.ndarray, edges: np.ndarray) -> None:
        mixed = np.zeros(len(position_nm), np.int64)
        np.bitwise_xor.at(mixed, edges[:, 0], edges[:, 1])
        np.bitwise_xor.at(mixed, edges[:, 1], edges[:, 0])
        self.mixed: list[int] = mixed.tolist()
        self.degree: list[int] = np.bincount(edges.ravel(), minlength=len(position_nm)).tolist()
        self.position_nm = position_nm

    def leaves(self) -> list[int]:
        return [node for node, degree in enumerate(self.degree) if degree == 1]

    def walk(self, leaf: int) -> tuple[list[int], int | None, float]:
        """Go from a leaf to the next fork: give the nodes before it, the fork, and the length in nm.

        There is none where the tree is a single line.
        """
        branch, previous, node = [leaf], 0, leaf
        while True:
            previous, node = node, self.mixed[node] ^ (previous if len(branch) > 1 else 0)
            if self.degree[node] != 2:
                break
            branch.append(node)
        steps = np.diff(self.position_nm[[*branch, node]], axis=0)
        return branch, node if self.degree[node] > 2 else None, float(np.linalg.norm(steps, axis=1).sum())

    def cut(self, branch: list[int], fork: int) -> None:
        self.degree[fork] -= 1
        self.mixed[fork] ^= branch[-1]


class _Neighbourhood:
    """Which nodes lie within reach of which others."""

    def __init__(self, position_nm: np.ndarray, reach_nm: np.ndarray) -> None:
        self.position_nm = position_nm
        self.reach_nm = reach_nm
        self.alive = np.ones(len(position_nm), bool)
        self.tree = cKDTree(position_nm)
        self.farthest_nm = float(reach_nm.max(initial=0.0))

    def covers(self, branch: list[int]) -> bool:
        """Return whether each node of a branch lies within reach of a living node outside it."""
        self.alive[branch] = False
        try:
            batches = (branch[i : i + _BATCH] for i in range(0, len(branch), _BATCH))
            return all(self._covers(self.position_nm[batch]) for batch in batches)
        finally:
            self.alive[branch] = True

    def _covers(self, position_nm: np.ndarray) -> bool:
        centre = position_nm.mean(axis=0)
        radius = np.linalg.norm(position_nm - centre, axis=1).max() + self.farthest_nm
        others = np.array(self.tree.query_ball_point(centre, radius), np.int64)
        others = others[self.alive[others]]
        return bool((cdist(position_nm, self.position_nm[others]) <= self.reach_nm[others]).any(axis=1).all())
