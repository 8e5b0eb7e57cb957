"""A finished prediction on one page: planes across the borders of blocks, means by section, values and seams."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from connectomake.draw.figure import (
    DOTS_PER_INCH,
    FAINT,
    INK,
    MERGE,
    SCORE,
    add_axes_in,
    add_scale_bar,
    fit_picture,
    new_figure,
    show_image,
    write_text,
)
from connectomake.draw.planes import Layer, Plane, common_box, lay_over, plane_at
from connectomake.draw.prediction.panels import (
    SECTION_NAMES,
    VALUE_NAMES,
    draw_seams,
    draw_sections,
    draw_values,
    legend_in,
)
from connectomake.draw.volume.slices import read_affinities, read_gray, stretch_contrast
from connectomake.geometry import Box, to_triple
from connectomake.volumes.affinities import Shown
from connectomake.volumes.volume import Readable

COLUMN_IN, GAP_IN, LEFT_IN, RIGHT_IN, LINE_IN = 2.85, 0.24, 0.62, 0.25, 0.17
HEAD_IN, NAME_IN, AXIS_IN = 0.87, 0.45, 0.55  # the heading, the name of a plane, what is written under a plot
TALLEST = 1.0  # of a picture's width
TICK_IN = 0.025, 0.1  # where ticks begin and end, from the picture
FIELD_VX, ZOOM_VX = 1024, 64  # sides of what is shown; the latter of the finest voxels
PANEL_IN, SEAMS_IN = 1.75, 2.3
LETTERS = 150  # in a line of the page
MOST_SAID = 5  # warnings


@dataclass(frozen=True)
class View:
    """A plane of raw and prediction, and what of it is enlarged."""

    plane: Plane
    raw: np.ndarray
    channels: np.ndarray
    zoomed: Plane
    enlarged: np.ndarray


def draw_prediction(
    raw: Readable, prediction: Readable, shown: Shown, numbers: Mapping[str, Any], title: str
) -> Figure:
    """Draw a prediction where faces of its blocks cross, and the numbers of `check_prediction`.

    Only two planes of at most 1024 voxels a side are read.

    Parameters
    ----------
    raw
        The volume at the voxel size that was predicted.
    prediction
        (C, Z, Y, X), in a part of it or all.
    shown
        Which of its channels are pictured.
    numbers
        What `check_prediction` gave.
    title
        The heading: volume and variant.

    Raises
    ------
    DataError
        When the two do not overlap.
    """
    views = read_views(raw, prediction, shown, numbers["crossing_zyx_vx"])
    rows, said = [_row_in(view, raw) for view in views], _say(numbers)
    top = HEAD_IN + LINE_IN * len(said)
    top_sections = top + sum(rows) + legend_in(numbers, SECTION_NAMES)
    top_values = top_sections + PANEL_IN + AXIS_IN + legend_in(numbers, VALUE_NAMES)
    whole = 3 * COLUMN_IN + 2 * GAP_IN
    figure = new_figure(LEFT_IN + whole + RIGHT_IN, top_values + PANEL_IN + AXIS_IN)
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    for k, (line, colour) in enumerate(said):
        write_text(figure, 0.12, 0.38 + LINE_IN * k, line, fontsize=8.5, color=colour)
    name = textwrap.shorten(shown.name, LETTERS // 4, placeholder=" ...")
    enlarged = "where blocks meet, enlarged" if numbers["blocks"] > 1 else "the middle, enlarged"
    for k, heading in enumerate(("raw", name, enlarged)):
        write_text(figure, LEFT_IN + k * (COLUMN_IN + GAP_IN), top - 0.34, heading, fontsize=9.5)
    for view, row in zip(views, rows, strict=True):
        _draw_view(figure, view, top, raw, numbers)
        top += row
    draw_sections(add_axes_in(figure, LEFT_IN, top_sections, whole, PANEL_IN), numbers)
    draw_values(add_axes_in(figure, LEFT_IN, top_values, whole - SEAMS_IN - 0.75, PANEL_IN), numbers)
    draw_seams(add_axes_in(figure, LEFT_IN + whole - SEAMS_IN, top_values, SEAMS_IN, PANEL_IN), numbers)
    return figure


def read_views(raw: Readable, prediction: Readable, shown: Shown, at: Sequence[int]) -> list[View]:
    """Read an xy and an xz plane through a place, z, y, x in voxels of raw, and bring raw to one contrast."""
    layers = Layer(raw, (0, 0, 0)), lay_over(prediction, raw)
    box = common_box(layers)
    size = np.array(raw.voxel_size_zyx_nm)
    zoom = np.maximum(1, np.rint(ZOOM_VX * size.min() / size / 2)).astype(int)
    planes = [plane_at(_around(box, at, [FIELD_VX // 2] * 3), axis, at[axis]) for axis in (0, 1)]
    zoomed = [plane_at(_around(box, at, zoom.tolist()), axis, at[axis]) for axis in (0, 1)]
    grays = stretch_contrast([read_gray(layers[0], plane) for plane in planes])
    views = zip(planes, grays, zoomed, strict=True)
    return [
        View(plane, gray, read_affinities(layers[1], plane, shown), near, read_affinities(layers[1], near, shown))
        for plane, gray, near in views
    ]


def _around(box: Box, at: Sequence[int], reach: Sequence[int]) -> Box:
    """Return the part of a box within some voxels of a place."""
    start, stop = ([a + sign * r for a, r in zip(at, reach, strict=True)] for sign in (-1, 1))
    return Box(to_triple(start), to_triple(stop)).intersect(box)


def _say(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write the lines under the heading, with their colours: what it is, and what is wrong with it."""
    shape, block = (" x ".join(map(str, numbers[key])) for key in ("shape_zyx", "block_zyx_vx"))
    part = "all of it" if numbers["looked_at"] == 1 else f"{numbers['looked_at']:.1%} of it, at full depth,"
    blocks = "one block" if numbers["blocks"] == 1 else f"{numbers['blocks']} blocks of {block}"
    lines = [(f"{shape} voxels (z, y, x) in {blocks}; {part} was looked at", FAINT)]
    found = [warning["text"] for warning in numbers["warnings"]]
    for text in found[:MOST_SAID]:
        lines += [(line, MERGE) for line in textwrap.wrap(f"- {text}", LETTERS, subsequent_indent="   ")]
    if len(found) > MOST_SAID:
        lines.append((f"and {len(found) - MOST_SAID} more: see check.json", MERGE))
    return lines if found else [*lines, ("no warnings", SCORE)]


def _row_in(view: View, raw: Readable) -> float:
    """Return the height in inches of a row of pictures, with the gap below."""
    sizes = (plane.size_nm(raw.voxel_size_zyx_nm) for plane in (view.plane, view.zoomed))
    return max(NAME_IN, *(fit_picture(size, COLUMN_IN, TALLEST)[0] for size in sizes)) + GAP_IN


def _draw_view(figure: Figure, view: View, top: float, raw: Readable, numbers: Mapping[str, Any]) -> None:
    """Draw one plane: raw, channels, and the part of them that is enlarged."""
    write_text(figure, 0.12, top, view.plane.name, fontsize=10, weight="bold")
    write_text(figure, 0.12, top + 0.19, f"{'zyx'[view.plane.axis]} {view.plane.index}", fontsize=8.5)
    pictures = ((view.raw, view.plane), (view.channels, view.plane), (view.enlarged, view.zoomed))
    for k, (image, plane) in enumerate(pictures):
        extent = plane.size_nm(raw.voxel_size_zyx_nm)
        height, width = fit_picture(extent, COLUMN_IN, TALLEST)
        left = LEFT_IN + k * (COLUMN_IN + GAP_IN) + (COLUMN_IN - width) / 2
        axes = add_axes_in(figure, left, top, width, height)
        show_image(axes, image, extent)
        _mark_faces(axes, plane, raw, numbers)
        if k != 1:
            add_scale_bar(axes)
        else:
            _mark_enlarged(axes, plane, view.zoomed, raw)


def _mark_faces(axes: Axes, plane: Plane, raw: Readable, numbers: Mapping[str, Any]) -> None:
    """Put ticks outside of a picture where blocks meet, so that nothing hides the seam itself."""
    sides = (axes.get_yaxis_transform(), axes.bbox.width), (axes.get_xaxis_transform(), axes.bbox.height)
    for axis, (transform, side) in zip(plane.kept_axes, sides, strict=True):
        first, block = numbers["first_voxel_zyx_vx"][axis], numbers["block_zyx_vx"][axis]
        start, stop = plane.box.start_zyx[axis], plane.box.stop_zyx[axis]
        near, far = (distance * DOTS_PER_INCH / side for distance in TICK_IN)
        for face in range(first + block, first + numbers["shape_zyx"][axis], block):
            if start < face < stop:
                place = (face - start) * raw.voxel_size_zyx_nm[axis]
                for ends in ((-far, -near), (1 + near, 1 + far)):
                    along = ([place, place], ends) if axis == plane.kept_axes[1] else (ends, [place, place])
                    axes.plot(*along, transform=transform, color=INK, lw=1.1, clip_on=False)


def _mark_enlarged(axes: Axes, plane: Plane, zoomed: Plane, raw: Readable) -> None:
    """Frame what is enlarged."""
    down, across = (
        (zoomed.box.start_zyx[a] - plane.box.start_zyx[a]) * raw.voxel_size_zyx_nm[a] for a in plane.kept_axes
    )
    height, width = zoomed.size_nm(raw.voxel_size_zyx_nm)
    axes.add_patch(Rectangle((across, down), width, height, fill=False, edgecolor=MERGE, lw=0.9, ls=(0, (3, 2))))
