"""Connected components of a volume that comes slab by slab, numbered as cc3d numbers those of the whole.

Voxels that touch by a face, an edge or a corner (26 neighbours) and carry the same label are one component. Each slab
is labelled by cc3d; components that meet in the planes where two slabs touch are united. cc3d counts components in the
order of their first voxels (z slowest, x fastest); so do the slabs one after the other, hence the first of the united
ones gives the place of all.
"""

from __future__ import annotations

import numba
import numpy as np

from connectomake.union_find import number_sets, unite


def label_slab(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the components of one slab.

    Parameters
    ----------
    labels
        (Z, Y, X) of any type, 0 = background.

    Returns
    -------
    tuple
        (Z, Y, X) uint32, 1..n in scan order of the first voxels; n.
    """
    import cc3d

    plain = _as_plain(labels)
    if not plain.any():
        return np.zeros(labels.shape, np.uint32), 0
    return cc3d.connected_components(plain, connectivity=26, return_N=True, out_dtype=np.uint32)


class SlabComponents:
    """Unites components of one slab after the other.

    A component of slab k with the number i there has the running number ``offsets[k] + i``.
    """

    def __init__(self) -> None:
        self.offsets = [0]
        self._parent = np.zeros(1, np.int64)
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # labels and running numbers of the last plane

    def add(self, labels: np.ndarray, components: np.ndarray, count: int) -> None:
        """Take the next slab: its labels, and what `label_slab` gave for it."""
        offset = self.offsets[-1]
        new = np.arange(offset + 1, offset + count + 1)
        self._parent = np.concatenate([self._parent, new])
        if self._last is not None:
            _join_planes(*self._last, _as_plain(labels[0]), _number(components[0], offset), self._parent)
        self._last = _as_plain(labels[-1]).copy(), _number(components[-1], offset)
        self.offsets.append(offset + count)

    def finish(self) -> tuple[np.ndarray, int]:
        """Return the component of each running number, (N + 1,) int64 from 1 to n, 0 for 0; and n."""
        return self._parent, number_sets(self._parent, 0)


def _as_plain(labels: np.ndarray) -> np.ndarray:
    """Return labels as compiled code takes them: in the machine's byte order, in a row."""
    kind = np.float32 if labels.dtype == np.float16 else labels.dtype.newbyteorder("=")
    return np.ascontiguousarray(labels, kind)


def _number(components: np.ndarray, offset: int) -> np.ndarray:
    plane = components.astype(np.int64)
    return np.where(plane > 0, plane + offset, 0)


@numba.njit(cache=True, nogil=True)
def _join_planes(
    before: np.ndarray, number_before: np.ndarray, after: np.ndarray, number_after: np.ndarray, parent: np.ndarray
) -> None:  # pragma: no cover
    """Unite what touches across two planes (Y, X) and has the same label; the smaller number becomes the root."""
    height, width = after.shape
    for y in range(height):
        for x in range(width):
            if number_after[y, x] == 0:
                continue
            for v in range(max(0, y - 1), min(height, y + 2)):
                for u in range(max(0, x - 1), min(width, x + 2)):
                    if number_before[v, u] and before[v, u] == after[y, x]:
                        unite(parent, number_before[v, u], number_after[y, x])
