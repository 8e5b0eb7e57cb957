"""Write the images of a generated dataset as a download of the challenge leaves them: all levels, few of the chunks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from connectomake.cellmap.manifest import CropGrid
from connectomake.geometry import Box
from connectomake.phantom.challenge.zarr2 import coarsen, describe_levels, write_array
from connectomake.volumes.levels import average

if TYPE_CHECKING:
    import zarr

CHUNK_VX = 32


def write_images(
    container: zarr.Group,
    path: str,
    raw: np.ndarray,
    grid: CropGrid,
    levels: int,
    first_level: int,
    boxes: Sequence[Box],
) -> None:
    """Write an image and its coarser levels, each the means of 2 x 2 x 2 voxels of the one before.

    Parameters
    ----------
    container, path
        Where to make the group.
    raw
        (Z, Y, X) uint8, the finest level.
    grid
        Its voxels.
    levels
        How many there are.
    first_level
        Levels before this one are listed and have a shape, but no chunks.
    boxes
        Crops, in voxels of the finest level: of the other levels there are the chunks that touch any of them, whole.
    """
    images = [raw]
    while len(images) < levels:
        images.append(average(images[-1][None], (2, 2, 2))[0])
    grids = [coarsen(grid, level, image.shape) for level, image in enumerate(images)]
    group = container.create_group(path, attributes=describe_levels(grids))
    for level, image in enumerate(images):
        touched = boxes if level >= first_level else ()
        write_array(group, f"s{level}", _keep_chunks(image, level, touched), {}, CHUNK_VX)


def _keep_chunks(image: np.ndarray, level: int, boxes: Iterable[Box]) -> np.ndarray:
    """Return a level with 0 wherever no chunk that touches a crop lies."""
    kept, side = np.zeros_like(image), CHUNK_VX * 2**level
    for box in boxes:
        part = tuple(
            slice(a // side * CHUNK_VX, -(-b // side) * CHUNK_VX)
            for a, b in zip(box.start_zyx, box.stop_zyx, strict=True)
        )
        kept[part] = image[part]
    return kept
