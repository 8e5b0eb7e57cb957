"""A tiny tree of the CellMap challenge, in the exact layout: Zarr 2, OME-NGFF 0.4, one multiscale group per class."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr

from connectomake.cellmap.tree import labels_group, raw_group

BLOSC = numcodecs.Blosc("zstd", 3)
SEMANTIC = {"type": "semantic_segmentation", "encoding": {"absent": 0, "present": 1, "unknown": 255}}
INSTANCES = {"type": "instance_segmentation", "encoding": {"absent": 0, "unknown": 255}}


def offset_of(corner_zyx_nm: Sequence[float], size_zyx_nm: Sequence[float]) -> tuple[float, ...]:
    """Return the centre of the first voxel of a grid that begins at a corner."""
    return tuple(float(c + s / 2) for c, s in zip(corner_zyx_nm, size_zyx_nm, strict=True))


def halve(array: np.ndarray, mean: bool) -> np.ndarray:
    """Make the next level: means of 2 x 2 x 2, or the first voxel of each; what is left over is dropped."""
    z, y, x = (n // 2 * 2 for n in array.shape)
    if not mean:
        return array[:z:2, :y:2, :x:2]
    return np.rint(array[:z, :y, :x].reshape(z // 2, 2, y // 2, 2, x // 2, 2).mean((1, 3, 5))).astype(array.dtype)


def write_image(
    group: Path,
    array: np.ndarray,
    size_zyx_nm: Sequence[float],
    corner_zyx_nm: Sequence[float],
    *,
    levels: int = 1,
    mean: bool = False,
    chunk: int = 16,
    separator: str = "/",
    annotation: Mapping[str, Any] | None = None,
    compressor: Any = BLOSC,
) -> None:
    """Write a multiscale group; all chunks are written, zeros too."""
    zarr.create_group(group, zarr_format=2)
    datasets = []
    for number in range(levels):
        size = [s * 2**number for s in size_zyx_nm]
        level = zarr.create_array(
            group / f"s{number}",
            shape=array.shape,
            dtype=array.dtype,
            chunks=tuple(min(chunk, n) for n in array.shape),
            zarr_format=2,
            compressors=compressor,
            fill_value=0,
            chunk_key_encoding={"name": "v2", "separator": separator},
            config={"write_empty_chunks": True},
        )
        level[...] = array
        steps = [
            {"type": "scale", "scale": size},
            {"type": "translation", "translation": list(offset_of(corner_zyx_nm, size))},
        ]
        datasets.append({"path": f"s{number}", "coordinateTransformations": steps})
        array = halve(array, mean)
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    whole = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    image = {"version": "0.4", "name": "", "axes": axes, "coordinateTransformations": whole, "datasets": datasets}
    attributes: dict[str, Any] = {"multiscales": [image]}
    if annotation is not None:
        attributes["cellmap"] = {"annotation": {"class_name": group.name, "annotation_type": annotation}}
    (group / ".zattrs").write_text(json.dumps(attributes))


def write_em(
    tree: Path,
    dataset: str,
    array: np.ndarray,
    size_zyx_nm: Sequence[float],
    corner_zyx_nm: Sequence[float] | None = None,
    *,
    levels: int = 3,
    **options: Any,
) -> Path:
    """Write a dataset's images; the centre of their first voxel lies at 0 unless a corner is given. Gives the group."""
    group = raw_group(tree, dataset)
    corner = [-s / 2 for s in size_zyx_nm] if corner_zyx_nm is None else corner_zyx_nm
    write_image(group, array, size_zyx_nm, corner, levels=levels, mean=True, **options)
    return group


def write_class(
    tree: Path,
    dataset: str,
    crop: str,
    name: str,
    array: np.ndarray,
    size_zyx_nm: Sequence[float],
    corner_zyx_nm: Sequence[float],
    *,
    annotation: Mapping[str, Any] | None = SEMANTIC,
    **options: Any,
) -> Path:
    """Write the labels of a class of a crop. Gives the crop's group."""
    group = labels_group(tree, dataset, crop)
    write_image(group / name, array, size_zyx_nm, corner_zyx_nm, annotation=annotation, **options)
    return group


def edit(group: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the attributes of a group in place."""
    file = group / ".zattrs"
    attributes = json.loads(file.read_text())
    change(attributes)
    file.write_text(json.dumps(attributes))
