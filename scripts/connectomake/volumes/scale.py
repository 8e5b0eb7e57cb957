"""The level of a pyramid, or the voxels over it, on which a network sees a volume as it saw those trained on.

Positions carry over: a volume that is a box of a file's finest level is, on another level, all voxels of that level
that share anything with the box.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log
from typing import Literal

from connectomake.errors import ConfigError, DataError
from connectomake.geometry import Box, TripleNm, to_triple, to_triple_nm
from connectomake.volumes.formats.ome_zarr import find_levels
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.resample import SLIVER_VX, corner_nm, extent_nm, resample
from connectomake.volumes.volume import Lattice, Readable, Volume, open_volume

Scale = Literal["match", "resample", "as_is"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Level:
    """A volume at one of the voxel sizes that it is stored in; `name` is None for the volume itself, else as ``s1``."""

    name: str | None
    volume: Volume

    def describe(self) -> str:
        """Return which level, and its voxel size."""
        return f"{self.name or 'the volume itself'}: {_write(self.volume.voxel_size_zyx_nm)}"


def choose_scale(
    volume: IngestedVolume, voxel_size_zyx_nm: Sequence[float], scale: Scale, tolerance: float
) -> tuple[str | None, TripleNm | None]:
    """Choose on which voxels a volume is given to a network.

    Parameters
    ----------
    volume
        The ingested volume.
    voxel_size_zyx_nm
        That the network was trained with, in nm.
    scale
        ``match``: the volume itself, else the level of its pyramid, that has voxels of that size. ``resample``: where
        none has, such voxels over the nearest level that is coarser along no axis or, where all are, the nearest.
        ``as_is``: the volume itself, whatever its voxels.
    tolerance
        Share by which a voxel size may differ, along any axis.

    Returns
    -------
    level : str or None
        Name of the level, None for the volume itself.
    resample_to_zyx_nm : tuple of float or None
        Voxel size to resample it to; None = as it is stored. `open_working` takes both.

    Raises
    ------
    ConfigError
        ``match``, and nothing does; the message lists the levels.
    MissingDataError
        The file of the volume was moved since it was ingested.
    """
    if scale == "as_is":
        return None, None
    wanted = to_triple_nm(voxel_size_zyx_nm)
    if _fits(volume.open_raw(), wanted, tolerance):
        return None, None
    levels = list_levels(volume)
    fitting = [level for level in levels if _fits(level.volume, wanted, tolerance)]
    if fitting:
        return min(fitting, key=lambda level: _distance(level, wanted)).name, None
    if scale == "match":
        raise ConfigError(
            f"the volume {volume.name} has no voxels of the size that the network was trained with (z, y, x)",
            expected=f"{_write(wanted)}, within {100 * tolerance:g} % along each axis",
            got="; ".join(level.describe() for level in levels),
            hint="set predict.scale: resample to resample the nearest of them, or as_is to take the volume as it is",
        )
    fine = [level for level in levels if not _is_coarser(level, wanted, tolerance)]
    return min(fine or levels, key=lambda level: _distance(level, wanted)).name, wanted


def open_working(
    volume: IngestedVolume, level: str | None = None, resample_to_zyx_nm: Sequence[float] | None = None
) -> Readable:
    """Open the raw data of a volume on the voxels that `choose_scale` chose.

    Parameters
    ----------
    volume
        The ingested volume.
    level
        A level of the pyramid that its raw data are part of; None for the volume itself.
    resample_to_zyx_nm
        Voxel size to resample that to, lazily; the outer corner of the first voxel is that of the volume.

    Raises
    ------
    DataError
        There is no such level.
    MissingDataError
        The file of the volume was moved since it was ingested.
    """
    whole = volume.open_raw()
    opened = whole
    if level is not None:
        known = {found.name: found.volume for found in list_levels(volume)}
        if level not in known:
            raise DataError(
                f"the pyramid of {whole.source} has no level {level}",
                expected=", ".join(str(name) for name in known if name) or "none, since there is no pyramid",
                hint="it was there when the prediction was planned: is the store complete?",
            )
        opened = known[level]
    return opened if resample_to_zyx_nm is None else resample(opened, resample_to_zyx_nm, over=whole)


def list_levels(volume: IngestedVolume) -> list[Level]:
    """List the voxel sizes that the raw data of a volume are stored in: the volume itself, then other levels.

    The other levels are those of the OME-Zarr image that the array is listed in; ones that are not there (of copies in
    part), or whose voxel size is not told, are left out. Where no level of an image says where it lies, all begin at
    one outer corner, as levels do that were made by averaging. Of a crop of the CellMap challenge there is the volume
    alone: other levels of its images may not have been downloaded, which reads as 0.
    """
    whole = volume.open_raw()
    if volume.crop is not None:
        return [Level(None, whole)]
    source, axes = volume.find_source()
    found = find_levels(source)
    levels = [Level(None, whole)]
    if found is None:
        return levels
    own = open_volume(source, axes=axes, voxel_size_zyx_nm=whole.voxel_size_zyx_nm)
    for name, path in found.others.items():
        try:
            other = open_volume(path, axes=axes).drop_single_channel()
        except DataError as error:
            logger.warning("the level %s cannot be used: %s", name, error)
            continue
        if not found.is_placed:
            halves = zip(corner_nm(own), other.voxel_size_zyx_nm, strict=True)
            other = replace(other, offset_zyx_nm=to_triple_nm([c + s / 2 for c, s in halves]))
        box = touching_box(other, whole)
        if box.size:
            levels.append(Level(name, other.crop(box)))
    return levels


def touching_box(volume: Lattice, other: Lattice, sliver_vx: float = SLIVER_VX) -> Box:
    """Return the voxels of a volume that share more than a sliver with another one."""
    start, stop = [], []
    places = zip(corner_nm(volume), volume.voxel_size_zyx_nm, corner_nm(other), extent_nm(other), strict=True)
    for corner, size, low, extent in places:
        start.append(floor((low - corner) / size + sliver_vx))
        stop.append(ceil((low + extent - corner) / size - sliver_vx))
    return Box(to_triple(start), to_triple(stop)).intersect(Box.of_shape(volume.shape_zyx))


def _fits(volume: Volume, wanted: TripleNm, tolerance: float) -> bool:
    """Return whether a voxel size differs by no more than a share of the wanted one along any axis."""
    return all(abs(s - w) <= tolerance * w for s, w in zip(volume.voxel_size_zyx_nm, wanted, strict=True))


def _is_coarser(level: Level, wanted: TripleNm, tolerance: float) -> bool:
    return any(s > w * (1 + tolerance) for s, w in zip(level.volume.voxel_size_zyx_nm, wanted, strict=True))


def _distance(level: Level, wanted: TripleNm) -> float:
    """Return how far a level's voxel size is from another, as a ratio."""
    return sum(abs(log(s / w)) for s, w in zip(level.volume.voxel_size_zyx_nm, wanted, strict=True))


def _write(size_zyx_nm: TripleNm) -> str:
    return " x ".join(f"{s:g}" for s in size_zyx_nm) + " nm"
