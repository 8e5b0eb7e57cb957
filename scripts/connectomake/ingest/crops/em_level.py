"""Choose the level of a dataset's images on which a crop is read, and make sure that all of it was downloaded.

`csc fetch-data` copies only the chunks that touch crops, and by default only levels that the crop's labels need, but
the metadata of all: what was not copied reads as 0.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from connectomake.errors import DataError, MissingDataError
from connectomake.geometry import Box, to_triple, to_triple_nm
from connectomake.ingest.crops.chunks import check_chunks
from connectomake.ingest.crops.multiscale import Level, read_levels
from connectomake.ingest.ingest import is_fast
from connectomake.volumes.resample import corner_nm, extent_nm, resample
from connectomake.volumes.scale import touching_box
from connectomake.volumes.volume import Lattice, Readable, Volume

log = logging.getLogger(__name__)

TYPES = ("uint8", "uint16")
ALIGNED_VX = 0.02  # the challenge's files round positions to hundredths of a nm
LARGEST_FACTOR = 2  # a level of half the size is read where that gives exact means, a finer one costs too much


def open_images(group: Path, grid: Lattice, wanted_zyx_nm: Sequence[float], crop: str) -> tuple[Level, Readable]:
    """Open the images of a crop on voxels of a size: a box of a level where it has such voxels, else resampled.

    A level that fits is read as it is where the crop begins between two of its voxels. Otherwise the next choice is one
    whose voxels, one or two along each axis, make up those wanted, so that means are exact; then the nearest that is
    not coarser; then the nearest. Nothing beyond the voxels that the crop touches is read.

    Parameters
    ----------
    group
        The Zarr group of the dataset's images.
    grid
        The crop's own voxels.
    wanted_zyx_nm
        Voxel size.
    crop
        Its name, for messages.

    Returns
    -------
    level : Level
        The level that is read.
    images : Volume or Resampled
        From the crop's corner on. A `Volume` can be linked.

    Raises
    ------
    MissingDataError
        No level holds all chunks of the crop.
    DataError
        The crop does not lie in the images, they are not uint8 or uint16, or a chunk was cut short.
    """
    lacking: list[str] = []
    for level in _rank(read_levels(group), grid, wanted_zyx_nm):
        problem = "it is not there"
        if level.exists:
            volume = level.open()
            _check_images(volume, grid, crop)
            missing, count = check_chunks(volume, touching_box(volume, grid, ALIGNED_VX))
            if not missing:
                return level, _lay(level, volume, grid, wanted_zyx_nm)
            problem = f"{missing} of the {count} chunks that {crop} needs are missing"
        lacking.append(f"{level.describe()}: {problem}")
        log.warning("%s: the level %s of %s is passed over: %s", crop, level.describe(), group, problem)
    raise MissingDataError(
        f"no level of the images {group} holds all of {crop}",
        got="; ".join(lacking),
        hint=f"download them: `csc fetch-data --crops {crop.rpartition('crop')[2]} --fetch-all-em-resolutions`",
    )


def _rank(levels: Sequence[Level], grid: Lattice, wanted_zyx_nm: Sequence[float]) -> list[Level]:
    """Order levels by how well they give voxels of a size from the crop's corner on."""

    def badness(level: Level) -> tuple[bool, bool, bool, float]:
        aligned = _is_aligned(level, grid)
        ratios = [w / s for w, s in zip(wanted_zyx_nm, level.voxel_size_zyx_nm, strict=True)]
        whole = all(abs(r - round(r)) <= ALIGNED_VX and 1 <= round(r) <= LARGEST_FACTOR for r in ratios)
        as_it_is = level.fits(wanted_zyx_nm) and aligned
        distance = level.distance(wanted_zyx_nm)
        return not as_it_is, not (whole and aligned), level.is_coarser(wanted_zyx_nm), distance

    return sorted(levels, key=badness)


def _places(level: Level, grid: Lattice) -> list[float]:
    """Return the crop's outer corner in voxels of a level, 0 = the level's own."""
    axes = zip(corner_nm(grid), level.corner_zyx_nm, level.voxel_size_zyx_nm, strict=True)
    return [(corner - first) / size for corner, first, size in axes]


def _is_aligned(level: Level, grid: Lattice) -> bool:
    """Return whether the crop begins between voxels of a level."""
    return all(abs(place - round(place)) <= ALIGNED_VX for place in _places(level, grid))


def _lay(level: Level, volume: Volume, grid: Lattice, wanted_zyx_nm: Sequence[float]) -> Readable:
    if level.fits(wanted_zyx_nm) and _is_aligned(level, grid):
        start = [round(place) for place in _places(level, grid)]
        lattice = resample(volume, volume.voxel_size_zyx_nm, over=grid)  # for its shape and place alone
        box = Box(to_triple(start), to_triple([a + n for a, n in zip(start, lattice.shape_zyx, strict=True)]))
        if volume.box.contains(box) and is_fast(volume):
            # By the crop's corner, not the level's: what they differ by is how the files round.
            return replace(volume.crop(box), offset_zyx_nm=lattice.offset_zyx_nm)
    return resample(volume.crop(touching_box(volume, grid, ALIGNED_VX)), wanted_zyx_nm, over=grid)


def _check_images(volume: Volume, grid: Lattice, crop: str) -> None:
    """Reject images of another type, and a crop that reaches out of them by more than a voxel.

    A coarse level may end a part of a voxel before the finest does.
    """
    if volume.dtype.name not in TYPES:
        raise DataError(f"{volume.source} holds no images", expected=" or ".join(TYPES), got=volume.dtype.name)
    low, high = _ends(grid)
    first, last = _ends(volume)
    axes = zip(low, high, first, last, volume.voxel_size_zyx_nm, strict=True)
    reaches = any(a < first - size or b > last + size for a, b, first, last, size in axes)
    if reaches or not touching_box(volume, grid, ALIGNED_VX).size:
        raise DataError(
            f"{crop} does not lie in its images {volume.source} (z, y, x in nm, corner to corner)",
            expected=f"within {first} to {last}",
            got=f"{low} to {high}",
            hint="are voxel size and translation (the centre of the first voxel) those of this dataset?",
        )


def _ends(lattice: Lattice) -> tuple[list[float], list[float]]:
    """Return the two outer corners, rounded for reading."""
    corner, extent = to_triple_nm(corner_nm(lattice)), extent_nm(lattice)
    return [round(c, 3) for c in corner], [round(c + e, 3) for c, e in zip(corner, extent, strict=True)]
