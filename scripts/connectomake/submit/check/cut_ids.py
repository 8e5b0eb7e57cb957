"""Ids that were cut to 8 bits: of 300 objects named 1 to 300, number 256 vanishes and 44 more share ids with others.

What can be seen of it is that all 255 ids occur and yet there are more than 255 objects. Crumbs beside an object that
share its id are no objects: only pieces that are not small against the objects of the array count.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from connectomake.submit.check.stored import StoredArray, slabs_of
from connectomake.submit.check.values import Values

IDS = 255  # that 8 bits can name
SLAB_VOXELS = 2**25
CRUMB = 0.25  # of the median over ids of the largest piece


def count_pieces(array: StoredArray, values: Values) -> tuple[int, int]:
    """Count the pieces of an array of 8 bits that uses all 255 ids, and those of them that are no crumbs.

    More objects than ids are a sign that ids were cut. A right array of up to 255 objects, each in one piece, has as
    many pieces as ids; crumbs make more pieces, but not more objects; and few ids that are given to many objects on
    purpose are not all 255. Costs connected components (26 neighbours, as the scorer takes them) of arrays that use all
    255 ids, and nothing for others.

    Parameters
    ----------
    array
        Labels of a class that is told object by object.
    values
        What `look_at` saw of it.

    Returns
    -------
    tuple of int
        Pieces, and those that are not small against the objects; 0, 0 where the array is of another type, or an id is
        not used.
    """
    if array.dtype.itemsize > 1 or np.count_nonzero(values.counts[1:]) < IDS:
        return 0, 0
    ids, voxels = measure_pieces(array)
    largest = np.zeros(IDS + 1, np.int64)
    np.maximum.at(largest, ids, voxels)
    return len(ids), int(np.count_nonzero(voxels >= CRUMB * np.median(largest[1:])))


def measure_pieces(array: StoredArray, most_voxels: int = SLAB_VOXELS) -> tuple[np.ndarray, np.ndarray]:
    """Find the connected pieces (26 neighbours, equal ids) of an array of 8 bits, slab by slab.

    Parameters
    ----------
    array
        The labels.
    most_voxels
        Of a slab; memory is some 20 bytes per voxel of it.

    Returns
    -------
    (N,) uint8, (N,) int64
        Id and voxels of each piece.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids, voxels, pairs = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)], [np.zeros((2, 0), np.int64)]
    known = 0
    above: np.ndarray | None = None
    for numbers, slab_ids, slab_voxels, shared in _label_slabs(array, most_voxels):
        if above is not None:
            both = (above > 0) & (shared > 0)
            pairs.append(np.unique(np.stack((above[both], shared[both] + known)), axis=1) - 1)
        ids.append(slab_ids)
        voxels.append(slab_voxels)
        above = np.where(numbers > 0, numbers + known, 0)
        known += len(slab_ids)
    first, second = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(known, known))
    number, piece = connected_components(graph, directed=False)
    total = np.bincount(piece, weights=np.concatenate(voxels), minlength=number).astype(np.int64)
    name = np.zeros(number, np.uint8)
    name[piece] = np.concatenate(ids)
    return name, total


def _label_slabs(
    array: StoredArray, most_voxels: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Label each slab together with the last plane of the one before, which both then share.

    Yields, as int64: the numbers of the pieces, from 1, in its last plane; of each piece, id and voxels (without those
    of the shared plane, which were counted); and the numbers in the shared plane.
    """
    import cc3d

    before: np.ndarray | None = None
    for start, stop in slabs_of(array, most_voxels):
        slab = _read_planes(array, start, stop)
        whole = slab if before is None else np.concatenate((before, slab))
        before = slab[-1:]
        pieces, number = cc3d.connected_components(whole, connectivity=26, return_N=True)
        own = pieces[len(whole) - len(slab) :]
        names = np.zeros(number + 1, np.uint8)
        names[pieces.ravel()] = whole.ravel()
        voxels = np.bincount(own.ravel(), minlength=number + 1)
        yield pieces[-1].astype(np.int64), names[1:], voxels[1:], pieces[0].astype(np.int64)


def _read_planes(array: StoredArray, start: int, stop: int) -> np.ndarray:
    planes = np.full((stop - start, *array.shape_zyx[1:]), array.fill or 0, np.uint8)
    for place in array.chunks:
        box = array.box_of(place)
        low, high = max(start, box.start_zyx[0]), min(stop, box.stop_zyx[0])
        if low < high:
            values = array.read(place).view(np.uint8)
            z = box.start_zyx[0]
            planes[low - start : high - start, *box.slices[1:]] = values[low - z : high - z]
    return planes
