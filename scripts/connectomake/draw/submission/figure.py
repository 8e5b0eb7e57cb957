"""The score of a submission class by class, and what the overall score would gain if a class were perfect."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from connectomake.draw.figure import (
    FAINT,
    INK,
    MERGE,
    SCORE,
    SPLIT,
    add_axes_in,
    new_figure,
    plain_axes,
    write_text,
)
from connectomake.draw.submission.score import PARTS, ClassScore, Score

SCORE_IN, GAIN_IN, GAP_IN, VALUE_IN = 3.1, 1.7, 0.3, 0.5
TOP_IN, HEAD_IN, AXIS_IN = 0.72, 0.46, 0.52  # the title, the heading of a kind, what is written under a plot
LETTER_IN, REMARK_LETTER_IN = 0.072, 0.062  # of the rows' font, and of what is said of them
LINE_LETTERS = 48  # of that
FEW_ROWS = 30  # up to here they have room
MARKS = {"f1": "o", "normalized_hausdorff_distance": "D", "precision": "^", "recall": "v"}
KINDS = (
    (True, "object by object", "score = √(F1 · Hausdorff)"),
    (False, "voxel by voxel", "score = IoU"),
)
SKIPPED_HATCH = "////"


@dataclass(frozen=True)
class Layout:
    """Sizes in inches; `font` in points."""

    left: float
    row: float
    font: float
    remarks: float

    @classmethod
    def of_score(cls, score: Score) -> Layout:
        """Make room for the rows, their names and what is said of them."""
        row, font = (0.27, 8.0) if len(score.classes) <= FEW_ROWS else (0.21, 7.0)
        name = max((len(one.label) for one in score.classes), default=0)
        remark = max((len(line) for one in score.classes for line in _wrap(one.remark)), default=0)
        return cls(0.3 + LETTER_IN * name, row, font, REMARK_LETTER_IN * remark)

    @property
    def width(self) -> float:
        """The figure's."""
        return self.left + SCORE_IN + GAIN_IN + 2 * VALUE_IN + GAP_IN + self.remarks + 0.15


def draw_scores(score: Score, title: str = "") -> Figure:
    """Draw a bar for the score of each class with its parts, and beside it what a perfect class would add.

    Parameters
    ----------
    score
        What `read_score` gave; of any number of classes, of one kind or both.
    title
        The heading.
    """
    layout = Layout.of_score(score)
    kinds = [(kind, [row for row in score.classes if row.is_instance == kind[0]]) for kind in KINDS]
    kinds = [(kind, rows) for kind, rows in kinds if rows]
    height = sum(HEAD_IN + layout.row * len(rows) + AXIS_IN for _, rows in kinds)
    figure = new_figure(layout.width, TOP_IN + height)
    write_text(figure, 0.12, 0.10, title or "local score", fontsize=11, weight="bold")
    write_text(figure, 0.12, 0.36, score.headline, fontsize=8.5)
    most = max((row.gain or 0 for row in score.classes), default=0) or 0.1
    top = TOP_IN
    for (is_instance, name, what), rows in kinds:
        mean = score.instance if is_instance else score.semantic
        heading = f"{name}: mean {mean:.3f}" if any(row.score is not None for row in rows) else name
        write_text(figure, 0.12, top, heading, fontsize=9.5, weight="bold")
        top += HEAD_IN
        lefts = (layout.left, layout.left + SCORE_IN + VALUE_IN + GAP_IN)
        left, right = (
            add_axes_in(figure, at, top, width, layout.row * len(rows))
            for at, width in zip(lefts, (SCORE_IN, GAIN_IN), strict=True)
        )
        _draw_bars(left, rows, layout, what)
        _draw_gains(right, rows, layout, most)
        top += layout.row * len(rows) + AXIS_IN
    return figure


def _draw_bars(axes: Axes, rows: Sequence[ClassScore], layout: Layout, what: str) -> None:
    """Draw scores as bars and their parts as marks; a class of which all crops were skipped is hatched."""
    for k, row in enumerate(rows):
        if row.score is None:
            continue
        colours: dict[str, Any] = {"color": SCORE}
        if row.pairs and all(pair.is_skipped for pair in row.pairs):
            colours = {"facecolor": "white", "edgecolor": SCORE, "hatch": SKIPPED_HATCH}
        axes.barh(k, row.score, height=0.62, **colours)
        _write_value(axes, k, f"{row.score:.3f}", layout)
    for name, mark in MARKS.items():
        places = [(row.parts[name], k) for k, row in enumerate(rows) if name in row.parts]
        if places:
            style: dict[str, Any] = {"ms": 4.2, "mfc": "white", "mec": INK, "mew": 0.8, "ls": "", "clip_on": False}
            axes.plot(*zip(*places, strict=True), mark, label=PARTS[name], zorder=4, **style)
    _finish(axes, rows, what)
    axes.set_yticklabels([row.label for row in rows], fontsize=layout.font)
    axes.set(xlim=(0, 1.02), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1.0])
    if axes.get_legend_handles_labels()[0]:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderaxespad": 0.2}
        axes.legend(fontsize=7.5, frameon=False, ncols=2, handletextpad=0.1, columnspacing=1.2, **place)


def _draw_gains(axes: Axes, rows: Sequence[ClassScore], layout: Layout, most: float) -> None:
    """Draw what a perfect class would add to the overall score, and what is to be said of the class."""
    for k, row in enumerate(rows):
        if row.gain is not None:
            axes.barh(k, row.gain, height=0.62, color=SPLIT)
            _write_value(axes, k, f"+{row.gain:.3f}", layout)
        style: dict[str, Any] = {"fontsize": layout.font - 1, "va": "center", "linespacing": 0.95}
        colour = FAINT if row.score is None else MERGE
        place = 1 + (VALUE_IN + 0.06) / GAIN_IN
        remark = "\n".join(_wrap(row.remark))
        axes.text(place, k, remark, color=colour, transform=axes.get_yaxis_transform(), **style)
    _finish(axes, rows, "overall score: gained if perfect")
    axes.set_yticklabels([])
    axes.set_xlim(0, most * 1.05)
    axes.locator_params(axis="x", nbins=4)


def _finish(axes: Axes, rows: Sequence[ClassScore], what: str) -> None:
    plain_axes(axes)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(what, fontsize=8.5)
    axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
    axes.tick_params(axis="y", length=0)


def _write_value(axes: Axes, row: int, text: str, layout: Layout) -> None:
    width = axes.get_position().width * layout.width
    style: dict[str, Any] = {"fontsize": layout.font, "color": INK, "va": "center_baseline"}
    axes.text(1 + 0.07 / width, row, text, transform=axes.get_yaxis_transform(), **style)


def _wrap(remark: str) -> list[str]:
    return textwrap.wrap(remark, LINE_LETTERS)
