"""The worst errors of a segmentation, each as a row of pictures of the place where it happened.

Two colours tell the parts of an error from each other in every row: the object, and what it lost. All else is pale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from connectomake.draw.colours import BORDER_DARKNESS, colour_ids, find_borders, overlay
from connectomake.draw.errors.views import FoundError, View, edges_near, read_views
from connectomake.draw.figure import (
    FAINT,
    INK,
    MERGE,
    SCORE,
    SPLIT,
    add_axes_in,
    add_scale_bar,
    format_length,
    new_figure,
    show_image,
    write_text,
)
from connectomake.draw.volume.slices import Layers
from connectomake.errors import DataError
from connectomake.volumes.skeletons import Skeletons

COLUMN_IN, GAP_IN, LEFT_IN, TOP_IN, HEAD_IN, ROW_GAP_IN = 2.3, 0.07, 0.12, 0.80, 0.42, 0.16
OBJECT, LOST = "#00b899", "#ec2f92"
LETTER_IN = 0.085  # of the cost's font
STRONG, PALE = 0.55, 0.15  # opacity
NAMES = {"split": ("split", SPLIT), "merge": ("merger", MERGE), "missing": ("missing", INK)}


def draw_errors(
    errors: Sequence[FoundError], layers: Layers, title: str, *, skeletons: Skeletons | None = None
) -> Figure:
    """Draw a row for each error: raw, affinities, segmentation and truth, in the plane that shows its two parts best.

    Only planes of `field_nm` around the errors are read.

    Parameters
    ----------
    errors
        What to draw, in order (`read_errors`); none gives a figure that says so.
    layers
        Raw and labels, and affinities and truth where there are any.
    title
        The heading: volume and variant.
    skeletons
        Truth skeletons; those that an error names are drawn as lines, and all of them where there are no truth labels.

    Raises
    ------
    DataError
        When there are no labels, or the volumes do not overlap.
    """
    if layers.labels is None:
        raise DataError("a figure of errors needs labels")
    if not errors:
        return _draw_none(title)
    views = read_views(errors, layers, skeletons)
    columns = ["raw", *["affinities"] * (layers.affinities is not None), "segmentation"]
    columns += ["truth"] * (layers.truth is not None or skeletons is not None)
    sizes_nm = [view.plane.size_nm(layers.raw.voxel_size_zyx_nm) for view in views]
    heights = [COLUMN_IN * min(1.0, down / across) for down, across in sizes_nm]
    lefts = [LEFT_IN + k * (COLUMN_IN + GAP_IN) for k in range(len(columns))]
    width = lefts[-1] + COLUMN_IN + LEFT_IN
    figure = new_figure(width, TOP_IN + sum(heights) + len(views) * (HEAD_IN + ROW_GAP_IN) - 0.05)
    headings = [layers.shown.name if column == "affinities" else column for column in columns]
    _write_title(figure, title, headings, lefts)
    top = TOP_IN
    for view, size_nm, height in zip(views, sizes_nm, heights, strict=True):
        _write_head(figure, view, top)
        top += HEAD_IN
        for left, column in zip(lefts, columns, strict=True):
            axes = add_axes_in(figure, left, top, height * size_nm[1] / size_nm[0], height)
            show_image(axes, _paint(view, column), size_nm)
            _add_marks(axes, column, view, layers, skeletons)
        top += height + ROW_GAP_IN
    return figure


def _draw_none(title: str) -> Figure:
    figure = new_figure(5.8, 1.15)
    write_text(figure, LEFT_IN, 0.10, title, fontsize=11, weight="bold")
    write_text(figure, LEFT_IN, 0.50, "no errors", fontsize=13, weight="bold", color=SCORE)
    write_text(
        figure,
        LEFT_IN,
        0.80,
        "Of what was compared, nothing is torn apart, joined or without a label.",
        fontsize=9,
    )
    return figure


def _write_title(figure: Figure, title: str, columns: Sequence[str], lefts: Sequence[float]) -> None:
    write_text(figure, LEFT_IN, 0.10, title, fontsize=11, weight="bold")
    for left, column in zip(lefts, columns, strict=True):
        write_text(figure, left, 0.55, column, fontsize=9.5)
    left = LEFT_IN
    whole_width, whole_height = figure.get_size_inches()
    for colour, meaning in ((OBJECT, "the object"), (LOST, "what it lost, or what was joined to it")):
        place = (left / whole_width, 1 - 0.455 / whole_height)
        size = (0.11 / whole_width, 0.11 / whole_height)
        figure.add_artist(Rectangle(place, *size, transform=figure.transFigure, color=colour, linewidth=0))
        write_text(figure, left + 0.16, 0.335, meaning, fontsize=8, color=FAINT)
        left += 0.95


def _write_head(figure: Figure, view: View, top: float) -> None:
    """Write over a row what happened, what it cost, and where."""
    error = view.error
    name, colour = NAMES[error.kind]
    cost = (f"{error.lost_vx:,} voxels" if error.lost_nm is None else format_length(error.lost_nm)) + " lost"
    who = "truth" if error.lost_nm is None else "skeleton"
    if error.kind == "split":
        story = f"{who} {error.truth[0]}: segment {error.segment[1]} is torn off segment {error.segment[0]}"
    elif error.kind == "missing":
        story = f"{who} {error.truth[0]} has no label here"
    else:
        story = f"segment {error.segment[0]}: {who} {error.truth[1]} is joined to {who} {error.truth[0]}"
    where = "  ".join(f"{axis} {v}" for axis, v in zip("zyx", error.voxel_zyx, strict=True))
    write_text(figure, LEFT_IN, top, f"{name} {error.rank}", fontsize=10, weight="bold", color=colour)
    write_text(figure, LEFT_IN + 0.92, top, cost, fontsize=10, weight="bold")
    story_in = LEFT_IN + max(2.35, 1.0 + LETTER_IN * len(cost))
    write_text(figure, story_in, top + 0.02, story, fontsize=8.5)
    write_text(figure, LEFT_IN, top + 0.21, f"{view.plane.name} plane at voxel {where}", fontsize=8, color=FAINT)


def _paint(view: View, column: str) -> np.ndarray:
    """Turn a view into the picture of one column."""
    if column == "raw":
        return view.gray
    if column == "affinities" and view.affinities is not None:
        return view.affinities
    if view.error.kind == "missing":
        return _emphasise_missing(view, column)
    ids, pair = (view.labels, view.error.segment) if column == "segmentation" else (view.truth, view.truth_ids)
    if ids is None:
        return view.gray
    return _emphasise(view.gray, ids, {LOST: ids == pair[1], OBJECT: ids == pair[0]})


def _emphasise_missing(view: View, column: str) -> np.ndarray:
    """Show what of an object has no label in one colour, over the segmentation; over the truth the rest of it too."""
    if view.truth is None:
        return _emphasise(view.gray, view.labels, {}) if column == "segmentation" else view.gray
    inside = view.truth == view.truth_ids[0]
    if column == "segmentation":
        return _emphasise(view.gray, view.labels, {LOST: inside & (view.labels == 0)})
    return _emphasise(view.gray, view.truth, {OBJECT: inside, LOST: inside & (view.labels == 0)})


def _emphasise(gray: np.ndarray, ids: np.ndarray, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Lay labels over a gray image: masked parts each in its colour, one after the other; all else pale."""
    image = overlay(gray, ids, PALE).astype(np.float32)
    for colour, inside in parts.items():
        image[inside] = gray[inside, None] * (1 - STRONG) + STRONG * _rgb(colour)
        image[inside & find_borders(ids)] *= 1 - BORDER_DARKNESS
    return np.round(image).astype(np.uint8)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], np.float32)


def _add_marks(axes: Axes, column: str, view: View, layers: Layers, skeletons: Skeletons | None) -> None:
    """Put scale bar, skeletons and the cross on a picture, each where it belongs."""
    if column == "raw":
        add_scale_bar(axes)
    if skeletons is not None and view.error.lost_nm is not None and column in ("segmentation", "truth"):
        if column == "truth" and view.truth is None:
            _add_all_skeletons(axes, view, layers, skeletons)
        for skeleton, colour in zip(view.error.truth[::-1], (LOST, OBJECT), strict=True):
            _add_lines(axes, edges_near(skeletons, skeleton, view.plane, layers), view, layers, skeletons, colour)
    _add_cross(axes, _on_picture(np.array(view.error.position_zyx_nm), view, layers))


def _add_all_skeletons(axes: Axes, view: View, layers: Layers, skeletons: Skeletons) -> None:
    edges = edges_near(skeletons, None, view.plane, layers)
    colours = colour_ids(skeletons.node_skeleton_id[skeletons.edges[edges, 0]]) / 255
    ends = _on_picture(skeletons.node_pos_nm[skeletons.edges[edges]], view, layers)
    axes.add_collection(LineCollection(list(ends), colors=colours, linewidths=1.0, alpha=0.8), autolim=False)


def _add_lines(axes: Axes, edges: np.ndarray, view: View, layers: Layers, skeletons: Skeletons, colour: str) -> None:
    ends = _on_picture(skeletons.node_pos_nm[skeletons.edges[edges]], view, layers)
    outline = [withStroke(linewidth=3.0, foreground="white")]
    axes.add_collection(LineCollection(list(ends), colors=colour, linewidths=1.5, path_effects=outline), autolim=False)


def _on_picture(position_zyx_nm: np.ndarray, view: View, layers: Layers) -> np.ndarray:
    """Return the place (..., 2) across and down, in nm from the picture's corner, of positions (..., 3)."""
    corner = np.array(view.plane.box.start_zyx) - 0.5  # of its first voxel, not the centre
    place = position_zyx_nm - np.array(layers.raw.offset_zyx_nm) - corner * layers.raw.voxel_size_zyx_nm
    down, across = view.plane.kept_axes
    return place[..., [across, down]]


def _add_cross(axes: Axes, place: np.ndarray) -> None:
    """Mark a place by a cross that is open in the middle, so that what it marks stays visible."""
    reach = 0.01 * np.diff(axes.get_xlim())[0]
    for across, down in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        step = np.array([across, down]) * reach
        line = np.array([place + 2 * step, place + 5 * step])
        outline = [withStroke(linewidth=2.6, foreground="black")]
        axes.plot(*line.T, color="white", lw=1.3, path_effects=outline, scalex=False, scaley=False)
