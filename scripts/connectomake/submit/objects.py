"""The objects of one class: what touches is one, or is cut apart at its necks.

They are found on the crop's own voxels, whatever those of the prediction: these are what is scored, by components
through faces, edges and corners. No id is resampled afterwards, which would tear thin objects or leave steps as large
as the prediction's voxels; sizes and holes are those of what is submitted; and the manifest alone says how much memory
it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from connectomake.config.settings.submit import ObjectsConfig

LEVELS_PER_VOXEL = 16  # steps of the distance to the border in the smallest side of a voxel
HIGHEST = 2**16 - 1
BYTES_PER_VOXEL = 11.2
BASE_MB = 800  # Python, packages, and a block of all classes


def find_objects(
    mask: NDArray, voxel_size_zyx_nm: Sequence[float], cfg: ObjectsConfig, *, threads: int = 1
) -> tuple[NDArray[np.unsignedinteger], int]:
    """Label the objects of a mask.

    Parameters
    ----------
    mask
        (Z, Y, X) bool, or uint8 of 0 and 1; holes are filled in place where `cfg` says so. C-contiguous.
    voxel_size_zyx_nm
        In nm.
    cfg
        What is one object, and which are left out. Sides of the crop are no border of an object: it goes on there.
    threads
        Of the distance transform; the labels do not depend on it.

    Returns
    -------
    labels
        (Z, Y, X) uint32 (uint64 from 2^31 voxels), ids 1..n in scan order of the first voxels, 0 = background.
    n
        The number of objects.

    Notes
    -----
    `estimate_mb` says what memory it takes. Distances are rounded to 1/16 of the smallest side of a voxel, and what is
    deeper than 4096 of them counts as flat.
    """
    import cc3d

    from connectomake.submit.flood import flood_from_peaks, number_objects

    mask = mask.view(np.uint8)
    if cfg.fill_holes:
        fill_holes(mask)
    labels: NDArray
    if cfg.split_nm is None:
        # Not as a binary image: cc3d 4.1 fails at that where a mask is a line.
        labels, count = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32, return_N=True)
        own = np.arange(count + 1)
    else:
        levels = measure_depth(mask, voxel_size_zyx_nm, threads)
        labels, own = flood_from_peaks(levels, cfg.split_nm / min(voxel_size_zyx_nm) * LEVELS_PER_VOXEL)
    labels = labels.view(f"u{labels.itemsize}")
    # A little less, lest an object of just this size be left out by rounding.
    smallest_vx = cfg.smallest_nm3 / prod(voxel_size_zyx_nm) * (1 - 1e-9)
    return labels, int(number_objects(labels.reshape(-1), own, smallest_vx))


def fill_holes(mask: NDArray[np.uint8]) -> None:
    """Set to 1, in place, the background from which no way through faces leads out of the volume (Z, Y, X)."""
    import cc3d

    labels, count = cc3d.connected_components(mask == 0, connectivity=6, out_dtype=np.uint32, return_N=True)
    is_hole = np.ones(count + 1, bool)
    is_hole[0] = False
    for axis in range(3):
        for side in (0, -1):
            is_hole[np.unique(labels.take(side, axis))] = False
    if is_hole.any():
        for section, found in zip(mask, labels, strict=True):
            section[is_hole[found]] = 1


def measure_depth(mask: NDArray[np.uint8], voxel_size_zyx_nm: Sequence[float], threads: int = 1) -> NDArray[np.uint16]:
    """Return the distance of each voxel of a mask to the next one outside of it, in levels (see `find_objects`).

    Parameters
    ----------
    mask
        (Z, Y, X) uint8.
    voxel_size_zyx_nm
        In nm.
    threads
        The result does not depend on it.

    Returns
    -------
    ndarray
        (Z, Y, X), 0 = background.
    """
    import edt

    size = tuple(map(float, voxel_size_zyx_nm))
    # As bool: of integers, it would look for borders between different values.
    distance = edt.edt(mask.view(bool), anisotropy=size, black_border=False, parallel=threads)
    levels = np.empty(mask.shape, np.uint16)
    for section, found in zip(levels, distance, strict=True):
        # A volume without background is infinitely deep.
        section[...] = np.minimum(np.rint(found * (LEVELS_PER_VOXEL / min(size))), HIGHEST)
    return levels


def estimate_mb(shape_zyx: Sequence[int]) -> int:
    """Estimate from above the peak memory of decoding a crop, in MB: the objects of one class at a time.

    Parameters
    ----------
    shape_zyx
        Voxels of the crop.
    """
    voxels = prod(shape_zyx)
    return BASE_MB + ceil(voxels * BYTES_PER_VOXEL * (1 if voxels < 2**31 else 2) / 1e6)
