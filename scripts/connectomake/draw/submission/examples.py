"""The worst and the best classes of the crops of a submission: image, truth, submission, and where the two agree.

The four colours stay apart for eyes that do not tell red from green.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from connectomake.draw.colours import BORDER_DARKNESS, find_borders, overlay
from connectomake.draw.figure import (
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
from connectomake.draw.submission.score import PairScore
from connectomake.draw.submission.views import View

COLUMN_IN, GAP_IN, LEFT_IN, TOP_IN, HEAD_IN, ROW_GAP_IN = 2.4, 0.07, 0.12, 0.90, 0.42, 0.16
TALLEST = 1.15  # of a picture's width
LABELLED, RIGHT, WRONG = 0.5, 0.5, 0.8  # opacity
DARK = 0.45  # of what is unknown
COLOURS = {"right": "#56b4e9", "missed": "#d81b60", "too much": "#ffc107", "other object": "#4527a0"}
COLUMNS = ("image", "truth", "submission")


def draw_examples(views: Sequence[View], title: str = "") -> Figure:
    """Draw a row for each example: image, truth, submission, and where they agree.

    Parameters
    ----------
    views
        What `read_views` gave; none gives a figure that says so.
    title
        The heading.
    """
    if not views:
        return _draw_none(title)
    sizes_in = [fit_picture(view.size_nm, COLUMN_IN, TALLEST) for view in views]
    lefts = [LEFT_IN + k * (COLUMN_IN + GAP_IN) for k in range(len(COLUMNS) + 1)]
    height = TOP_IN + sum(height + HEAD_IN + ROW_GAP_IN for height, _ in sizes_in)
    figure = new_figure(lefts[-1] + COLUMN_IN + LEFT_IN, height)
    write_text(figure, LEFT_IN, 0.10, title or "worst and best crops", fontsize=11, weight="bold")
    for left, heading in zip(lefts, COLUMNS, strict=False):
        write_text(figure, left, 0.57, heading, fontsize=9.5)
    _write_legend(figure, lefts[-1])
    top = TOP_IN
    for view, (height, width) in zip(views, sizes_in, strict=True):
        _write_head(figure, view, top)
        top += HEAD_IN
        for k, (left, image) in enumerate(zip(lefts, _paint(view), strict=True)):
            axes = add_axes_in(figure, left, top, width, height)
            show_image(axes, image, view.size_nm)
            if k == 0:
                add_scale_bar(axes)
        top += height + ROW_GAP_IN
    return figure


def compare(truth: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return where labels are right, and in which way they are wrong.

    Parameters
    ----------
    truth
        (H, W) integers, with the ids of the labels that match it; -1 = unknown.
    labels
        (H, W) integers, 0 where truth is unknown.

    Returns
    -------
    dict
        By the names in `COLOURS`, (H, W) bool; no two overlap.
    """
    both = (truth > 0) & (labels > 0)
    return {
        "right": both & (truth == labels),
        "missed": (truth > 0) & (labels == 0),
        "too much": (truth == 0) & (labels > 0),
        "other object": both & (truth != labels),
    }


def _draw_none(title: str) -> Figure:
    figure = new_figure(5.8, 1.15)
    write_text(figure, LEFT_IN, 0.10, title or "worst and best crops", fontsize=11, weight="bold")
    write_text(figure, LEFT_IN, 0.50, "nothing to show", fontsize=13, weight="bold", color=FAINT)
    text = "No class of any crop has labels to compare with."
    write_text(figure, LEFT_IN, 0.80, text, fontsize=9)
    return figure


def _write_legend(figure: Figure, left: float) -> None:
    """Write the meaning of the colours over the last column, in two lines."""
    whole_width, whole_height = figure.get_size_inches()
    for k, (name, colour) in enumerate(COLOURS.items()):
        top, start = 0.42 + 0.19 * (k // 2), left + 0.95 * (k % 2)
        place = (start / whole_width, 1 - (top + 0.125) / whole_height)
        size = (0.12 / whole_width, 0.12 / whole_height)
        figure.add_artist(Rectangle(place, *size, transform=figure.transFigure, color=colour, linewidth=0))
        write_text(figure, start + 0.17, top, name, fontsize=8.5)


def _write_head(figure: Figure, view: View, top: float) -> None:
    """Write over a row which class of which crop it is, its score and what that is made of."""
    pair = view.example.pair
    colour = SCORE if view.example.name.startswith("best") else MERGE
    score = "skipped" if pair.score is None else f"{pair.score:.3f}"
    write_text(figure, LEFT_IN, top, view.example.name, fontsize=10, weight="bold", color=colour)
    write_text(figure, LEFT_IN + 0.75, top, f"{pair.label}   {score}", fontsize=10, weight="bold", color=INK)
    write_text(figure, LEFT_IN + COLUMN_IN + GAP_IN, top + 0.02, _tell(pair), fontsize=8.5)
    axis = "zyx"[view.plane.axis]
    where = f"{pair.crop} of {view.crop.dataset}, {view.plane.name} plane at {axis} {view.plane.index}"
    write_text(figure, LEFT_IN, top + 0.21, where, fontsize=8, color=FAINT)


def _tell(pair: PairScore) -> str:
    """Say in words how a score came about."""
    if pair.is_skipped:
        return "so many objects that the challenge skips this crop"
    unit = "objects" if pair.is_instance else "voxels"
    counts = f"{unit}: {pair.tp:,} found, {pair.fn:,} missed, {pair.fp:,} too many"
    return counts if pair.hausdorff is None else f"{counts};  Hausdorff {pair.hausdorff:.3f}"


def _paint(view: View) -> list[np.ndarray]:
    """Turn a view into its pictures."""
    return [
        view.gray,
        overlay(view.gray, view.truth, LABELLED),
        overlay(view.gray, view.labels, LABELLED),
        _agree(view),
    ]


def _agree(view: View) -> np.ndarray:
    """Colour where truth and submission agree and where they do not; draw lines between objects that touch."""
    gray = np.where(view.truth < 0, view.gray * DARK, view.gray)
    image = np.repeat(gray[..., None], 3, axis=-1).astype(np.float32)
    for name, inside in compare(view.truth, view.labels).items():
        strength = RIGHT if name == "right" else WRONG
        colour = np.array([int(COLOURS[name][k : k + 2], 16) for k in (1, 3, 5)], np.float32)
        image[inside] = gray[inside, None] * (1 - strength) + strength * colour
    image[find_borders(view.truth) & _inside(view.truth)] *= 1 - BORDER_DARKNESS
    return np.round(image).astype(np.uint8)


def _inside(ids: np.ndarray) -> np.ndarray:
    """Mark pixels that belong to something, as do those to their right and below."""
    inside = ids > 0
    inside[:, :-1] &= ids[:, 1:] > 0
    inside[:-1] &= ids[1:] > 0
    return inside
