"""Curves over a swept number: one for each choice of the other settings, with a band for its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from connectomake.draw.experiment.comparison import Comparison
from connectomake.draw.figure import FAINT, INK, LINES, MERGE, SPLIT, add_axes_in, plain_axes

CURVE_IN, BELOW_IN, LEFT_IN, LEGEND_IN, LETTER_IN = 2.3, 0.75, 0.65, 0.2, 0.065
WIDE_RANGE = 50  # of the swept number: from here on its axis is logarithmic
OTHERS = "others"


@dataclass(frozen=True)
class Quantity:
    """A number that is drawn: how it is called, its column, the most it can be, which end is good, and its two parts.

    The parts of VOI are splits and mergers.
    """

    label: str
    number: str
    most: float = inf
    high_is_good: bool = False
    parts: tuple[str, ...] = ()

    def costs(self, comparison: Comparison) -> np.ndarray:
        """Return what sorts rows from the best to the worst, by validation volumes; NaN where there is no number."""
        return comparison.costs(self.number, highest=self.high_is_good)


@dataclass(frozen=True)
class Curve:
    """A line through rows, in the order of the swept number; the colour of `OTHERS` is for lines that have no name."""

    name: str
    colour: str
    rows: np.ndarray


def leading_of(quantities: Sequence[Quantity]) -> Quantity:
    """Return the quantity that decides what is best where not all can be shown: the first score, else VOI."""
    return next((quantity for quantity in quantities if not quantity.parts), quantities[0])


def sweep_height_in(comparison: Comparison, quantities: Sequence[Quantity], width_in: float) -> float:
    """Return the height of the curves and their legend, in inches; 0 where nothing was swept."""
    if not comparison.swept:
        return 0.0
    names = [curve.name for curve in _named(_curves(comparison, quantities))] or ["split", "merge", "sum"]
    return LEGEND_IN * ceil(len(names) / _columns(names, width_in)) + 0.1 + CURVE_IN + BELOW_IN


def draw_sweep(figure: Figure, comparison: Comparison, quantities: Sequence[Quantity], top_in: float) -> None:
    """Draw numbers over the swept key, side by side.

    Parameters
    ----------
    figure
        Has `sweep_height_in` below `top_in` (inches from its upper edge).
    comparison
        Rows with a swept number.
    quantities
        What is drawn, a panel for each; with its parts where there is a single curve.
    """
    curves, width_in = _curves(comparison, quantities), float(figure.get_figwidth())
    alone = [Curve(name, colour, curves[0].rows) for name, colour in (("split", SPLIT), ("merge", MERGE), ("sum", INK))]
    top_of_axes_in = top_in + sweep_height_in(comparison, quantities, width_in) - BELOW_IN - CURVE_IN
    panel_in = width_in / len(quantities)
    for k, quantity in enumerate(quantities):
        axes = add_axes_in(figure, LEFT_IN + k * panel_in, top_of_axes_in, panel_in - LEFT_IN - 0.15, CURVE_IN)
        with_parts = len(curves) == 1 and bool(quantity.parts)
        numbers = (*quantity.parts, quantity.number) if with_parts else (quantity.number,) * len(curves)
        for curve, number in zip(alone if with_parts else curves, numbers, strict=True):
            _draw_curve(axes, comparison, curve, number, quantity.most)
        _finish(axes, comparison, quantity)
    named = _named(curves) if len(curves) > 1 else [curve for curve in alone if any(q.parts for q in quantities)]
    if named:
        _write_legend(figure, named, top_in)


def _curves(comparison: Comparison, quantities: Sequence[Quantity]) -> list[Curve]:
    """Return a curve for each choice of the other settings, in one colour in all panels; others come first, below.

    Of more curves than there are colours, those have one that reach the best values.
    """
    costs = leading_of(quantities).costs(comparison)
    x = np.array([row.x for row in comparison.rows])
    rows_of: dict[str, list[int]] = {}
    for k in np.argsort(x, kind="stable").tolist():
        if np.isfinite(x[k]):
            rows_of.setdefault(comparison.rows[k].owner, []).append(k)
    lowest = {name: np.min(costs[rows], initial=inf, where=np.isfinite(costs[rows])) for name, rows in rows_of.items()}
    best = set(sorted(rows_of, key=lowest.__getitem__)[: len(LINES)])
    named = [name for name in dict.fromkeys(row.owner for row in comparison.rows) if name in best]
    others = [Curve(OTHERS, FAINT, np.array(rows)) for name, rows in rows_of.items() if name not in best]
    return others + [Curve(name, LINES[k], np.array(rows_of[name])) for k, name in enumerate(named)]


def _named(curves: Sequence[Curve]) -> list[Curve]:
    """Return one curve for each name, `OTHERS` last."""
    found = {curve.name: curve for curve in curves}
    return sorted(found.values(), key=lambda curve: curve.name == OTHERS) if len(curves) > 1 else []


def _draw_curve(axes: Axes, comparison: Comparison, curve: Curve, number: str, most: float) -> None:
    all_x = np.array([row.x for row in comparison.rows])
    x, y, spread = all_x[curve.rows], comparison.middles(number)[curve.rows], comparison.spreads(number)[curve.rows]
    if curve.name == OTHERS:
        axes.plot(x, y, lw=0.7, color=curve.colour, alpha=0.5, zorder=1.5)
        return
    axes.plot(x, y, "o-", ms=4, lw=1.5, color=curve.colour, label=curve.name)
    if np.isfinite(spread).any():  # cut where the number cannot be
        low, high = np.maximum(y - spread, 0), np.minimum(y + spread, most)
        axes.fill_between(x, low, high, color=curve.colour, alpha=0.15, lw=0)
    rows, values = comparison.points(number)
    mine = np.isin(rows, curve.rows)
    axes.plot(all_x[rows[mine].astype(int)], values[mine], "o", ms=2.5, color=curve.colour, alpha=0.5, mew=0)


def _finish(axes: Axes, comparison: Comparison, quantity: Quantity) -> None:
    plain_axes(axes)
    x = np.array([row.x for row in comparison.rows])
    x = x[np.isfinite(x)]
    if x.min() > 0 and x.max() >= WIDE_RANGE * x.min():
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(str(comparison.swept), fontsize=9)
    axes.set_ylabel(quantity.label, fontsize=8.5)


def _write_legend(figure: Figure, curves: Sequence[Curve], top_in: float) -> None:
    width_in, height_in = figure.get_size_inches()
    names = [curve.name for curve in curves]
    handles = [Line2D([], [], color=curve.colour, lw=0.8 if curve.name == OTHERS else 1.6) for curve in curves]
    style: dict[str, Any] = {"fontsize": 7.5, "frameon": False, "borderaxespad": 0, "columnspacing": 1.2}
    style |= {"handlelength": 1.5, "ncols": _columns(names, width_in), "loc": "upper left"}
    figure.legend(handles, names, bbox_to_anchor=(LEFT_IN / width_in, 1 - top_in / height_in), **style)


def _columns(names: Sequence[str], width_in: float) -> int:
    """Return how many names fit beside one another."""
    return max(1, min(len(names), int((width_in - LEFT_IN) / (0.5 + LETTER_IN * max(map(len, names))))))
