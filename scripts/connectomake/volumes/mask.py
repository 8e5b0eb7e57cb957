"""A mask of any format and voxel size, looked up by physical position: a coarse one may lie over petabytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box, TripleNm, to_triple, voxel_at
from connectomake.sources import make_absolute
from connectomake.volumes.contract import Record
from connectomake.volumes.volume import Volume, fingerprint, open_volume

SMALL_VX = 2**25  # a mask up to this is held in memory, so that windows can be asked about by the thousand
LARGEST_READ_VX = 2**25  # at once, of a mask that is finer than what it is asked for


@dataclass(frozen=True)
class Mask:
    """A volume that says by 0 where nothing is wanted.

    Parameters
    ----------
    source
        Its path, absolute.
    fingerprint
        What tells its content apart.
    voxel_size_zyx_nm, offset_zyx_nm
        Its voxel size, and where the centre of its first voxel lies, in nm.
    """

    source: str
    fingerprint: str
    voxel_size_zyx_nm: TripleNm
    offset_zyx_nm: TripleNm

    @classmethod
    def of_record(cls, record: Record) -> Mask:
        """Take it out of what `as_settings` wrote."""
        size, offset = (record.triple_nm(key) for key in ("voxel_size_zyx_nm", "offset_zyx_nm"))
        return cls(record.text("source"), record.text("fingerprint"), size, offset)

    def as_settings(self) -> dict[str, Any]:
        """Return plain data."""
        geometry = {"voxel_size_zyx_nm": list(self.voxel_size_zyx_nm), "offset_zyx_nm": list(self.offset_zyx_nm)}
        return {"source": self.source, "fingerprint": self.fingerprint, **geometry}

    @property
    def is_small(self) -> bool:
        """Whether it is held in memory."""
        return prod(self._volume.shape_zyx) <= SMALL_VX

    @property
    def extent_zyx_nm(self) -> list[tuple[float, float]]:
        """From where to where it reaches along each axis, in nm."""
        axes = zip(self.offset_zyx_nm, self.voxel_size_zyx_nm, self._volume.shape_zyx, strict=True)
        return [(offset - size / 2, offset + (n - 0.5) * size) for offset, size, n in axes]

    def reaches(self, positions_nm: Sequence[np.ndarray]) -> bool:
        """Return whether any position of a grid (see `at`) lies in the mask."""
        return all(axis.any() for axis in self._inside(self._voxels(positions_nm)))

    def at(self, positions_nm: Sequence[np.ndarray]) -> np.ndarray:
        """Look up a grid of positions: each takes the voxel of the mask that holds it, the nearest one.

        Parameters
        ----------
        positions_nm
            Those along z, y and x, each ascending, in nm.

        Returns
        -------
        np.ndarray
            (Z, Y, X) bool; false where the mask is 0 or does not reach.
        """
        found = np.zeros([len(axis) for axis in positions_nm], bool)
        voxels = self._voxels(positions_nm)
        inside = self._inside(voxels)
        if not all(axis.any() for axis in inside):
            return found
        asked = [v[i] for v, i in zip(voxels, inside, strict=True)]
        hull = Box(to_triple([a[0] for a in asked]), to_triple([a[-1] + 1 for a in asked]))
        longest = int(np.argmax(hull.shape_zyx))
        if hull.size > LARGEST_READ_VX and len(positions_nm[longest]) > 1:
            middle = len(positions_nm[longest]) // 2
            halves = [[*positions_nm], [*positions_nm]]
            halves[0][longest], halves[1][longest] = np.split(positions_nm[longest], [middle])
            return np.concatenate([self.at(half) for half in halves], axis=longest)
        values = self._read(hull)
        found[np.ix_(*inside)] = values[np.ix_(*(a - s for a, s in zip(asked, hull.start_zyx, strict=True)))]
        return found

    def is_set(self, positions_nm: Sequence[np.ndarray]) -> bool:
        """Return whether any voxel that holds a position of a grid (see `at`) is not 0."""
        firsts = [np.unique(voxels, return_index=True)[1] for voxels in self._voxels(positions_nm)]
        return bool(self.at([axis[first] for axis, first in zip(positions_nm, firsts, strict=True)]).any())

    def hash(self) -> str:
        """Return what tells its content apart: the SHA-256 of where it is not 0 if it is small, else of parts of it."""
        if self._whole is None:
            return fingerprint(self._volume)
        return hashlib.sha256(f"{self._whole.shape}".encode() + np.packbits(self._whole).tobytes()).hexdigest()

    @cached_property
    def _volume(self) -> Volume:
        size, offset = self.voxel_size_zyx_nm, self.offset_zyx_nm
        return open_volume(self.source, voxel_size_zyx_nm=size, offset_zyx_nm=offset).drop_single_channel()

    @cached_property
    def _whole(self) -> np.ndarray | None:
        return self._volume.read() != 0 if self.is_small else None

    def _read(self, box: Box) -> np.ndarray:
        return self._volume.read(box) != 0 if self._whole is None else self._whole[box.slices]

    def _voxels(self, positions_nm: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the mask's voxel, per axis, that holds each position; it may lie outside."""
        axes = zip(positions_nm, self.voxel_size_zyx_nm, self.offset_zyx_nm, strict=True)
        return [voxel_at(positions, [size], [offset]) for positions, size, offset in axes]

    def _inside(self, voxels: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Tell, per axis, which voxels there are."""
        return [(v >= 0) & (v < n) for v, n in zip(voxels, self._volume.shape_zyx, strict=True)]


def open_mask(source: str, volume: Volume) -> Mask:
    """Open the mask of a volume. Where its file tells no voxel size or place, it has those of the volume.

    Parameters
    ----------
    source
        Its path.
    volume
        The volume, as its data config gives it.

    Raises
    ------
    MissingDataError
        The file does not exist.
    DataError
        It is no volume, has several channels, or is silent about its voxel size and has another shape than the volume.
    """
    found = open_volume(source, like=volume).drop_single_channel()
    if found.has_channels:
        raise DataError(f"the mask {source} has channels", expected="one number per voxel", got=found.shape)
    if found.array.metadata.voxel_size_nm is None and found.shape_zyx != tuple(volume.shape_zyx):
        raise DataError(
            f"the mask {source} does not say how large its voxels are, and has another shape than the volume",
            expected=f"a voxel size in the file, or the shape {tuple(volume.shape_zyx)} (z, y, x)",
            got=found.shape_zyx,
            hint="write it as OME-Zarr or NIfTI, which tell voxel size and position",
        )
    mask = Mask(make_absolute(source), "", found.voxel_size_zyx_nm, found.offset_zyx_nm)
    return replace(mask, fingerprint=mask.hash())
