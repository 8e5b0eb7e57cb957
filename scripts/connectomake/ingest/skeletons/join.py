"""Join the skeletons of blocks into one set: one forest for each label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from connectomake.config.settings.data import SkeletonConfig
from connectomake.geometry import position_of
from connectomake.ingest.skeletons.block_skeletons import Pieces
from connectomake.ingest.skeletons.grid import TraceGrid
from connectomake.ingest.skeletons.prune import prune_branches
from connectomake.volumes.nodes import keep_nodes
from connectomake.volumes.skeletons import Skeletons

_INNER_WEIGHT = 1e-9  # against 1 / radius of edges at a plane between blocks


def join_pieces(
    pieces: Iterable[Pieces],
    grid: TraceGrid,
    cfg: SkeletonConfig,
    voxel_size_zyx_nm: Sequence[float],
    offset_zyx_nm: Sequence[float],
) -> Skeletons:
    """Join pieces at the voxels that they share.

    Where pieces meet at several places and so close a loop, the loop is opened at the narrowest of them: a skeleton is
    a forest, as TEASAR's are. Then branches that only the blocks have caused are removed (`prune_branches`).

    Parameters
    ----------
    pieces
        Of all blocks, in the order of the grid.
    grid
        The blocks.
    cfg
        The settings that they were traced with.
    voxel_size_zyx_nm, offset_zyx_nm
        Of the volume.

    Returns
    -------
    Skeletons
        The skeleton id is the label. Nodes are sorted by label, then in scan order; no voxel has two nodes.
    """
    label, voxel, radius_nm, edges = _merge(list(pieces), grid)
    shared = grid.is_shared(voxel)
    edges = _open_loops(edges, shared, radius_nm)
    joined = Skeletons(edges, label, position_of(voxel, voxel_size_zyx_nm, offset_zyx_nm))
    if not shared.any():
        return joined
    return keep_nodes(joined, _choose_nodes(joined, shared, cfg.scale * radius_nm + cfg.const_nm))


def _merge(pieces: Sequence[Pieces], grid: TraceGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Make one node of those that lie on the same voxel; give labels, voxels, radii in nm and edges."""
    firsts = np.cumsum([0, *(len(piece.label) for piece in pieces)])
    label, voxel = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("label", "voxel"))
    radius_nm = np.concatenate([piece.radius_nm for piece in pieces]).astype(np.float64)
    edges = np.concatenate([piece.edges + first for piece, first in zip(pieces, firsts[:-1], strict=True)])
    place = np.ravel_multi_index(tuple(voxel.T), grid.shape_zyx)
    order = np.lexsort((place, label))
    is_first = np.diff(place[order], prepend=-1) != 0
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(is_first) - 1
    chosen = order[is_first]
    # A block takes what lies beyond its faces for inside: of two radii the smaller is nearer the truth.
    smallest = np.full(len(chosen), np.inf)
    np.minimum.at(smallest, number, radius_nm)
    edges = np.unique(np.sort(number[edges], axis=1), axis=0)
    return label[chosen], voxel[chosen], smallest, edges


def _open_loops(edges: np.ndarray, shared: np.ndarray, radius_nm: np.ndarray) -> np.ndarray:
    """Keep a forest of the edges; those dropped lead to the shared nodes where the label is narrowest."""
    nodes = len(shared)
    narrowest = np.where(shared, radius_nm, np.inf)[edges].min(axis=1, initial=np.inf)
    with np.errstate(divide="ignore"):
        weight = np.clip(1 / narrowest, _INNER_WEIGHT, 1e9)
    kept = minimum_spanning_tree(coo_array((weight, edges.T), shape=(nodes, nodes)).tocsr()).tocoo()
    return np.unique(np.sort(np.stack([kept.row, kept.col], axis=1), axis=1), axis=0)


def _choose_nodes(joined: Skeletons, shared: np.ndarray, reach_nm: np.ndarray) -> np.ndarray:
    """Prune label by label; nodes are sorted by label, and so are edges."""
    stay = np.ones(len(shared), bool)
    starts = np.flatnonzero(np.diff(joined.node_skeleton_id, prepend=-1))
    stops = np.append(starts[1:], len(shared))
    first_edges = np.searchsorted(joined.edges[:, 0], np.append(starts, len(shared)))
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        if shared[start:stop].any():
            edges = joined.edges[first_edges[i] : first_edges[i + 1]] - start
            nodes = slice(start, stop)
            stay[nodes] = prune_branches(joined.node_pos_nm[nodes], reach_nm[nodes], edges, shared[nodes])
    return stay
