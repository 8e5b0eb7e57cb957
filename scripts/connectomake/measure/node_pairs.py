"""Which skeleton shares how many nodes with which segment: what every number along skeletons starts from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from connectomake.measure.contingency import Contingency


@dataclass(frozen=True)
class NodePairs:
    """The (skeleton, segment) pairs that share nodes; s, g and pair are indices into the sorted ids and pairs."""

    skeleton_id: np.ndarray
    segment_id: np.ndarray
    node_s: np.ndarray
    node_g: np.ndarray
    node_pair: np.ndarray
    pair_s: np.ndarray
    pair_g: np.ndarray
    nodes: np.ndarray

    @classmethod
    def of_nodes(cls, node_skeleton_id: np.ndarray, node_segment_id: np.ndarray) -> NodePairs:
        """Count the pairs of N nodes, given the ids of both, (N,) integers of any type."""
        skeleton_id, node_s = np.unique(node_skeleton_id, return_inverse=True)
        segment_id, node_g = np.unique(node_segment_id, return_inverse=True)
        width = max(1, len(segment_id))
        pair, node_pair, nodes = np.unique(node_s * width + node_g, return_inverse=True, return_counts=True)
        return cls(skeleton_id, segment_id, node_s, node_g, node_pair, pair // width, pair % width, nodes)

    @property
    def table(self) -> Contingency:
        """The pairs as a contingency table."""
        return Contingency(self.skeleton_id[self.pair_s], self.segment_id[self.pair_g], self.nodes)

    @cached_property
    def node_is_background(self) -> np.ndarray:
        """(N,) bool: the nodes in segment 0."""
        return (self.segment_id == 0)[self.node_g]

    @cached_property
    def pair_is_background(self) -> np.ndarray:
        """(P,) bool: the pairs with segment 0."""
        return (self.segment_id == 0)[self.pair_g]

    def merged(self, ignored_nodes: float) -> tuple[np.ndarray, np.ndarray]:
        """Return which pairs lie in a merging segment, and on which of them the path is lost.

        Only pairs of more than `ignored_nodes` nodes make a segment merging. In it, the path is lost of every
        skeleton that has such a pair in any merging segment, also where its own contact here is small: this coupling
        is BANIS' and decides what the leaderboard's nerl_5 to nerl_100 mean.
        """
        large = self.nodes > ignored_nodes
        merging = np.bincount(self.pair_g[large], minlength=len(self.segment_id))[self.pair_g] >= 2
        skeleton_is_merged = np.zeros(len(self.skeleton_id), bool)
        skeleton_is_merged[self.pair_s[large & merging]] = True
        return merging, merging & skeleton_is_merged[self.pair_s]
