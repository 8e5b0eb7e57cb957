"""Zarr groups and arrays as the challenge has them: version 2, OME-NGFF 0.4, sizes and places in nm.

Sources: OME-NGFF 0.4; cellmap-schemas (Janelia, BSD-3) for what is noted with labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from connectomake.cellmap.manifest import CropGrid
from connectomake.geometry import TripleNm, to_triple, to_triple_nm

if TYPE_CHECKING:
    import zarr

MARK = {"synthetic": True}  # under `connectomake` in the attributes of a container that was generated
_DECIMALS = 6  # of a place in nm: 3 x 13.92 shall not be 41.760000000000005


def lay_grid(shape_zyx: Sequence[int], voxel_size_zyx_nm: Sequence[float], corner_zyx_nm: Sequence[float]) -> CropGrid:
    """Return voxels whose first has its outer corner at a place."""
    size = round_nm(voxel_size_zyx_nm)
    centre = [corner + side / 2 for corner, side in zip(corner_zyx_nm, size, strict=True)]
    return CropGrid(to_triple(shape_zyx), size, round_nm(centre))


def coarsen(grid: CropGrid, level: int, shape_zyx: Sequence[int]) -> CropGrid:
    """Return the voxels of a coarser level of a pyramid: of 2^level times the size, with the same outer corner."""
    corner = [o - s / 2 for o, s in zip(grid.offset_zyx_nm, grid.voxel_size_zyx_nm, strict=True)]
    return lay_grid(shape_zyx, [size * 2**level for size in grid.voxel_size_zyx_nm], corner)


def round_nm(values: Sequence[float]) -> TripleNm:
    """Round away what binary fractions add to decimal ones."""
    return to_triple_nm([round(float(value), _DECIMALS) for value in values])


def describe_levels(grids: Sequence[CropGrid]) -> dict[str, Any]:
    """Return the OME-NGFF attributes of a group of levels, the finest first."""
    datasets = [
        {
            "path": f"s{level}",
            "coordinateTransformations": [
                {"type": "scale", "scale": list(grid.voxel_size_zyx_nm)},
                {"type": "translation", "translation": list(grid.offset_zyx_nm)},
            ],
        }
        for level, grid in enumerate(grids)
    ]
    image = {
        "version": "0.4",
        "name": "",
        "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"],
        "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}],
        "datasets": datasets,
    }
    return {"multiscales": [image]}


def create_container(path: Path) -> zarr.Group:
    """Make an empty container that is marked as generated."""
    import zarr

    return zarr.open_group(path, mode="w", zarr_format=2, attributes={"connectomake": MARK})


def write_array(
    group: zarr.Group, name: str, values: np.ndarray, attributes: Mapping[str, Any], chunk_vx: int = 64
) -> None:
    """Write an array in compressed chunks of `chunk_vx` voxels a side; those that are all 0 are left out."""
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=to_triple([min(n, chunk_vx) for n in values.shape]),
        fill_value=0,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        attributes=dict(attributes),
    )
    if values.any():
        array[...] = values
