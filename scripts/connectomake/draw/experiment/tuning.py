"""What tuning tried: scores and errors over the thresholds, or over the trials of a search, and what was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
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
from connectomake.errors import DataError

WIDTH_IN, PANEL_IN, LEFT_IN, TOP_IN, GAP_IN, BOTTOM_IN = 6.4, 1.7, 0.75, 0.75, 0.3, 0.4

_Line = tuple[str, str, str]
_ERL = (("nerl", "NERL", SCORE),)
_VOI = (("voi_split", "split", SPLIT), ("voi_merge", "merge", MERGE), ("voi_sum", "sum", INK))
_COUNTS = (("n_splits", "splits", SPLIT), ("n_mergers", "mergers", MERGE))
_VOXELS = (
    ("voxel_voi_split", "split", SPLIT),
    ("voxel_voi_merge", "merge", MERGE),
    ("voxel_voi_sum", "sum", INK),
)
_RAND = (("adapted_rand_error", "Rand error", SCORE),)
PANELS: tuple[tuple[str, tuple[_Line, ...]], ...] = (
    ("NERL", _ERL),
    ("VOI over nodes, bits", _VOI),
    ("number", _COUNTS),
    ("VOI over voxels, bits", _VOXELS),
    ("adapted Rand error", _RAND),
)
"""Label of the y axis, and the columns drawn, with their names and colours."""


def draw_tuning(table: Mapping[str, Sequence[Any]], chosen: int, criterion: str, title: str) -> Figure:
    """Draw every metric over what was tried: over all volumes, and faintly for each where there are several.

    Parameters
    ----------
    table
        Columns `threshold` or `trial` (the first), `volume` (`all` = over all volumes) and metrics.
    chosen
        The row of the chosen settings, over all volumes; marked by a dashed line.
    criterion
        The column it was chosen by; marked where it is drawn.
    title
        The heading.

    Raises
    ------
    DataError
        When the table holds no metric that is drawn.
    """
    x_name, rows = next(iter(table)), np.array(table["volume"])
    x = np.array(table[x_name], float)
    columns = {name: np.array([np.nan if v is None else v for v in table[name]], float) for name in _numeric(table)}
    panels = [panel for panel in _with_criterion(criterion) if any(name in columns for name, _, _ in panel[1])]
    if not panels:
        raise DataError("the table of tuning has nothing to draw", got=list(table))
    figure = new_figure(WIDTH_IN, TOP_IN + len(panels) * (PANEL_IN + GAP_IN) + BOTTOM_IN)
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    fact = f"{x_name} {x[chosen]:.4g} has the best {criterion}, {columns[criterion][chosen]:.4g} (dashed)"
    write_text(figure, 0.12, 0.36, fact, fontsize=8.5, color=FAINT)
    all_axes = []
    for k, (label, lines) in enumerate(panels):
        axes = add_axes_in(figure, LEFT_IN, TOP_IN + k * (PANEL_IN + GAP_IN), WIDTH_IN - LEFT_IN - 0.2, PANEL_IN)
        _draw_panel(axes, label, [line for line in lines if line[0] in columns], x, rows, columns)
        axes.axvline(x[chosen], color=INK, lw=0.8, ls=(0, (3, 3)))
        if criterion in {name for name, _, _ in lines}:
            axes.plot([x[chosen]], [columns[criterion][chosen]], "o", ms=8, mfc="none", mec=INK, mew=1.2)
        axes.tick_params(labelbottom=k == len(panels) - 1)
        all_axes.append(axes)
    for axes in all_axes:
        axes.set_xlim(_margins(x))
    all_axes[-1].set_xlabel(x_name, fontsize=9)
    figure.align_ylabels(all_axes)
    return figure


def _with_criterion(criterion: str) -> list[tuple[str, tuple[_Line, ...]]]:
    """Return the panels, with the criterion in the first where it is a NERL that is not drawn otherwise."""
    panels = list(PANELS)
    if criterion.startswith("nerl_"):
        panels[0] = ("NERL", ((criterion, criterion, SCORE), ("nerl", "nerl", FAINT)))
    return panels


def _numeric(table: Mapping[str, Sequence[Any]]) -> list[str]:
    return [name for name, values in table.items() if not any(isinstance(value, str | bool) for value in values)]


def _draw_panel(
    axes: Axes, label: str, lines: Sequence[_Line], x: np.ndarray, rows: np.ndarray, columns: Mapping[str, np.ndarray]
) -> None:
    plain_axes(axes)
    volumes = [volume for volume in dict.fromkeys(rows.tolist()) if volume != "all"]
    for name, shown, colour in lines:
        if len(volumes) > 1:
            for volume in volumes:
                here = rows == volume
                axes.plot(x[here], columns[name][here], color=colour, lw=0.7, alpha=0.35)
        here = rows == "all"
        axes.plot(x[here], columns[name][here], "o-", ms=3.5, lw=1.6, color=colour, label=shown)
    axes.set_ylabel(label, fontsize=8.5)
    axes.set_ylim(bottom=0)
    if len(lines) > 1:
        axes.legend(fontsize=7.5, frameon=False, ncols=len(lines), loc="lower right", bbox_to_anchor=(1.0, 0.98))


def _margins(x: np.ndarray) -> tuple[float, float]:
    low, high = float(x.min()), float(x.max())
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin
