"""Foreground voxels that flow to the same place are one object.

After Cellpose (Stringer et al. 2021), which moves points along interpolated vectors. Here each voxel hands over to one
of its neighbours, the one that its vector points at best; where the ways end, in a voxel or in a circle of voxels, is a
sink. Each voxel is visited once, and the labels are the same on any machine, for any number of threads. Objects of
flows within sections (2d) are joined across sections where they overlap, as Cellpose stitches them.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from connectomake.decode.channels import Channels
from connectomake.decode.maps import as_floats
from connectomake.decode.postprocess import number_objects

STEPS_ZYX = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
"""The 27 moves of a voxel; number 13 stays."""

_STAY = 13
_BACKGROUND = 27
_ON_WAY = 32  # added to a move while its way is followed


def choose_moves(
    flows: NDArray, foreground: NDArray[np.bool_], channels: Channels, least_length: float, threads: int = 1
) -> NDArray[np.uint8]:
    """Choose for each foreground voxel the neighbour in the foreground that its vector points at best.

    Parameters
    ----------
    flows
        (2 or 3, Z, Y, X): the maps flow z (if there), flow y, flow x.
    foreground
        (Z, Y, X).
    channels
        Of all maps; those of the flows come last.
    least_length
        A vector that is shorter (0 to 1) points nowhere.
    threads
        Threads that share the sections.

    Returns
    -------
    ndarray
        (Z, Y, X) uint8, rows of `STEPS_ZYX`; 13 where the vector is too short or points out of the foreground; 27 in
        the background.
    """
    moves = np.empty(foreground.shape, np.uint8)
    units = STEPS_ZYX / np.maximum(np.linalg.norm(STEPS_ZYX, axis=1, keepdims=True), 1)
    activations = channels.activations[-len(flows) :]

    def choose(z: int) -> None:
        section = [as_floats(flow[z], activation=kind) for flow, kind in zip(flows, activations, strict=True)]
        vectors = np.stack(section if len(flows) == 3 else [np.zeros_like(section[0]), *section])
        _choose_in_section(vectors, foreground, z, len(flows) == 2, units, least_length, moves[z])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(choose, range(len(foreground))))
    return moves


@njit(cache=True, nogil=True)
def _choose_in_section(
    vectors: NDArray,
    foreground: NDArray,
    z: int,
    is_2d: bool,
    units: NDArray,
    least_length: float,
    moves: NDArray,
) -> None:
    """Write the moves (Y, X) of section z, whose vectors are (3, Y, X) float32."""
    nz, ny, nx = foreground.shape
    first, stop = (9, 18) if is_2d else (0, 27)
    for y in range(ny):
        for x in range(nx):
            if not foreground[z, y, x]:
                moves[y, x] = _BACKGROUND
                continue
            vz, vy, vx = vectors[0, y, x], vectors[1, y, x], vectors[2, y, x]
            best, move = 0.0, _STAY
            if vz**2 + vy**2 + vx**2 >= least_length**2:
                for m in range(first, stop):
                    along = vz * units[m, 0] + vy * units[m, 1] + vx * units[m, 2]
                    if along > best:
                        qz, qy, qx = z + m // 9 - 1, y + m // 3 % 3 - 1, x + m % 3 - 1
                        if 0 <= qz < nz and 0 <= qy < ny and 0 <= qx < nx and foreground[qz, qy, qx]:
                            best, move = along, m
            moves[y, x] = move


def follow_moves(moves: NDArray[np.uint8]) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
    """Follow the moves from every voxel to where they end.

    Parameters
    ----------
    moves
        (Z, Y, X) uint8 as `choose_moves` gives them.

    Returns
    -------
    basins : ndarray
        (Z, Y, X) uint32: voxels that end in the same voxel or circle have the same number, from 1; 0 = background.
    sinks : ndarray
        (S, 3) the voxels in which ways end, z, y, x.
    basin_of_sink : ndarray
        (S,) the number of each sink's basin.
    """
    steps = STEPS_ZYX @ (np.array(moves.strides) // moves.itemsize)
    basins, is_sink = np.zeros(moves.shape, np.uint32), np.zeros(moves.shape, np.bool_)
    _follow(moves.reshape(-1), steps, basins.reshape(-1), is_sink.reshape(-1))
    sinks = np.argwhere(is_sink)
    return basins, sinks, basins[tuple(sinks.T)].astype(np.int64)


@njit(cache=True, nogil=True)
def _follow(ways: NDArray, steps: NDArray, basins: NDArray, is_sink: NDArray) -> None:
    """Write the basins of flat moves, and mark the voxels in which ways end; `ways` is changed, and restored."""
    count = 0
    for p in range(ways.size):
        if ways[p] == _BACKGROUND or basins[p]:
            continue
        q = p
        while basins[q] == 0 and ways[q] < _ON_WAY:
            move = ways[q]
            ways[q] = move + _ON_WAY
            q += steps[move]
        basin = basins[q]
        if basin == 0:  # the way has met itself: a circle, which it goes round once more
            count += 1
            basin = count
            while not is_sink[q]:
                is_sink[q] = True
                q += steps[ways[q] - _ON_WAY]
        q = p
        while ways[q] >= _ON_WAY:
            ways[q] -= _ON_WAY
            basins[q] = basin
            q += steps[ways[q]]


def join_sinks(
    basins: NDArray[np.uint32],
    sinks: NDArray[np.int64],
    basin_of_sink: NDArray[np.int64],
    gather_vx: int,
    is_2d: bool,
) -> NDArray[np.uint32]:
    """Label basins, as one where sinks are near each other.

    Parameters
    ----------
    basins, sinks, basin_of_sink
        As `follow_moves` returns them.
    gather_vx
        How far apart sinks of one object may be along each axis.
    is_2d
        Whether they must lie in one section, too.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32, 0 where it was.
    """
    if not len(sinks):
        return basins
    apart = np.array([gather_vx + 1 if is_2d else 1, 1, 1])
    pairs = cKDTree(sinks * apart).query_pairs(gather_vx, p=np.inf, output_type="ndarray")
    return join_labels(basins, basin_of_sink[pairs])


def join_labels(labels: NDArray[np.uint32], pairs: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return one label to all that pairs connect.

    Parameters
    ----------
    labels
        (Z, Y, X) ids 0..n.
    pairs
        (P, 2) ids that belong together.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32, 0 where it was.
    """
    count = int(labels.max(initial=0)) + 1
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, joined = connected_components(graph, directed=False)
    return joined.astype(np.uint32)[labels]  # 0 is joined to nothing, and stays 0, the first


def stitch_sections(labels: NDArray[np.uint32], least_iou: float) -> NDArray[np.uint32]:
    """Join objects of neighbouring sections that overlap.

    Parameters
    ----------
    labels
        (Z, Y, X); objects of different sections have different ids.
    least_iou
        Voxels that two objects share, over those of both together, from which on they are one.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32, 0 where it was.
    """
    labels = number_objects(labels)
    sizes = np.bincount(labels.ravel())
    joined = [np.empty((0, 2), np.int64)]
    for below, above in itertools.pairwise(labels):
        both = (below > 0) & (above > 0)
        pairs, shared = np.unique(below[both] * np.int64(len(sizes)) + above[both], return_counts=True)
        pairs = np.stack(np.divmod(pairs, len(sizes)), axis=1)
        of_both = sizes[pairs].sum(axis=1) - shared
        joined.append(pairs[shared >= least_iou * of_both])
    return join_labels(labels, np.concatenate(joined))
