"""Planes through one volume, side by side: raw, affinities, labels, truth.

Truth wears the colours of the labels that match it, and is strong only where the labels are wrong: what is vivid on
the right is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from connectomake.draw.colours import NO_PARTNER, adopt_ids, match_truth, overlay
from connectomake.draw.figure import add_axes_in, add_scale_bar, fit_picture, new_figure, show_image, write_text
from connectomake.draw.planes import Layer, Plane, choose_planes, common_box, lay_over, read_plane
from connectomake.volumes.affinities import Shown
from connectomake.volumes.volume import Readable

COLUMN_IN, GAP_IN, LEFT_IN, TOP_IN = 2.85, 0.08, 0.62, 0.72
NARROWEST_IN, NAME_IN = 5.0, 0.36
TALLEST = 1.15  # of a picture's width; a taller plane is drawn narrower
AGREES, DIFFERS, LABELLED = 0.22, 0.80, 0.50  # opacity of truth where labels are right and wrong, and of labels


@dataclass(frozen=True)
class Layers:
    """What there is to draw of one volume. Only raw must be there.

    `shown` says which channels of the affinities are shown: stores of predictions may hold other maps than these.
    `name` is that of the volume.
    """

    raw: Readable
    affinities: Readable | None = None
    labels: Readable | None = None
    truth: Readable | None = None
    shown: Shown = field(default_factory=Shown)
    name: str = ""

    def aligned(self) -> dict[str, Layer]:
        """Lay what there is over the raw volume, and read it on the raw voxels."""
        named = {"raw": self.raw, "affinities": self.affinities, "labels": self.labels, "truth": self.truth}
        return {name: lay_over(volume, self.raw) for name, volume in named.items() if volume is not None}


@dataclass(frozen=True)
class Row:
    """The pictures of one plane; `gray`, `affinities` (H, W[, 3]) uint8, `labels` and `truth` (H, W) int64."""

    plane: Plane
    gray: np.ndarray
    affinities: np.ndarray | None
    labels: np.ndarray | None
    truth: np.ndarray | None


def draw_slices(
    layers: Layers, title: str, *, skeleton_pos_nm: np.ndarray | None = None, slices: int = 1, field_vx: int = 2048
) -> Figure:
    """Draw one row for each plane (xy, xz, yz through the middle), one column for each layer there is.

    Only these planes are read: the time and memory are those of a few planes of `field_vx` voxels squared.

    Parameters
    ----------
    layers
        The volumes.
    title
        The figure's heading: volume and variant.
    skeleton_pos_nm
        (N, 3) positions of truth skeleton nodes, z, y, x in nm; those near a plane become dots.
    slices
        How many xy planes, evenly spaced.
    field_vx
        At most so many voxels along each axis are shown, around the middle.

    Raises
    ------
    DataError
        When the volumes do not overlap.
    """
    rows = read_rows(layers, slices=slices, field_vx=field_vx)
    size_nm = [row.plane.size_nm(layers.raw.voxel_size_zyx_nm) for row in rows]
    size_in = [fit_picture(size, COLUMN_IN, TALLEST) for size in size_nm]
    lefts = [LEFT_IN + k * (COLUMN_IN + GAP_IN) for k in range(len(paint(rows[0])))]
    width = max(lefts[-1] + COLUMN_IN + GAP_IN, NARROWEST_IN)
    figure = new_figure(width, TOP_IN + sum(max(height, NAME_IN) + GAP_IN for height, _ in size_in) + 0.05)
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    for left, column in zip(lefts, paint(rows[0]), strict=True):
        heading = layers.shown.name if column == "affinities" else column
        write_text(figure, left, 0.47, heading, fontsize=9.5)
    top = TOP_IN
    for row, size, (height, width) in zip(rows, size_nm, size_in, strict=True):
        write_text(figure, 0.12, top, row.plane.name, fontsize=10, weight="bold")
        write_text(figure, 0.12, top + 0.19, f"{'zyx'[row.plane.axis]} {row.plane.index}", fontsize=8.5)
        for k, (left, image) in enumerate(zip(lefts, paint(row).values(), strict=True)):
            axes = add_axes_in(figure, left + (COLUMN_IN - width) / 2, top, width, height)
            show_image(axes, image, size)
            if k == 0:
                add_scale_bar(axes)
        if skeleton_pos_nm is not None:
            _add_nodes(axes, skeleton_pos_nm, row.plane, layers.raw)
        top += max(height, NAME_IN) + GAP_IN
    return figure


def read_rows(layers: Layers, *, slices: int = 1, field_vx: int = 2048) -> list[Row]:
    """Read the planes of a figure and bring raw to one contrast and truth to the ids of the labels that match it."""
    aligned = layers.aligned()
    planes = choose_planes(common_box(list(aligned.values())), slices, field_vx)
    grays = stretch_contrast([read_gray(aligned["raw"], plane) for plane in planes])
    labels = _read_ids(aligned.get("labels"), planes)
    truths = _read_ids(aligned.get("truth"), planes)
    if labels and truths:
        partners = match_truth(np.concatenate([a.ravel() for a in labels]), np.concatenate([t.ravel() for t in truths]))
        truths = [adopt_ids(truth, partners) for truth in truths]
    return [
        Row(
            plane,
            grays[k],
            read_affinities(aligned["affinities"], plane, layers.shown) if "affinities" in aligned else None,
            labels[k] if labels else None,
            truths[k] if truths else None,
        )
        for k, plane in enumerate(planes)
    ]


def stretch_contrast(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Bring images to 0-255, all by the same stretch, in which 1 % of the pixels lose their differences."""
    low, high = np.percentile(np.concatenate([image.ravel() for image in images]), (0.5, 99.5))
    scale = 255 / (high - low) if high > low else 0.0
    return [np.clip((image - low) * scale, 0, 255).astype(np.uint8) for image in images]


def paint(row: Row) -> dict[str, np.ndarray]:
    """Turn a row into pictures by their headings: raw, affinities, labels over raw, truth over raw."""
    pictures = {"raw": row.gray}
    if row.affinities is not None:
        pictures["affinities"] = row.affinities
    if row.labels is not None:
        pictures["labels"] = overlay(row.gray, row.labels, LABELLED)
    if row.truth is None:
        return pictures
    if row.labels is None:
        pictures["truth"] = overlay(row.gray, row.truth, LABELLED)
    else:  # clear labels are no error, unless a whole object has none
        wrong = (row.labels != row.truth) & ((row.labels > 0) | (row.truth >= NO_PARTNER))
        pictures["truth (vivid where labels differ)"] = overlay(row.gray, row.truth, np.where(wrong, DIFFERS, AGREES))
    return pictures


def read_gray(layer: Layer, plane: Plane) -> np.ndarray:
    """Read a plane of raw data, (H, W); the mean of its channels where there are several."""
    values = read_plane(layer, plane)
    return values if values.ndim == 2 else values.mean(0)


def _read_ids(layer: Layer | None, planes: Sequence[Plane]) -> list[np.ndarray]:
    return [] if layer is None else [read_plane(layer, plane, ids=True).astype(np.int64) for plane in planes]


def read_affinities(layer: Layer, plane: Plane, shown: Shown) -> np.ndarray:
    """Read the channels that lead along z, y, x as blue, green, red; their mean where they are not three."""
    first = min(shown.channels)
    values = read_plane(layer, plane, channels=slice(first, max(shown.channels) + 1))
    values = shown.in_255_steps(values[[c - first for c in shown.channels]], layer.volume.dtype)
    if len(values) != 3:
        values = values.mean(0, keepdims=True)
    image = np.clip(np.moveaxis(values[::-1], 0, -1), 0, 255).astype(np.uint8)
    return np.squeeze(image, axis=-1) if image.shape[-1] == 1 else image


def _add_nodes(axes: Axes, pos_nm: np.ndarray, plane: Plane, raw: Readable) -> None:
    """Dot the skeleton nodes that lie within a voxel of the plane, or within half a percent of the picture's width."""
    size, start = np.array(raw.voxel_size_zyx_nm), np.array(plane.box.start_zyx)
    place = pos_nm - np.array(raw.offset_zyx_nm) - (start - 0.5) * size  # from the plane's corner, not its first centre
    reach = max(size[plane.axis], 0.005 * plane.size_nm(raw.voxel_size_zyx_nm)[1])
    near = np.abs(place[:, plane.axis] - size[plane.axis] / 2) <= reach
    down, across = plane.kept_axes
    axes.plot(place[near, across], place[near, down], "o", ms=2.5, mfc="white", mec="black", mew=0.5)
