"""Find the voxel, and the segment, under each node of a skeleton."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from connectomake.geometry import BlockGrid, Box, to_triple, voxel_at
from connectomake.volumes.label_volumes import BLOCK_VX, reading_grid, require_labels

if TYPE_CHECKING:
    from connectomake.volumes.skeletons import Skeletons
    from connectomake.volumes.volume import Readable

log = logging.getLogger(__name__)


def segment_at_nodes(
    volume: Readable, node_pos_nm: np.ndarray, *, block_vx: int = BLOCK_VX, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Read the segment under each node, block by block.

    Only blocks that hold nodes are read, and of each the box around its nodes; memory is a block for each thread.

    Parameters
    ----------
    volume
        (Z, Y, X) integer labels.
    node_pos_nm
        (N, 3) z, y, x in nm, in the frame of the volume's offset.
    block_vx
        Voxels read at a time by each thread.
    threads
        Blocks read at the same time.

    Returns
    -------
    node_segment_id
        (N,) of the volume's dtype; 0 where a node lies outside.
    inside
        (N,) bool. Nodes outside are logged as a warning.

    Raises
    ------
    DataError
        When the volume has channels or is not of integers.
    """
    require_labels(volume)
    voxel = voxel_at(node_pos_nm, volume.voxel_size_zyx_nm, volume.offset_zyx_nm)
    inside = np.all((voxel >= 0) & (voxel < volume.shape_zyx), axis=1)
    if not inside.all():
        log.warning("%d of %d nodes lie outside %s", np.count_nonzero(~inside), len(inside), volume.source)
    segment = np.zeros(len(voxel), volume.dtype)
    groups = _group_by_block(voxel, np.flatnonzero(inside), reading_grid([volume], block_vx))
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for nodes, ids in zip(groups, pool.map(partial(_read_under, volume, voxel), groups), strict=True):
            segment[nodes] = ids
    return segment, inside


def clip_skeletons(
    skeletons: Skeletons, shape_zyx: Sequence[int], voxel_size_zyx_nm: Sequence[float], offset_zyx_nm: Sequence[float]
) -> Skeletons:
    """Drop the nodes outside a volume, with their edges; what is cut in two keeps its one skeleton id."""
    voxel = voxel_at(skeletons.node_pos_nm, voxel_size_zyx_nm, offset_zyx_nm)
    return keep_nodes(skeletons, np.all((voxel >= 0) & (voxel < shape_zyx), axis=1))


def keep_nodes(skeletons: Skeletons, keep: np.ndarray) -> Skeletons:
    """Keep the nodes where `keep` (N,) bool is set, and the edges between them, renumbered."""
    new_index = np.cumsum(keep) - 1
    edges = skeletons.edges[keep[skeletons.edges].all(axis=1)]
    return replace(
        skeletons,
        edges=new_index[edges].astype(np.int64),
        node_skeleton_id=skeletons.node_skeleton_id[keep],
        node_pos_nm=skeletons.node_pos_nm[keep],
    )


def _group_by_block(voxel: np.ndarray, nodes: np.ndarray, grid: BlockGrid) -> list[np.ndarray]:
    """Split node numbers into one array per block that holds any."""
    block = np.ravel_multi_index(tuple((voxel[nodes] // grid.block_zyx).T), grid.counts_zyx)
    order = np.argsort(block, kind="stable")
    starts = np.flatnonzero(np.diff(block[order])) + 1
    return [group for group in np.split(nodes[order], starts) if len(group)]


def _read_under(volume: Readable, voxel: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    start, stop = voxel[nodes].min(axis=0), voxel[nodes].max(axis=0) + 1
    block = volume.read(Box(to_triple(start), to_triple(stop)))
    return block[tuple((voxel[nodes] - start).T)]
