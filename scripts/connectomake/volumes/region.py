"""Which voxels of a volume are predicted: a box, crops in it, and a mask of any voxel size over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from connectomake.geometry import Box, TripleNm
from connectomake.volumes.contract import Record
from connectomake.volumes.mask import Mask
from connectomake.volumes.volume import Lattice


@dataclass(frozen=True)
class Region:
    """What is wanted of a volume; boxes are in voxels of the working volume (the level that is read, or resampled).

    Parameters
    ----------
    box
        What the store covers.
    crops
        Boxes in it; none = all of it.
    stencil
        The mask; None = all.
    voxel_size_zyx_nm
        Of the working volume, in nm.
    offset_zyx_nm
        Position of the centre of the first voxel of `box`, in nm.
    """

    box: Box
    crops: tuple[Box, ...] = ()
    stencil: Mask | None = None
    voxel_size_zyx_nm: TripleNm = (1.0, 1.0, 1.0)
    offset_zyx_nm: TripleNm = (0.0, 0.0, 0.0)

    @classmethod
    def of_record(cls, record: Record) -> Region:
        """Take a region out of what `as_settings` wrote; `place_on` says where it lies."""
        mask = record.section("mask")
        return cls(
            box=record.box("box_zyx_vx"),
            crops=record.boxes("crops_zyx_vx"),
            stencil=None if mask.values.get("source") is None else Mask.of_record(mask),
        )

    def place_on(self, store: Lattice) -> Region:
        """Return the region with the voxel size and the place of the store that covers its box."""
        return self.place_at(store.voxel_size_zyx_nm, store.offset_zyx_nm)

    def place_at(self, voxel_size_zyx_nm: TripleNm, offset_zyx_nm: TripleNm) -> Region:
        """Return the region with a voxel size and a place, both in nm."""
        return replace(self, voxel_size_zyx_nm=voxel_size_zyx_nm, offset_zyx_nm=offset_zyx_nm)

    def as_settings(self) -> dict[str, Any]:
        """Return plain data for the settings, under ``region``."""
        mask = {"source": None, "fingerprint": None} if self.stencil is None else self.stencil.as_settings()
        return {"box_zyx_vx": as_corners(self.box), "crops_zyx_vx": [as_corners(c) for c in self.crops], "mask": mask}

    @property
    def is_box(self) -> bool:
        """Whether all of its box is wanted."""
        return not self.crops and self.stencil is None

    def mask(self, box: Box) -> np.ndarray | None:
        """Return which voxels of a box are wanted.

        Parameters
        ----------
        box
            In voxels of the working volume; what lies outside of the region's own box is not wanted.

        Returns
        -------
        np.ndarray or None
            (Z, Y, X) bool over `box`; None where all are wanted.
        """
        if self.is_box and self.box.contains(box):
            return None
        wanted = np.zeros(box.shape_zyx, bool)
        for part in self._parts(box):
            wanted[part.within(box).slices] = True if self.stencil is None else self.stencil.at(self.centres(part))
        return None if wanted.all() else wanted

    def touches(self, box: Box) -> bool:
        """Return whether any voxel of a box, in voxels of the working volume, is wanted."""
        parts = self._parts(box)
        if self.stencil is None:
            return bool(parts)
        return any(self.stencil.is_set(self.centres(part)) for part in parts)

    def centres(self, box: Box) -> tuple[np.ndarray, ...]:
        """Return the positions in nm, per axis, of the centres of a box's voxels."""
        inner = box.within(self.box)
        axes = zip(inner.start_zyx, inner.stop_zyx, self.voxel_size_zyx_nm, self.offset_zyx_nm, strict=True)
        return tuple(offset + np.arange(start, stop) * size for start, stop, size, offset in axes)

    def _parts(self, box: Box) -> list[Box]:
        """Return the parts of a box that lie in the region, but for the mask; they may overlap."""
        here = self.box.intersect(box)
        parts = (crop.intersect(here) for crop in self.crops or (here,))
        return [part for part in parts if part.size]


def as_corners(box: Box) -> list[list[int]]:
    """Return a box as plain data."""
    return [list(box.start_zyx), list(box.stop_zyx)]
