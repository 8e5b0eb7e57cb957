"""Write the labels of a generated crop: a pyramid for each class with what its numbers mean, or the hidden truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from connectomake.cellmap.manifest import CropGrid
from connectomake.phantom.challenge.truth import IDS, PARTS, UNKNOWN, Truth
from connectomake.phantom.challenge.zarr2 import coarsen, describe_levels, write_array

if TYPE_CHECKING:
    import zarr

ALL = "all"  # the group of all classes in one


def write_labels(
    container: zarr.Group, path: str, truth: Truth, grid: CropGrid, names: Sequence[str], levels: int
) -> None:
    """Write the labels of an annotated crop.

    Beside the classes lies the group ``all``, in which a voxel has the id of its class without parts, as far as that is
    annotated; like the challenge's, it has no word on what its numbers mean.

    Parameters
    ----------
    container, path
        Where to make the crop's group.
    truth, grid
        The finest level, and its voxels.
    names
        Classes that are annotated.
    levels
        How many there are, or fewer where the crop is that small.
    """
    pyramid = [truth]
    while len(pyramid) < levels and min(pyramid[-1].part.shape) > 1:
        pyramid.append(pyramid[-1].halve())
    crop = container.create_group(path, attributes=_annotate({"class_names": list(names)}))
    ome = describe_levels([coarsen(grid, level, found.part.shape) for level, found in enumerate(pyramid)])
    for name in names:
        meaning = {"class_name": name, "annotation_type": _describe_type(name)}
        group = crop.create_group(name, attributes=ome | _annotate(meaning))
        for level, found in enumerate(pyramid):
            values = found.draw(name)
            counts = {"absent": int((values == 0).sum()), "unknown": int((values == UNKNOWN).sum())}
            write_array(group, f"s{level}", values, _annotate(meaning | {"complement_counts": counts}))
    group = crop.create_group(ALL, attributes=ome)
    annotated = [IDS[name] for name in names if name not in PARTS]
    for level, found in enumerate(pyramid):
        merged = np.where(np.isin(found.part, annotated), found.part, 0).astype(np.uint8)
        write_array(group, f"s{level}", merged, {})


def write_hidden(container: zarr.Group, crop: str, truth: Truth, grid: CropGrid) -> None:
    """Write the truth of a crop to submit: one array for each class, as in a submission."""
    group = container.create_group(crop)
    place = {
        "voxel_size": list(grid.voxel_size_zyx_nm),
        "translation": list(grid.offset_zyx_nm),
        "shape": list(grid.shape_zyx),
    }
    for name in IDS:
        write_array(group, name, truth.draw(name), place)


def _describe_type(name: str) -> dict[str, Any]:
    """Return what the numbers of a class mean; those of objects are their ids."""
    encoding = {"absent": 0, "unknown": UNKNOWN}
    if name in PARTS:
        return {"type": "instance_segmentation", "encoding": encoding}
    return {"type": "semantic_segmentation", "encoding": encoding | {"present": 1}}


def _annotate(values: dict[str, Any]) -> dict[str, Any]:
    return {"cellmap": {"annotation": values}}
