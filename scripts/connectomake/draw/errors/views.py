"""What a figure shows of each error: the plane through its place that shows its two parts best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from connectomake.draw.planes import Layer, Plane, common_box, read_plane
from connectomake.draw.volume.slices import Layers, read_affinities, read_gray, stretch_contrast
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple, to_triple_nm
from connectomake.tables import read_table
from connectomake.volumes.skeletons import Skeletons, label_under

FIELD_VX, NARROWEST_NM, WIDEST_NM = 256, 1500.0, 2500.0
NEAR = 0.06  # of the field: skeletons that come so near to a plane are shown in it
KINDS = ("split", "merge", "missing")


@dataclass(frozen=True)
class FoundError:
    """One row of errors.tsv. Ids are exact; `lost_nm` or `lost_vx` is None."""

    kind: str
    rank: int
    position_zyx_nm: TripleNm
    voxel_zyx: Triple
    truth: tuple[int, int]
    segment: tuple[int, int]
    lost_nm: float | None
    lost_vx: int | None


@dataclass(frozen=True)
class View:
    """What is shown of an error.

    Parameters
    ----------
    error, plane
        What happened, and the plane that is shown, in voxels of the raw volume.
    gray
        (H, W) uint8.
    affinities
        (H, W[, 3]) uint8, or None.
    labels, truth
        (H, W) integers; truth or None.
    truth_ids
        The ids in `truth` of the two that the error names.
    """

    error: FoundError
    plane: Plane
    gray: np.ndarray
    affinities: np.ndarray | None
    labels: np.ndarray
    truth: np.ndarray | None
    truth_ids: tuple[int, int]


def read_errors(path: Path, worst: int) -> list[FoundError]:
    """Read the worst so many splits, then as many mergers, then as much that is missing, from errors.tsv.

    Raises
    ------
    MissingDataError
        When there is no such file.
    DataError
        When it is no table of errors.
    """
    rows = read_table(path, ("kind", "rank"), "errors")
    try:
        errors = [_parse(row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no table of errors ({error})", expected="what the measure stage writes") from error
    return sorted((e for e in errors if e.rank <= worst), key=lambda e: (KINDS.index(e.kind), e.rank))


def _parse(row: Mapping[str, str]) -> FoundError:
    if row["kind"] not in KINDS:
        raise ValueError(f"kind {row['kind']}")
    return FoundError(
        kind=row["kind"],
        rank=int(row["rank"]),
        position_zyx_nm=to_triple_nm([float(row[f"{axis}_nm"]) for axis in "zyx"]),
        voxel_zyx=to_triple([int(row[f"{axis}_vx"]) for axis in "zyx"]),
        truth=(int(row["truth_a"]), int(row["truth_b"])),
        segment=(int(row["segment_a"]), int(row["segment_b"])),
        lost_nm=float(row["lost_nm"]) if row["lost_nm"] else None,
        lost_vx=int(row["lost_vx"]) if row["lost_vx"] else None,
    )


def field_nm(voxel_size_zyx_nm: TripleNm) -> float:
    """Choose how much to show around an error: 256 voxels, but at least 1.5 and at most 2.5 µm.

    >>> field_nm((40.0, 4.0, 4.0)), field_nm((8.0, 8.0, 8.0)), field_nm((40.0, 16.0, 16.0))
    (1500.0, 2048.0, 2500.0)
    """
    return min(max(FIELD_VX * min(voxel_size_zyx_nm[1:]), NARROWEST_NM), WIDEST_NM)


def read_views(errors: Sequence[FoundError], layers: Layers, skeletons: Skeletons | None = None) -> list[View]:
    """Read the plane of each error, of three candidates, and bring raw to one contrast.

    The planes of an error go through its place, as wide as `field_nm` and the volume allow.

    Parameters
    ----------
    errors
        What to show.
    layers
        Raw and labels, and affinities and truth where there are any.
    skeletons
        Truth skeletons, where the errors name skeletons.

    Raises
    ------
    DataError
        When the volumes do not overlap.
    """
    aligned = layers.aligned()
    box = common_box(list(aligned.values()))
    views = [_read_view(error, aligned, box, layers, skeletons) for error in errors]
    grays = stretch_contrast([view.gray for view in views])
    return [replace(view, gray=gray) for view, gray in zip(views, grays, strict=True)]


def _read_view(
    error: FoundError, aligned: Mapping[str, Layer], box: Box, layers: Layers, skeletons: Skeletons | None
) -> View:
    raw = layers.raw
    place = (np.array(error.position_zyx_nm) - raw.offset_zyx_nm) / raw.voxel_size_zyx_nm
    voxel = np.clip(np.rint(place).astype(int), box.start_zyx, np.array(box.stop_zyx) - 1)
    planes = _planes_at(voxel, box, np.rint(field_nm(raw.voxel_size_zyx_nm) / np.array(raw.voxel_size_zyx_nm)))
    labels = [read_plane(aligned["labels"], plane, ids=True) for plane in planes]
    truths = [read_plane(aligned["truth"], plane, ids=True) for plane in planes] if "truth" in aligned else []
    truth_ids = _truth_ids(error, aligned.get("truth"), skeletons)
    if error.kind == "split":
        shown = [_seen(image, error.segment, plane, voxel) for image, plane in zip(labels, planes, strict=True)]
    elif error.kind == "missing" and truths:
        holes = [np.where(image == 0, truth, 0) for image, truth in zip(labels, truths, strict=True)]
        shown = [_seen(image, truth_ids, plane, voxel) for image, plane in zip(holes, planes, strict=True)]
    elif truths:
        shown = [_seen(image, truth_ids, plane, voxel) for image, plane in zip(truths, planes, strict=True)]
    elif skeletons is not None:
        shown = [min(len(edges_near(skeletons, i, plane, layers)) for i in error.truth) for plane in planes]
    else:
        shown = [0] * 3
    best = int(np.argmax(shown))
    plane = planes[best]
    return View(
        error,
        plane,
        read_gray(aligned["raw"], plane),
        read_affinities(aligned["affinities"], plane, layers.shown) if "affinities" in aligned else None,
        labels[best],
        truths[best] if truths else None,
        truth_ids,
    )


def _planes_at(voxel: np.ndarray, box: Box, field_vx: np.ndarray) -> list[Plane]:
    """Return the xy, xz and yz plane through a voxel, so many voxels wide, shifted where they would leave the box."""
    size = np.minimum(np.maximum(field_vx.astype(int), 1), box.shape_zyx)
    start = np.clip(voxel - size // 2, box.start_zyx, np.array(box.stop_zyx) - size)
    planes = []
    for axis in range(3):
        low, high = start.copy(), start + size
        low[axis], high[axis] = voxel[axis], voxel[axis] + 1
        planes.append(Plane(axis, Box(to_triple(low.tolist()), to_triple(high.tolist()))))
    return planes


def _seen(image: np.ndarray, ids: tuple[int, int], plane: Plane, voxel: np.ndarray) -> int:
    """Count the pixels of the one of two ids that is seen less, in the middle half of the field around the voxel."""
    around = []
    for axis, length in zip(plane.kept_axes, image.shape, strict=True):
        middle = voxel[axis] - plane.box.start_zyx[axis]
        around.append(slice(max(0, middle - length // 4), middle + length // 4 + 1))
    part = image[tuple(around)]
    return min(int(np.count_nonzero(part == i)) for i in ids)


def _truth_ids(error: FoundError, truth: Layer | None, skeletons: Skeletons | None) -> tuple[int, int]:
    """Return truth labels of the two that an error names: those ids or, of skeletons, the labels they run through."""
    if truth is None or skeletons is None or error.lost_nm is None:
        return error.truth
    under = [label_under(truth.volume, skeletons, i, error.position_zyx_nm) for i in error.truth]
    first, second = (i if label is None else label for i, label in zip(error.truth, under, strict=True))
    return first, second


def edges_near(skeletons: Skeletons, skeleton: int | None, plane: Plane, layers: Layers) -> np.ndarray:
    """Return the edges (E,) of one skeleton, or of all, of which an end lies in the picture and near to its plane."""
    size = np.array(layers.raw.voxel_size_zyx_nm)
    low = (np.array(plane.box.start_zyx) - 0.5) * size + layers.raw.offset_zyx_nm
    high = low + np.array(plane.box.shape_zyx) * size
    reach = np.zeros(3)
    reach[plane.axis] = max(size[plane.axis], NEAR * field_nm(layers.raw.voxel_size_zyx_nm))
    near = np.all((skeletons.node_pos_nm >= low - reach) & (skeletons.node_pos_nm < high + reach), axis=1)
    if skeleton is not None:
        near &= skeletons.node_skeleton_id == skeleton
    return np.flatnonzero(near[skeletons.edges].any(axis=1))
