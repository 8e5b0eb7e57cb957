"""Which voxels of a volume are predicted: a box, crops in it, and a mask of any voxel size over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from connectomake.geometry import Box, TripleNm, to_triple, to_triple_nm
from connectomake.volumes.mask import Mask


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
    def of_settings(cls, settings: Mapping[str, Any]) -> Region:
        """Read a region from the settings of a prediction: its plan's, its ledger's, or its store's attributes."""
        entry = settings["region"]
        return cls(
            box=to_box(entry["box_zyx_vx"]),
            crops=tuple(to_box(crop) for crop in entry["crops_zyx_vx"]),
            stencil=None if entry["mask"]["source"] is None else Mask.of_settings(entry["mask"]),
            voxel_size_zyx_nm=to_triple_nm(settings["voxel_size_zyx_nm"]),
            offset_zyx_nm=to_triple_nm(settings["offset_zyx_nm"]),
        )

    def as_settings(self) -> dict[str, Any]:
        """Give plain data for the settings, under ``region``."""
        mask = {"source": None, "fingerprint": None} if self.stencil is None else self.stencil.as_settings()
        return {"box_zyx_vx": as_corners(self.box), "crops_zyx_vx": [as_corners(c) for c in self.crops], "mask": mask}

    @property
    def is_box(self) -> bool:
        """Whether all of its box is wanted."""
        return not self.crops and self.stencil is None

    def mask(self, box: Box) -> np.ndarray | None:
        """Say which voxels of a box are wanted.

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
        """Tell whether any voxel of a box, in voxels of the working volume, is wanted."""
        parts = self._parts(box)
        if self.stencil is None:
            return bool(parts)
        return any(self.stencil.is_set(self.centres(part)) for part in parts)

    def centres(self, box: Box) -> tuple[np.ndarray, ...]:
        """Give the positions in nm, per axis, of the centres of a box's voxels."""
        inner = box.within(self.box)
        axes = zip(inner.start_zyx, inner.stop_zyx, self.voxel_size_zyx_nm, self.offset_zyx_nm, strict=True)
        return tuple(offset + np.arange(start, stop) * size for start, stop, size, offset in axes)

    def _parts(self, box: Box) -> list[Box]:
        """Give the parts of a box that lie in the region, but for the mask; they may overlap."""
        here = self.box.intersect(box)
        parts = (crop.intersect(here) for crop in self.crops or (here,))
        return [part for part in parts if part.size]


def to_box(corners: Sequence[Sequence[int]]) -> Box:
    """Turn [start, stop], each z, y, x, into a box."""
    start, stop = corners
    return Box(to_triple(start), to_triple(stop))


def as_corners(box: Box) -> list[list[int]]:
    """Give a box as plain data: the inverse of `to_box`."""
    return [list(box.start_zyx), list(box.stop_zyx)]
