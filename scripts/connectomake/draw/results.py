"""What an experiment found: errors and scores of every variant on every volume, and curves over what was swept."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from connectomake.draw.figure import (
    GRID,
    INK,
    LINES,
    MERGE,
    SCORE,
    SPLIT,
    add_axes_in,
    new_figure,
    plain_axes,
    write_text,
)
from connectomake.draw.tables import (
    Table,
    best_rows,
    has_numbers,
    settings_in,
    shorten_ids,
    swept_key,
    without_setting,
)
from connectomake.errors import DataError

ROW_IN, BARS_IN, DOTS_IN, GAP_IN, TOP_IN, CURVE_IN = 0.27, 3.3, 2.2, 0.35, 0.80, 2.3
LETTER_IN = 0.072  # of the row names' font


@dataclass(frozen=True)
class Errors:
    """VOI of every row, in bits, over skeleton nodes or over voxels."""

    split: np.ndarray
    merge: np.ndarray
    counted: str


@dataclass(frozen=True)
class Score:
    """The leading number of every row, 0 to 1."""

    values: np.ndarray
    name: str
    high_is_good: bool


def draw_results(table: Table, title: str) -> Figure:
    """Draw VOI as stacked bars and NERL as dots, one row per variant and volume, and curves over a swept number below.

    Parameters
    ----------
    table
        Columns `variant`, `volume` and numbers named as the measure stage names them (`read_table` of an experiment's
        metrics.tsv). Numbers over skeleton nodes are preferred to those over voxels.
    title
        The heading.

    Raises
    ------
    DataError
        When nothing in the table can be drawn.
    """
    errors, score = choose_errors(table), choose_score(table)
    if errors is None and score is None:
        raise DataError("the table of metrics has nothing to draw", expected="VOI, NERL or Rand error", got=list(table))
    names, key = name_rows(table), swept_key(table["variant"])
    left = 0.25 + LETTER_IN * max(len(name) for name in names)
    height = ROW_IN * len(names)
    widths = ([BARS_IN] if errors else []) + ([DOTS_IN] if score else [])
    width = max(left + sum(widths) + GAP_IN * len(widths) + 0.2, 5.5)
    figure = new_figure(width, TOP_IN + height + 0.55 + (CURVE_IN + 0.75 if key else 0))
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    panels = [add_axes_in(figure, left + k * (widths[0] + GAP_IN), TOP_IN, w, height) for k, w in enumerate(widths)]
    if errors:
        _draw_bars(panels[0], errors, table["volume"])
    if score:
        _draw_dots(panels[-1], score, table["volume"])
    for k, axes in enumerate(panels):
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
        axes.set_yticklabels(names if k == 0 else [], fontsize=8)
        axes.tick_params(axis="y", length=0)
    if key:
        _draw_sweep(figure, table, key, errors, score)
    return figure


def choose_errors(table: Table) -> Errors | None:
    """Take VOI over skeleton nodes, else over voxels, else nothing."""
    for prefix, counted in (("", "skeleton nodes"), ("voxel_", "voxels")):
        names = f"{prefix}voi_split", f"{prefix}voi_merge"
        if has_numbers(table, *names):
            return Errors(table[names[0]], table[names[1]], counted)
    return None


def choose_score(table: Table) -> Score | None:
    """Take NERL, else the adapted Rand error, else nothing."""
    if has_numbers(table, "nerl"):
        return Score(table["nerl"], "NERL (1 is perfect)", True)
    if has_numbers(table, "adapted_rand_error"):
        return Score(table["adapted_rand_error"], "adapted Rand error (0 is perfect)", False)
    return None


def name_rows(table: Table) -> list[str]:
    """Name each row by what tells it from the others: the parts of the variants' ids that vary, and the volume."""
    short = shorten_ids([str(v) for v in table["variant"]])
    volumes = [str(v) for v in table["volume"]]
    if len(set(short)) == 1:
        return volumes
    if len(set(volumes)) == 1:
        return short
    return [f"{name}   {volume}" for name, volume in zip(short, volumes, strict=True)]


def _draw_bars(axes: Axes, errors: Errors, volumes: np.ndarray) -> None:
    rows = np.arange(volumes.size)
    split, merge = np.nan_to_num(errors.split), np.nan_to_num(errors.merge)
    axes.barh(rows, split, height=0.62, color=SPLIT, label="split")
    axes.barh(rows, merge, left=split, height=0.62, color=MERGE, label="merge")
    total = errors.split + errors.merge
    best = best_rows(total, volumes, highest=False)
    for row, value in enumerate(total.tolist()):
        if isfinite(value):
            weight = "bold" if row in best else "normal"
            axes.text(value, row, f" {value:.2f}", va="center", fontsize=8, color=INK, weight=weight)
    _finish_rows(axes, f"VOI over {errors.counted}, bits (0 is perfect)")
    highest = float(np.nanmax(total, initial=0))
    axes.set_xlim(0, highest * 1.15 if highest > 0 else 1.0)
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)


def _draw_dots(axes: Axes, score: Score, volumes: np.ndarray) -> None:
    rows = np.arange(volumes.size)
    axes.hlines(rows, 0, score.values, color=GRID, lw=1.2)
    axes.plot(score.values, rows, "o", ms=6, color=SCORE)
    best = best_rows(score.values, volumes, highest=score.high_is_good)
    ground = {"fc": "white", "ec": "none", "pad": 0.5}
    for row, value in enumerate(score.values.tolist()):
        if isfinite(value):
            side, away = ("right", -7) if value > 0.75 else ("left", 7)
            style: dict[str, Any] = {"fontsize": 8, "color": INK, "weight": "bold" if row in best else "normal"}
            style |= {"va": "center", "ha": side, "textcoords": "offset points", "bbox": ground}
            axes.annotate(f"{value:.2f}", (value, row), (away, 0), **style)
    _finish_rows(axes, score.name)
    axes.set_xlim(0, 1.02)


def _finish_rows(axes: Axes, name: str) -> None:
    plain_axes(axes)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(name, fontsize=8.5)


def _draw_sweep(figure: Figure, table: Table, key: str, errors: Errors | None, score: Score | None) -> None:
    """Draw VOI and score over the swept number, one line for each volume and each choice of the other settings."""
    x = np.array([settings_in(str(v)).get(key, np.nan) for v in table["variant"]])
    rest = shorten_ids([without_setting(str(v), key) for v in table["variant"]])
    owners = np.array(["   ".join(parts) for parts in zip(rest, map(str, table["volume"]), strict=True)])
    names = dict(zip(owners, name_rows({"variant": np.array(rest), "volume": table["volume"]}), strict=True))
    panels = ([("VOI, bits", errors.split + errors.merge)] if errors else []) + (
        [(score.name, score.values)] if score else []
    )
    width = (figure.get_figwidth() - 0.15) / len(panels) - 0.75
    top = figure.get_figheight() - CURVE_IN - 0.55
    for k, (quantity, values) in enumerate(panels):
        axes = add_axes_in(figure, 0.65 + k * (width + 0.75), top, width, CURVE_IN)
        lines = {names[owner]: (values, owners == owner) for owner in np.unique(owners)}
        if len(lines) == 1 and errors and k == 0:
            everywhere = np.ones(x.size, bool)
            lines = {
                "split": (errors.split, everywhere),
                "merge": (errors.merge, everywhere),
                "sum": (values, everywhere),
            }
        colours = {"split": SPLIT, "merge": MERGE, "sum": INK}
        for n, (name, (numbers, chosen)) in enumerate(lines.items()):
            order = [i for i in np.argsort(x, kind="stable") if chosen[i] and np.isfinite(x[i])]
            colour = colours.get(name, LINES[n % len(LINES)])
            axes.plot(x[order], numbers[order], "o-", ms=4, lw=1.5, color=colour, label=name)
        plain_axes(axes)
        axes.set_xlabel(key, fontsize=9)
        axes.set_ylabel(quantity, fontsize=8.5)
        if len(lines) > 1:
            axes.legend(fontsize=7.5, frameon=False)
