"""What an experiment found: errors and scores of every setting, and curves over what was swept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from connectomake.draw.experiment.comparison import BOLD, NOTHING_CHOOSES, Comparison
from connectomake.draw.experiment.sweeps import Quantity, draw_sweep, leading_of, sweep_height_in
from connectomake.draw.figure import (
    FAINT,
    GRID,
    INK,
    MERGE,
    SCORE,
    SPLIT,
    add_axes_in,
    new_figure,
    plain_axes,
    write_text,
)
from connectomake.errors import DataError

BARS_IN, DOTS_IN, GAP_IN, TOP_IN, BOTTOM_IN = 3.1, 2.0, 0.25, 0.72, 0.6
LETTER_IN, LINE_IN = 0.072, 0.14  # of the rows' font, and of the line below the title
MOST_ROWS, MOST_SCORES = 60, 2
FEW_ROWS = 30  # up to here they have room
ERRORS = (
    Quantity("VOI over skeleton nodes, bits", "voi_sum", parts=("voi_split", "voi_merge")),
    Quantity("VOI over voxels, bits", "voxel_voi_sum", parts=("voxel_voi_split", "voxel_voi_merge")),
)
SCORES = (
    (
        Quantity("overall score of the challenge", "overall_score", most=1, high_is_good=True),
        Quantity("score of instance classes", "overall_instance_score", most=1, high_is_good=True),
        Quantity("score of semantic classes", "overall_semantic_score", most=1, high_is_good=True),
    ),
    (
        Quantity("NERL", "nerl", most=1, high_is_good=True),
        Quantity("adapted Rand error", "adapted_rand_error", most=1),
    ),
    (
        Quantity("AP at IoU 0.5", "average_precision_50", most=1, high_is_good=True),
        Quantity("panoptic quality", "panoptic_quality_50", most=1, high_is_good=True),
    ),
    (
        Quantity("mean Dice of classes", "mean_dice", most=1, high_is_good=True),
        Quantity("Dice of foreground", "foreground_dice", most=1, high_is_good=True),
    ),
)
"""Of each line the first that was measured is drawn: a challenge, paths or pairs of voxels, objects, classes."""


@dataclass(frozen=True)
class Layout:
    """Sizes of the upper part of the figure, in inches; `font` in points."""

    left: float
    top: float
    height: float
    column_widths: list[float]
    text_width: float
    font: float

    @classmethod
    def of_rows(cls, shown: Comparison, quantities: list[Quantity], n_lines: int) -> Layout:
        """Make room for the rows, their names, the numbers beside each panel and the lines below the title."""
        n_rows = len(shown.rows)
        row, font = (0.27, 8.0) if n_rows <= FEW_ROWS else (0.19, 7.0)
        name = max(len(row.name) for row in shown.rows)
        text = max(len(text) for quantity in quantities for text in shown.texts(quantity.number, 2))
        widths = [BARS_IN if quantity.parts else DOTS_IN for quantity in quantities]
        top = TOP_IN + LINE_IN * n_lines
        return cls(0.25 + LETTER_IN * name, top, row * n_rows, widths, 0.1 + LETTER_IN * text, font)

    @property
    def width(self) -> float:
        """The figure's."""
        return max(self.left + sum(width + self.text_width + GAP_IN for width in self.column_widths), 5.5)


def draw_results(comparison: Comparison, title: str) -> Figure:
    """Draw VOI as stacked bars and scores as dots, one row per setting or segmentation, and below curves over a sweep.

    Parameters
    ----------
    comparison
        Rows and their numbers. Numbers over skeleton nodes are preferred to those over voxels. Of more than 60 rows
        the best by the first score are drawn.
    title
        The heading.

    Raises
    ------
    DataError
        When nothing in the tables can be drawn.
    """
    quantities = choose_quantities(comparison)
    if not quantities:
        found = sorted(comparison.table)
        raise DataError("the table of metrics has nothing to draw", expected="VOI, or a score", got=found)
    shown = best_of_many(comparison, quantities)
    said = _describe(shown, len(comparison.rows))
    layout = Layout.of_rows(shown, quantities, len(said))
    above, below = layout.top + layout.height + BOTTOM_IN, sweep_height_in(comparison, quantities, layout.width)
    figure = new_figure(layout.width, above + below)
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    write_text(figure, 0.12, 0.36, "\n".join(said), fontsize=8, color=FAINT)
    _draw_rows(figure, shown, quantities, layout)
    if comparison.swept:
        draw_sweep(figure, comparison, quantities, above)
    return figure


def choose_quantities(comparison: Comparison) -> list[Quantity]:
    """Take VOI over skeleton nodes, else over voxels, and the first two scores of those that were measured."""

    def first_measured(line: tuple[Quantity, ...]) -> list[Quantity]:
        return [q for q in line if all(_has(comparison, number) for number in (q.number, *q.parts))][:1]

    scores = [quantity for line in SCORES for quantity in first_measured(line)]
    return first_measured(ERRORS) + scores[:MOST_SCORES]


def best_of_many(comparison: Comparison, quantities: list[Quantity]) -> Comparison:
    """Leave out rows where there are too many to read, but for the best by the first score and those in bold."""
    if len(comparison.rows) <= MOST_ROWS:
        return comparison
    order = np.argsort(leading_of(quantities).costs(comparison), kind="stable")  # NaN comes last
    bold = [comparison.best(quantity.number, highest=quantity.high_is_good) for quantity in quantities]
    return comparison.only(sorted(set(order[:MOST_ROWS].tolist()).union(*bold)))


def _has(comparison: Comparison, number: str) -> bool:
    return bool(np.isfinite(comparison.middles(number)).any())


def _describe(shown: Comparison, n_rows: int) -> list[str]:
    """Return what the marks mean, and what was left out."""
    settings, said = shown.settings, []
    if settings.are_pooled:
        roles = " or ".join(dict.fromkeys(settings.roles))
        said.append(f"small dots: single segmentations of {roles} volumes; bars and large dots: their mean")
        said.append(f"± and whiskers: {settings.spread}")
    if len(shown.rows) > 1:
        said.append(BOLD if settings.can_choose else NOTHING_CHOOSES)
    if len(shown.rows) < n_rows:
        said.append(f"the best {len(shown.rows)} of {n_rows}; all are in the table")
    return said


def _draw_rows(figure: Figure, shown: Comparison, quantities: list[Quantity], layout: Layout) -> None:
    left, names = layout.left, [row.name for row in shown.rows]
    for k, (quantity, width) in enumerate(zip(quantities, layout.column_widths, strict=True)):
        axes = add_axes_in(figure, left, layout.top, width, layout.height)
        (_draw_bars if quantity.parts else _draw_dots)(axes, shown, quantity)
        _write_values(axes, shown, quantity, layout.font)
        plain_axes(axes)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{quantity.label} ({int(quantity.high_is_good)} is perfect)", fontsize=8.5)
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
        axes.set_yticklabels(names if k == 0 else [], fontsize=layout.font)
        axes.tick_params(axis="y", length=0)
        left += width + layout.text_width + GAP_IN


def _draw_bars(axes: Axes, shown: Comparison, errors: Quantity) -> None:
    rows, total = np.arange(len(shown.rows)), shown.middles(errors.number)
    split, merge = (np.nan_to_num(shown.middles(part)) for part in errors.parts)
    axes.barh(rows, split, height=0.62, color=SPLIT, label="split")
    axes.barh(rows, merge, left=split, height=0.62, color=MERGE, label="merge")
    _draw_spread(axes, shown, errors, INK)
    ends = np.concatenate([total + np.nan_to_num(shown.spreads(errors.number)), shown.points(errors.number)[1]])
    highest = float(np.nanmax(ends, initial=0))
    axes.set_xlim(0, highest * 1.03 if highest > 0 else 1.0)
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)


def _draw_dots(axes: Axes, shown: Comparison, score: Quantity) -> None:
    rows, middles = np.arange(len(shown.rows)), shown.middles(score.number)
    axes.hlines(rows, 0, middles, color=GRID, lw=1.2)
    axes.plot(middles, rows, "o", ms=6, color=SCORE)
    _draw_spread(axes, shown, score, SCORE)
    axes.set(xlim=(0, 1.02), xticks=np.linspace(0, 1, 6))


def _draw_spread(axes: Axes, shown: Comparison, quantity: Quantity, colour: str) -> None:
    """Draw a whisker about each mean, and a small dot for each value behind it."""
    middles, spreads = shown.middles(quantity.number), shown.spreads(quantity.number)
    some = np.flatnonzero(np.isfinite(middles) & np.isfinite(spreads))
    if some.size:
        style: dict[str, Any] = {"fmt": "none", "ecolor": INK, "elinewidth": 1.0, "capsize": 2.5, "zorder": 4}
        axes.errorbar(middles[some], some, xerr=spreads[some], **style)
    rows, values = shown.points(quantity.number)
    axes.plot(values, rows, "o", ms=3.2, color=colour, mec="white", mew=0.5, alpha=0.75, zorder=3)


def _write_values(axes: Axes, shown: Comparison, quantity: Quantity, font: float) -> None:
    """Write the numbers into a column beside the panel, the best in bold."""
    best = shown.best(quantity.number, highest=quantity.high_is_good)
    for row, text in enumerate(shown.texts(quantity.number, 2)):
        if text:
            style: dict[str, Any] = {"fontsize": font, "color": INK, "weight": "bold" if row in best else "normal"}
            axes.text(1.03, row, text, va="center_baseline", transform=axes.get_yaxis_transform(), **style)
