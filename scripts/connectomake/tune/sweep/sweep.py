"""Every threshold for the price of a few: the objects at chosen voxels, for many thresholds, from one pass.

What decides over a threshold is read at the nodes of skeletons, some 10,000 voxels of a volume of 10^9: labels are
never painted. See `tune.sweep.kernels` for how one tree holds the objects of all thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectomake.decode.thresholds import as_ordered_integers, check_affinities
from connectomake.errors import DataError
from connectomake.geometry import Triple, to_triple
from connectomake.tune.sweep import kernels as sweep_kernels
from connectomake.tune.sweep import planes as sweep_planes
from connectomake.tune.sweep import tree as sweep_tree

_SLABS_PER_THREAD = 4

Read = Callable[[int, int], NDArray]


def sweep_thresholds(
    affinities: NDArray,
    thresholds: Sequence[float],
    nodes_zyx: ArrayLike,
    *,
    min_size_vx: int = 0,
    edge_offset: int = 0,
    threads: int = 1,
) -> NDArray[np.uint32]:
    """Return the object under each node at each threshold.

    Two nodes share an object, or a node lies in none, exactly where that is so in
    `affinity_cc3d(affinities, threshold, min_size_vx, edge_offset=edge_offset)`.

    Parameters
    ----------
    affinities
        (C, Z, Y, X) as `affinity_cc3d` reads them.
    thresholds
        T values from 0 to 1, in any order.
    nodes_zyx
        (N, 3) voxels, inside the volume.
    min_size_vx
        Objects with fewer voxels are background, 0.
    edge_offset
        0: channel c at voxel p is the edge p -- p + e_c; 1: the edge p - e_c -- p.
    threads
        The result does not depend on it.

    Returns
    -------
    labels
        (T, N) uint32: 0 = background, else 1 + the first node that lies in the same object.

    Raises
    ------
    DataError
        If an argument is not as above.

    Notes
    -----
    Takes as long as one decode where affinities are clear, and as two or three where a third of them lie between the
    thresholds. Reads the affinities once. Beyond them it holds four bytes for each run of voxels that are linked along
    x at the highest threshold or have any edge at the lowest: at most four bytes per voxel, whatever the noise (eight
    in volumes of more than 2^28 voxels with 13 thresholds); as much again to tell small objects.
    """
    check_affinities(affinities, edge_offset)
    return sweep_blocks(
        lambda begin, end: affinities[:, begin:end],
        to_triple(affinities.shape[1:]),
        thresholds,
        nodes_zyx,
        min_size_vx=min_size_vx,
        edge_offset=edge_offset,
        threads=threads,
    )


def sweep_blocks(
    read: Read,
    shape_zyx: Triple,
    thresholds: Sequence[float],
    nodes_zyx: ArrayLike,
    *,
    min_size_vx: int = 0,
    edge_offset: int = 0,
    depth: int | None = None,
    threads: int = 1,
) -> NDArray[np.uint32]:
    """Do what `sweep_thresholds` does with affinities that are read piece by piece.

    Parameters
    ----------
    read
        read(begin, end) gives the affinities (C, z, Y, X) of planes begin..end. Called once for each piece, from
        several threads; with edge_offset 1 the plane after a piece is read along with it.
    shape_zyx
        Of the volume.
    thresholds, nodes_zyx, min_size_vx, edge_offset, threads
        See `sweep_thresholds`.
    depth
        Planes of a piece; by default four pieces for each thread.

    Returns
    -------
    labels
        (T, N) uint32; do not depend on `depth`.

    Raises
    ------
    DataError
        See `sweep_thresholds`.
    """
    nodes = _check_nodes(nodes_zyx, shape_zyx)
    levels = _check_thresholds(thresholds)
    if not prod(shape_zyx):
        return np.zeros((len(thresholds), 0), np.uint32)
    forest = _Forest(read, to_triple(shape_zyx), levels, edge_offset, measured=min_size_vx > 2)
    in_order = np.argsort(nodes[:, 0], kind="stable")
    run, level = np.empty(len(nodes), np.int64), np.zeros(len(nodes), np.int64)
    run[in_order], level[in_order] = forest.grow(nodes[in_order], _cut(shape_zyx[0], depth, threads), threads)
    labels = forest.label_nodes(run, level, min_size_vx, max(1, threads))
    return labels[np.searchsorted(levels, np.asarray(thresholds, np.float64))]


@dataclass(frozen=True)
class _Slab:
    """Planes begin..end; levels, starts and `before` of the first and the last; the numbers of its runs."""

    begin: int
    end: int
    first: tuple[NDArray, NDArray, NDArray]
    last: tuple[NDArray, NDArray, NDArray]
    runs: tuple[int, int]


class _Forest:
    """The objects of all thresholds; see `tune.sweep.tree`.

    A slab's runs are numbered from the number of voxels before it on, so that slabs can be done at the same time. Pages
    of memory that no run falls into are never touched, and cost nothing.
    """

    def __init__(
        self, read: Read, shape_zyx: Triple, levels: NDArray[np.float64], edge_offset: int, *, measured: bool
    ) -> None:
        voxels = prod(shape_zyx)
        self.read, self.shape_zyx, self.levels, self.edge_offset = read, shape_zyx, levels, edge_offset
        dtype, self.shift = _choose_entry(voxels, len(levels))
        self.tree = np.empty(voxels, dtype)
        self.sizes = np.empty(voxels if measured else 0, np.uint32 if voxels < 2**32 else np.int64)
        self.slabs: list[_Slab] = []

    def grow(
        self, nodes_zyx: NDArray[np.int64], cuts: Sequence[int], threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Put the whole volume into the tree; give run and level of each node (sorted by z)."""
        run, level = np.zeros(len(nodes_zyx), np.int64), np.zeros(len(nodes_zyx), np.int64)
        starts = np.searchsorted(nodes_zyx[:, 0], cuts)

        def grow(i: int) -> _Slab:
            part = slice(starts[i], starts[i + 1])
            return self._grow_slab(cuts[i], cuts[i + 1], nodes_zyx[part], run[part], level[part])

        with ThreadPoolExecutor(max(1, threads)) as pool:
            self.slabs = list(pool.map(grow, range(len(cuts) - 1)))
        for upper, lower in pairwise(self.slabs):
            sweep_kernels.link_planes(
                upper.last[0], lower.first[0], upper.last[1:], lower.first[1:], self.tree, self.shift
            )
            height = self.shape_zyx[1]
            part = slice(*np.searchsorted(nodes_zyx[:, 0], (lower.begin, lower.begin + 1)))
            sweep_kernels.raise_node_levels(upper.last[0], height, nodes_zyx[part], level[part])
        return run, level

    def label_nodes(
        self, run: NDArray[np.int64], level: NDArray[np.int64], min_size_vx: int, threads: int
    ) -> NDArray[np.uint32]:
        """Return the (levels, N) labels of nodes from their runs and the levels of their strongest edges."""
        labels = np.zeros((len(self.levels), len(run)), np.uint32)
        alive = np.flatnonzero(level)
        standing, names = run[alive], np.arange(len(alive))
        runs = np.empty((len(self.levels), len(alive)), np.int64)
        for at in range(len(self.levels), 0, -1):
            sweep_tree.name_nodes(self.tree, self.shift, at, standing, names)
            labels[at - 1, alive] = np.where(level[alive] >= at, alive[names] + 1, 0)
            runs[at - 1] = standing[names]
        if self.sizes.size:
            labels[:, alive] *= self._measure(runs, threads) >= min_size_vx
        return labels

    def _measure(self, runs: NDArray[np.int64], threads: int) -> NDArray[np.int64]:
        """Count the voxels of components from the (levels, N) runs that stand for them."""
        levels = np.arange(1, len(runs) + 1)[:, None]
        pairs, inverse = np.unique(runs * len(levels) + levels - 1, return_inverse=True)
        marked, first, counts = np.unique(pairs // len(levels), return_index=True, return_counts=True)
        # a run stands for components from one level above its own on, without gaps
        spans = np.stack([first - pairs[first] % len(levels) - 1, first + counts - 1], axis=1)
        marks = np.zeros(-(-self.tree.size // 64), np.uint64)
        np.bitwise_or.at(marks, marked >> 6, np.uint64(1) << (marked & 63).astype(np.uint64))
        in_word = np.bincount(marked >> 6, minlength=len(marks))
        ranks = np.cumsum(in_word) - in_word
        own, added = self.sizes[marked].astype(np.int64), np.zeros(len(pairs) + 1, np.int64)

        def shorten(slab: _Slab) -> None:
            sweep_tree.shorten(self.tree, slab.runs[0], slab.runs[1], self.shift)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(shorten, self.slabs))
        for slab in reversed(self.slabs):
            begin, end = slab.runs
            sweep_tree.add_sizes(self.tree, begin, end, self.shift, marks, ranks, spans, self.sizes, added)
        from_here = np.cumsum(added[::-1])[::-1]
        sizes = np.repeat(own - from_here[first + counts], counts) + from_here[:-1]
        return sizes[inverse.reshape(runs.shape)]

    def _grow_slab(
        self, begin: int, end: int, nodes_zyx: NDArray, run: NDArray[np.int64], level: NDArray[np.int64]
    ) -> _Slab:
        depth, height, width = self.shape_zyx
        block = self.read(begin, min(end + self.edge_offset, depth))
        check_affinities(block, self.edge_offset)
        lows, high = self._bounds(block)
        values = tuple(as_ordered_integers(np.ascontiguousarray(block[axis]), 0.0)[0].ravel() for axis in (2, 1, 0))
        planes = sweep_planes.make_planes(4, height, width, len(self.levels))
        first_run = begin * height * width
        last, next_run = sweep_kernels.grow_slab(
            values,
            (end - begin, height, width),
            depth - 1 - begin,
            lows,
            high,
            self.edge_offset,
            nodes_zyx - np.array([begin, 0, 0]),
            run,
            level,
            first_run,
            planes,
            self.tree,
            self.shift,
            self.sizes,
        )
        ends = [tuple(part[i].copy() for part in planes) for i in (0, last)]
        return _Slab(begin, end, ends[0], ends[1], (first_run, next_run))

    def _bounds(self, block: NDArray) -> tuple[NDArray, np.generic]:
        """Return the value above which an edge is one, for each level, and the one up to which, as ordered integers."""
        nothing = np.empty(0, block.dtype)
        bounds = [as_ordered_integers(nothing, float(level))[1:] for level in self.levels]
        return np.array([low for low, _ in bounds]), bounds[0][1]


def _choose_entry(voxels: int, levels: int) -> tuple[type[np.integer], int]:
    """Choose the type of the tree's entries, and how many of its bits a run's number takes; the rest hold the level."""
    bits = 32 - levels.bit_length()
    return (np.uint32, bits) if bits > 0 and voxels <= 2**bits else (np.int64, 40)


def _cut(planes: int, depth: int | None, threads: int) -> list[int]:
    """Return the planes between which the volume is cut, both ends included."""
    if depth is None:
        depth = max(1, -(-planes // (1 if threads == 1 else _SLABS_PER_THREAD * threads)))
    return [*range(0, planes, depth), planes]


def _check_thresholds(thresholds: Sequence[float]) -> NDArray[np.float64]:
    """Return the thresholds ascending, each once."""
    levels = np.unique(np.asarray(thresholds, np.float64))
    if not levels.size or not (levels[0] >= 0 and levels[-1] <= 1):
        raise DataError("the thresholds are no affinities", expected="at least one, each 0 to 1", got=list(thresholds))
    return levels


def _check_nodes(nodes_zyx: ArrayLike, shape_zyx: Triple) -> NDArray[np.int64]:
    nodes = np.asarray(nodes_zyx)
    if nodes.ndim != 2 or nodes.shape[1] != 3 or nodes.dtype.kind not in "iu":
        raise DataError("nodes are voxels", expected="(N, 3) integers", got=f"{nodes.shape} {nodes.dtype}")
    outside = np.flatnonzero(((nodes < 0) | (nodes >= np.array(shape_zyx))).any(axis=1))
    if outside.size:
        raise DataError(
            f"node {outside[0]} lies outside the volume",
            expected=f"within {tuple(shape_zyx)} voxels (z, y, x)",
            got=nodes[outside[0]].tolist(),
            hint="clip the skeletons to the volume",
        )
    return nodes.astype(np.int64)
