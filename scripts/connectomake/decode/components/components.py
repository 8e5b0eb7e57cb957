"""Affinities to instances: connected components of the voxel graph whose edges are above a threshold.

The answer is that of the flood fill in BANIS and of `affinity_cc3d` in PyTorch Connectomics' first version, but for
edges that point out of the volume, which make no object here. It is the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from connectomake.decode.components import runs
from connectomake.decode.components.small_objects import RemoveSmall, merge_into_neighbors
from connectomake.decode.postprocess import smallest_label_type
from connectomake.decode.thresholds import as_ordered_integers, check_affinities
from connectomake.errors import DataError
from connectomake.geometry import Triple, to_triple
from connectomake.union_find import number_sets

_SLABS_PER_THREAD = 4


def affinity_cc3d(
    affinities: NDArray,
    threshold: float = 0.5,
    thres_small: int = 0,
    scale_factors: tuple[float, float, float] = (1.0, 1.0, 1.0),
    remove_small_mode: RemoveSmall = "background",
    edge_offset: int = 0,
    *,
    threads: int = 1,
) -> NDArray:
    """Label the connected components of the edges whose affinity is above a threshold.

    Only faces connect (6 neighbours), and only through an edge: two voxels that touch without one stay apart. A voxel
    with no edge is background (0), so no object has a single voxel. An edge that points out of the volume is ignored.

    Parameters
    ----------
    affinities
        (C, Z, Y, X), C >= 3; channels 0, 1, 2 are the edges along z, y, x, the others are ignored. Floats in 0..1,
        bool, or uint8 standing for value / 255. Not changed. A channel that is not C-contiguous is copied.
    threshold
        0 to 1. An edge counts if its affinity is strictly above it, as `affinities > threshold` has it in NumPy 2
        (which rounds the threshold to the dtype of the floats), or `affinities / 255 > threshold` for uint8. NaN is
        no edge.
    thres_small
        Voxels; smaller objects are treated as `remove_small_mode` says.
    scale_factors
        Factors in z, y, x by which the labels are resized at the end (nearest voxel).
    remove_small_mode
        'background': small objects become 0. 'neighbor': a small object joins the kept object it shares most voxel
        faces with (the smaller id on ties), and becomes 0 when it touches none. 'none': they stay.
    edge_offset
        0: channel c at voxel p is the edge p -- p + e_c (BANIS, Connectomake); 1: the edge p - e_c -- p (waterz,
        DeepEM).
    threads
        Threads to share the rows among; the labels do not depend on it.

    Returns
    -------
    labels
        (Z, Y, X) uint32 (uint64 above 2^32 - 1 objects), ids 1..n in scan order of each object's first voxel.

    Raises
    ------
    DataError
        If shape, dtype, threshold or edge_offset are not as above.

    Notes
    -----
    Reads the affinities once. Beyond them and the labels it needs half a byte per voxel, plus four bytes per run of
    linked voxels along x (eight in volumes with more than 2^31 runs).
    """
    check_affinities(affinities, edge_offset)
    _check_settings(threshold, scale_factors, remove_small_mode)
    components = find_components(affinities, threshold, edge_offset, threads)
    labels = paint_components(components, thres_small, remove_small_mode)
    return resize_nearest(labels, scale_factors)


@dataclass(frozen=True)
class Components:
    """Components as runs of voxels along x; the planes are laid out as in `runs`."""

    shape_zyx: Triple
    link_x: NDArray[np.uint64]
    starts: NDArray[np.uint64]
    first_run: NDArray[np.int64]
    ids: NDArray[np.signedinteger]
    count: int
    threads: int

    def sizes_vx(self) -> NDArray[np.int64]:
        """Count the voxels of every component: (count + 1,) int64, entry 0 is 0."""
        sizes = np.zeros(self.count + 1, np.int64)
        runs.measure_components(self.link_x, self.starts, self.ids, sizes)
        return sizes

    def first_voxels(self) -> NDArray[np.int64]:
        """Return flat index of the first voxel of every component in scan order: (count + 1,) int64, entry 0 is 0."""
        first = np.zeros(self.count + 1, np.int64)
        runs.locate_components(self.starts, self.ids, self.shape_zyx[2], first)
        return first

    def paint(self, new_id: NDArray, labels: NDArray) -> None:
        """Write `new_id[component]` into the voxels of `labels` (Z, Y, X), in place."""
        rows = labels.reshape(len(self.first_run) - 1, self.shape_zyx[2])
        _each_slab(
            lambda begin, end: runs.paint_runs(
                self.link_x, self.starts, self.first_run, self.ids, new_id, begin, end, rows
            ),
            _slabs(len(rows), self.threads),
            self.threads,
        )


def find_components(
    affinities: NDArray,
    threshold: float,
    edge_offset: int = 0,
    threads: int = 1,
    touched: NDArray[np.uint64] | None = None,
) -> Components:
    """Find the components of the edges above a threshold, without writing labels yet.

    Parameters and errors are those of `affinity_cc3d`; `touched` is a bit plane (Z * Y, words) of voxels that become a
    component of their own when no edge leads to them.
    """
    shape_zyx = to_triple(affinities.shape[1:])
    rows, height = shape_zyx[0] * shape_zyx[1], shape_zyx[1]
    slabs = _slabs(rows, threads)
    links = threshold_edges(affinities, threshold, edge_offset, threads)
    touched = links[0][:0] if touched is None else touched
    starts = np.empty_like(links[0])
    counts = np.zeros(rows, np.int64)
    _each_slab(lambda begin, end: runs.start_runs(*links, touched, height, begin, end, starts, counts), slabs, threads)

    first_run = np.zeros(rows + 1, np.int64)
    np.cumsum(counts, out=first_run[1:])
    parent = np.arange(first_run[-1], dtype=np.int32 if first_run[-1] < 2**31 else np.int64)

    def join(begin: int, end: int, low: int, high: int) -> None:
        runs.join_runs(links, starts, first_run, height, begin, end, low, high, parent)

    _each_slab(lambda begin, end: join(begin, end, begin, end), slabs, threads)
    for begin, end in slabs:  # the seams, one by one: their runs belong to two slabs
        join(max(begin, end - height), end, end, rows)
    return Components(shape_zyx, links[0], starts, first_run, parent, number_sets(parent, 1), threads)


def threshold_edges(
    affinities: NDArray, threshold: float, edge_offset: int = 0, threads: int = 1
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the edges above a threshold along x, y and z as bit planes, always in the source convention.

    Parameters and errors are those of `affinity_cc3d`.
    """
    depth, height, width = affinities.shape[1:]
    rows = depth * height
    planes = []
    for axis in (2, 1, 0):
        values, low, high = as_ordered_integers(np.ascontiguousarray(affinities[axis]), threshold)
        shift_zyx = tuple(edge_offset * (axis == a) for a in range(3))
        plane = np.empty((rows, -(-width // 64)), np.uint64)

        def fill(begin: int, end: int, v=values, lo=low, hi=high, s=shift_zyx, a=axis, p=plane) -> None:  # type: ignore[no-untyped-def]
            runs.threshold_rows(v, lo, hi, s, a, begin, end, p)

        _each_slab(fill, _slabs(rows, threads), threads)
        planes.append(plane)
    return planes[0], planes[1], planes[2]


def paint_components(components: Components, min_size_vx: int = 0, remove_small: RemoveSmall = "background") -> NDArray:
    """Write the labels of components, with the small ones treated as `affinity_cc3d` says.

    Returns
    -------
    labels
        (Z, Y, X) uint32 or uint64, ids 1..n in scan order.
    """
    dtype = smallest_label_type(components.count)
    labels = np.zeros(components.shape_zyx, dtype)
    if min_size_vx <= 1 or remove_small == "none":
        components.paint(np.arange(components.count + 1, dtype=dtype), labels)
        return labels
    kept = components.sizes_vx() >= min_size_vx
    if remove_small == "background":
        new_id = np.where(kept, np.cumsum(kept), 0).astype(dtype)
    else:
        components.paint(np.arange(components.count + 1, dtype=dtype), labels)
        new_id = merge_into_neighbors(labels, kept)
    components.paint(new_id, labels)
    return labels


def resize_nearest(labels: NDArray, scale_factors_zyx: tuple[float, float, float]) -> NDArray:
    """Resize labels by a factor for each axis: each new voxel takes the label of the voxel that its centre lies in.

    The new extents are `int(extent * factor)`, as `affinity_cc3d` of PyTorch Connectomics rounds them.
    """
    for axis, factor in enumerate(scale_factors_zyx):
        old, new = labels.shape[axis], int(labels.shape[axis] * factor)
        if new != old:
            labels = labels.take((2 * np.arange(new) + 1) * old // (2 * max(new, 1)), axis=axis)
    return labels


def _slabs(rows: int, threads: int) -> list[tuple[int, int]]:
    """Cut rows into slabs of equal height, a few for each thread so that a slow one does not hold up the rest."""
    slabs = 1 if threads == 1 else min(rows, _SLABS_PER_THREAD * threads)
    edges = [rows * i // slabs for i in range(slabs + 1)] if rows else [0]
    return list(pairwise(edges))


def _each_slab(work: Callable[[int, int], None], slabs: list[tuple[int, int]], threads: int) -> None:
    """Run work(begin, end) for every slab, on threads (the kernels release the GIL)."""
    if threads == 1:
        for begin, end in slabs:
            work(begin, end)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, *zip(*slabs, strict=True)))


def _check_settings(threshold: float, scale_factors: tuple[float, float, float], remove_small: str) -> None:
    if not 0 <= threshold <= 1:
        raise DataError("the threshold is no affinity", expected="0 to 1", got=threshold)
    if min(scale_factors) <= 0:
        raise DataError("scale factors have to be positive", got=scale_factors)
    if remove_small not in ("background", "neighbor", "none"):
        raise DataError(
            "no such way to remove small objects", expected="background, neighbor or none", got=remove_small
        )
