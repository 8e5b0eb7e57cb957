"""A volume of any format, read lazily as (Z, Y, X) or (C, Z, Y, X)."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple, to_triple_nm
from connectomake.volumes.axes import resolve_axes, resolve_offset, resolve_voxel_size
from connectomake.volumes.formats import open_array
from connectomake.volumes.formats.array import SPATIAL, FileArray

SAMPLE_VX = 16  # side of the boxes that a volume is told apart by


def fingerprint(volume: Readable) -> str:
    """Return SHA-256 of 27 small boxes of a volume: its corners, the middles of its edges and faces, and its centre.

    A path and a time do not tell what this tells. A change that touches none of the boxes stays unseen.
    """
    digest = hashlib.sha256()
    for place in itertools.product((0.0, 0.5, 1.0), repeat=3):
        start = [int(p * max(0, n - SAMPLE_VX)) for p, n in zip(place, volume.shape_zyx, strict=True)]
        sample = Box(to_triple(start), to_triple([a + SAMPLE_VX for a in start]))
        digest.update(volume.read(sample.intersect(Box.of_shape(volume.shape_zyx))).tobytes())
    return digest.hexdigest()


class Lattice(Protocol):
    """Where voxels lie."""

    @property
    def shape_zyx(self) -> Triple:
        """Extent in voxels."""

    @property
    def voxel_size_zyx_nm(self) -> TripleNm:
        """Extent of a voxel."""

    @property
    def offset_zyx_nm(self) -> TripleNm:
        """Centre of the first voxel."""


class Readable(Lattice, Protocol):
    """What reading a part of a volume needs; `Volume` has it, and so may an array in memory."""

    @property
    def source(self) -> str:
        """Where it comes from, for messages."""

    @property
    def dtype(self) -> np.dtype:
        """The type of the values."""

    @property
    def has_channels(self) -> bool:
        """Whether there is a channel axis."""

    @property
    def channels(self) -> int:
        """The number of channels; 1 where there is no channel axis."""

    @property
    def file_chunks_zyx(self) -> Triple | None:
        """What is decoded as one, in voxels; None where any part costs only its own bytes."""

    def read(self, box: Box | None = None, channels: slice | None = None) -> np.ndarray:
        """Return (Z, Y, X), or (C, Z, Y, X) where there is a channel axis."""


@dataclass(frozen=True)
class Volume:
    """A volume, or a box of one, in a file; read on demand. It can be pickled, and used by several threads.

    Made by `open_volume`. Intensities are handed over as they are in the file (uint8, uint16, float): to normalise
    them is the network's affair.

    Parameters
    ----------
    array
        The array in the file, in the file's own axis order.
    axes
        One letter for each of its axes; letters other than c, z, y, x mark axes of length 1 that are dropped.
    box
        The part that this volume is, in voxels of the file's array.
    voxel_size_zyx_nm
        In nm.
    offset_zyx_nm
        Position of the centre of this volume's first voxel, in nm.
    has_channels
        Whether arrays that are read have a channel axis.
    """

    array: FileArray
    axes: str
    box: Box
    voxel_size_zyx_nm: TripleNm
    offset_zyx_nm: TripleNm
    has_channels: bool

    @property
    def source(self) -> str:
        """Path of the file, with the name of the array inside."""
        return self.array.source

    @property
    def shape_zyx(self) -> Triple:
        """Extent in voxels."""
        return self.box.shape_zyx

    @property
    def dtype(self) -> np.dtype:
        """The type of the values that `read` gives, in this machine's byte order."""
        return self.array.dtype.newbyteorder("=")

    @property
    def channels(self) -> int:
        """The number of channels; 1 where there is no channel axis."""
        return self.array.shape[self.axes.index("c")] if self.has_channels else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array that `read` gives for the whole volume."""
        return (self.channels, *self.shape_zyx) if self.has_channels else self.shape_zyx

    @property
    def file_chunks_zyx(self) -> Triple | None:
        """The part that the file holds as one, in voxels; None where any part costs only its own bytes."""
        if self.array.chunks is None:
            return None
        return to_triple([self.array.chunks[self.axes.index(a)] for a in SPATIAL])

    @property
    def is_turned(self) -> bool:
        """Whether the file holds its axes in another order than c, z, y, x."""
        return [a for a in self.axes if a in "czyx"] != [a for a in "czyx" if a in self.axes]

    def read(self, box: Box | None = None, channels: slice | None = None) -> np.ndarray:
        """Read a part, touching only what the file's layout makes necessary.

        Parameters
        ----------
        box
            In voxels of this volume; by default all of it. It may be empty.
        channels
            Which channels; by default all.

        Returns
        -------
        ndarray
            (Z, Y, X), or (C, Z, Y, X) where the volume has a channel axis; C-contiguous, native byte order, the
            caller's own.

        Raises
        ------
        DataError
            The box reaches out of the volume, channels are asked of a volume without, or the file is damaged.
        """
        box = Box.of_shape(self.shape_zyx) if box is None else box
        self._check_part(box, channels)
        in_file = dict(zip(SPATIAL, box.shift(self.box.start_zyx).slices, strict=True))
        in_file["c"] = slice(*(channels or slice(None)).indices(self.channels))
        wanted = ("c" if self.has_channels else "") + SPATIAL
        part = tuple(in_file.get(a, slice(0, 1)) for a in self.axes)
        found = (
            self.array.fetch(part) if box.size else np.empty([len(range(s.start, s.stop)) for s in part], self.dtype)
        )
        dropped = tuple(i for i, a in enumerate(self.axes) if a not in wanted)
        kept = [a for a in self.axes if a in wanted]
        turned = np.squeeze(found, dropped).transpose([kept.index(a) for a in wanted])
        return np.require(turned, self.dtype, ["C", "O", "W"])

    def crop(self, box: Box) -> Volume:
        """Return the volume that a box of this one is; its offset moves along.

        Raises
        ------
        DataError
            The box is empty or reaches out of the volume.
        """
        if not box.size or not Box.of_shape(self.shape_zyx).contains(box):
            raise DataError(
                f"the box does not lie in {self.source}",
                expected=f"within {self.shape_zyx} voxels (z, y, x)",
                got=f"{list(box.start_zyx)} to {list(box.stop_zyx)}",
                hint="correct box_zyx_vx, which is in voxels of the file",
            )
        steps = zip(self.offset_zyx_nm, box.start_zyx, self.voxel_size_zyx_nm, strict=True)
        offset = to_triple_nm([o + v * s for o, v, s in steps])
        return replace(self, box=box.shift(self.box.start_zyx), offset_zyx_nm=offset)

    def drop_single_channel(self) -> Volume:
        """Return the same volume without its channel axis where that has length 1, else the volume itself."""
        return replace(self, has_channels=False) if self.has_channels and self.channels == 1 else self

    def _check_part(self, box: Box, channels: slice | None) -> None:
        if not Box.of_shape(self.shape_zyx).contains(box):
            raise DataError(
                f"a box reaches out of {self.source}",
                expected=f"within {self.shape_zyx} voxels (z, y, x)",
                got=f"{list(box.start_zyx)} to {list(box.stop_zyx)}",
            )
        if channels is not None and not self.has_channels:
            raise DataError(f"{self.source} has no channels to choose from", got=channels)
        if channels is not None and channels.step not in (None, 1):
            raise DataError("channels are read in one run", expected="a slice without step", got=channels)


def open_volume(
    source: str | Path,
    *,
    box: Box | None = None,
    axes: str | None = None,
    voxel_size_zyx_nm: Sequence[float] | None = None,
    offset_zyx_nm: Sequence[float] | None = None,
    like: Readable | None = None,
) -> Volume:
    """Open a volume of any known format; only headers are read.

    Parameters
    ----------
    source
        HDF5 ``file.h5::dataset``, TIFF, a folder of TIFF or PNG slices, NIfTI, Zarr, or OME-Zarr as ``store.zarr``
        (finest level) or ``store.zarr::s1``; of Zarr also the URL.
    box
        The part to use, in voxels of the source; by default all.
    axes
        Axis order of the array in the file, as in ``xyzc``; by default what the file says, else the format's custom.
    voxel_size_zyx_nm
        Voxel size in nm; by default what the file says.
    offset_zyx_nm
        Position of the centre of the source's first voxel (not the box's) in nm; by default what the file says, else 0.
    like
        The raw data of labels: its voxel size and offset hold where neither file nor arguments say, and a channel axis
        in `axes` may be missing.

    Raises
    ------
    MissingDataError
        The file, or the array in it, does not exist.
    DataError
        It is no volume, its voxel size is not known, file and arguments disagree, or the box reaches out of it.
    """
    array = open_array(source)
    letters = resolve_axes(array, axes, may_lack_channels=like is not None)
    if like is not None:
        voxel_size_zyx_nm, offset_zyx_nm = _inherit(array, like, voxel_size_zyx_nm, offset_zyx_nm)
    size = resolve_voxel_size(array, letters, voxel_size_zyx_nm)
    volume = Volume(
        array=array,
        axes=letters,
        box=Box((0, 0, 0), to_triple([array.shape[letters.index(a)] for a in SPATIAL])),
        voxel_size_zyx_nm=size,
        offset_zyx_nm=resolve_offset(array, letters, size, offset_zyx_nm),
        has_channels="c" in letters,
    )
    return volume if box is None else volume.crop(box)


def _inherit(
    array: FileArray, like: Readable, voxel_size_zyx_nm: Sequence[float] | None, offset_zyx_nm: Sequence[float] | None
) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """Take over from another volume what a file does not say."""
    said = array.metadata
    if said.voxel_size_nm is None:
        voxel_size_zyx_nm = voxel_size_zyx_nm or like.voxel_size_zyx_nm
    if said.offset_nm is None and said.offset_vx is None:
        offset_zyx_nm = offset_zyx_nm or like.offset_zyx_nm
    return voxel_size_zyx_nm, offset_zyx_nm
