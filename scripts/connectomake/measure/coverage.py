"""The part of a volume that a store covers, and the store and the truth brought together there.

A prediction may cover a box of its volume, only crops or a mask in it, or lie on another level of its pyramid. Voxels
are compared on the voxels of the volume, those of its truth; what was not predicted counts as unknown.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box, voxel_at
from connectomake.regions.wanted import Wanted, find_wanted, mark_unknown
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.label_volumes import BLOCK_VX, reading_grid
from connectomake.volumes.nodes import clip_skeletons, keep_nodes, segment_at_nodes
from connectomake.volumes.region import Region
from connectomake.volumes.resample import corner_nm, covered_box, extent_nm, lay_on, voxels_under
from connectomake.volumes.skeletons import Skeletons
from connectomake.volumes.volume import Lattice, Readable, Volume

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Coverage:
    """What a store covers of a volume. Made by `find_coverage`.

    Parameters
    ----------
    store
        The store's voxels.
    grid
        The volume, whose voxels they are.
    box
        Those of the volume's whose centres lie in the store.
    wanted
        Which voxels of the store were predicted; None = all.
    is_whole
        Whether the store has the volume's own voxels, all of them.
    """

    store: Readable
    grid: IngestedVolume
    box: Box
    wanted: Wanted | None
    is_whole: bool

    def bring_truth(self, truth: Volume) -> Readable:
        """Cut the truth to what the store covers; unknown (-1) where nothing was predicted."""
        return mark_unknown(truth if self.is_whole else truth.crop(self.box), self.wanted)

    def bring_labels(self, labels: Readable) -> Readable:
        """Bring labels on the store's voxels, such as the store itself, onto those of `bring_truth`."""
        return labels if self.is_whole else lay_on(labels, self.grid, self.box)

    def bring_array(self, labels: np.ndarray) -> np.ndarray:
        """Bring labels (Z, Y, X) on the store's voxels onto those of `bring_truth`; the same array if they are."""
        return labels if self.is_whole else labels[np.ix_(*voxels_under(self.store, self.grid, self.box))]

    def clip(self, skeletons: Skeletons) -> Skeletons:
        """Drop the nodes outside of what was predicted, with their edges."""
        store = self.store
        size, offset = store.voxel_size_zyx_nm, store.offset_zyx_nm
        clipped = clip_skeletons(skeletons, store.shape_zyx, size, offset)
        if self.wanted is None:
            return clipped
        centre = voxel_at(clipped.node_pos_nm, size, offset) * np.asarray(size) + offset
        return keep_nodes(clipped, segment_at_nodes(self.wanted, centre)[0])

    def measure_share(self, block_vx: int = BLOCK_VX, threads: int = 1) -> float:
        """Return the share of the volume's voxels that were predicted, 0 to 1."""
        covered = self.box.size
        if self.wanted is not None:
            flags = lay_on(self.wanted, self.grid, self.box)
            with ThreadPoolExecutor(max(1, threads)) as pool:
                blocks = pool.map(lambda box: np.count_nonzero(flags.read(box)), reading_grid([flags], block_vx))
                covered = sum(map(int, blocks))
        return covered / Box.of_shape(self.grid.shape_zyx).size


def find_coverage(store: Readable, region: Region | None, volume: IngestedVolume) -> Coverage:
    """Find the part of an ingested volume that a store covers.

    Parameters
    ----------
    store
        Labels, or maps.
    region
        What the attributes of the store say was predicted; None = all.
    volume
        The ingested volume.

    Raises
    ------
    DataError
        The store holds no voxel of the volume.
    """
    wanted = find_wanted(region, store)
    if _is_same(store, volume):
        return Coverage(store, volume, Box.of_shape(volume.shape_zyx), wanted, is_whole=True)
    box = covered_box(store, volume)
    if not box.size:
        raise DataError(
            f"{store.source} does not lie in the volume of {volume.path}",
            expected=f"voxels in {_span(volume)}",
            got=_span(store),
            hint="is it the segmentation of another volume, or is its voxel size or offset wrong?",
        )
    log.info(
        "%s, of %s nm voxels, covers the voxels %s to %s (z, y, x) of %s",
        *(store.source, store.voxel_size_zyx_nm, box.start_zyx, box.stop_zyx, volume.path),
    )
    return Coverage(store, volume, box, wanted, is_whole=False)


def _is_same(store: Lattice, grid: Lattice) -> bool:
    """Return whether a store has the voxels of a volume, but for rounding."""
    size = np.asarray(grid.voxel_size_zyx_nm)
    return (
        store.shape_zyx == grid.shape_zyx
        and bool((np.abs(np.subtract(store.voxel_size_zyx_nm, size)) <= 1e-4 * size).all())
        and bool((np.abs(np.subtract(store.offset_zyx_nm, grid.offset_zyx_nm)) <= 1e-2 * size).all())
    )


def _span(lattice: Lattice) -> str:
    """Write from where to where voxels reach."""
    start = corner_nm(lattice)
    stop = [a + e for a, e in zip(start, extent_nm(lattice), strict=True)]
    return f"{[round(v, 3) for v in start]} to {[round(v, 3) for v in stop]} nm (z, y, x)"
