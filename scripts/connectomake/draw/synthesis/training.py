"""The courses of a generator's three trainings: losses, and a small panel for each score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from connectomake.draw.experiment.curves import smooth
from connectomake.draw.figure import FAINT, LINES, add_axes_in, new_figure, plain_axes, write_text
from connectomake.draw.tables import Table, has_numbers, read_table
from connectomake.errors import DataError

LOSSES = ("loss", "l1", "perceptual", "commitment", "features")
"""Drawn together, on one logarithmic axis; what else was recorded, or falls below 0, has a panel of its own."""
UNITS = {"psnr_db": "PSNR (dB)", "ssim": "SSIM", "used_codes": "share of codes used"}
LEFT_IN, TOP_IN, WIDE_IN, SMALL_IN, GAP_IN = 0.62, 0.72, 3.3, 1.35, 0.52
HEIGHT_IN, HEAD_IN, FOOT_IN = 2.5, 0.36, 0.52
ROWS, PANELS = 2, 4  # of small panels: below each other, side by side
NOTE = "solid: steps of the training; dashed, with dots: held-out volumes"
LEAST_SPAN = 0.05  # of an axis, as a share of its values: less would make much of little
SMOOTHED = 80  # a line is averaged over about so much of its length


def draw_trainings(trainings: Mapping[str, Path], title: str = "trainings of the generator") -> Figure:
    """Draw the courses of trainings, one below the other.

    Parameters
    ----------
    trainings
        Name of each, and its metrics.csv: ``train_X`` are means of steps, drawn solid, ``validate_X`` are of held-out
        examples, drawn dashed with dots.
    title
        The heading.

    Raises
    ------
    DataError
        A table has no steps, or no loss.
    """
    width = LEFT_IN + WIDE_IN + PANELS * (SMALL_IN + GAP_IN) + 0.15
    height = HEAD_IN + HEIGHT_IN + FOOT_IN
    figure = new_figure(width, TOP_IN + len(trainings) * height)
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    write_text(figure, 0.12, 0.34, NOTE, fontsize=8.5, color=FAINT)
    for place, (name, path) in enumerate(trainings.items()):
        top, table = TOP_IN + place * height, read_table(path)
        found = _sort(table)
        if not has_numbers(table, "step") or "loss" not in found:
            raise DataError(
                f"{path} holds no training curve", expected="columns 'step' and 'train_loss'", got=list(table)
            )
        write_text(figure, 0.12, top, name, fontsize=10, weight="bold")
        write_text(figure, LEFT_IN + 0.5, top + 0.02, _tell(table), fontsize=8, color=FAINT)
        losses = {key: own for key, own in found.items() if key in LOSSES and _is_positive(table, own)}
        _draw_losses(add_axes_in(figure, LEFT_IN, top + HEAD_IN, WIDE_IN, HEIGHT_IN), table, losses)
        _draw_others(figure, top + HEAD_IN, table, {key: own for key, own in found.items() if key not in losses})
    return figure


def _sort(table: Table) -> dict[str, list[str]]:
    """Return the columns of each quantity, that of the training first."""
    found: dict[str, list[str]] = {}
    for role in ("train_", "validate_"):
        for name in table:
            if name.startswith(role) and has_numbers(table, name):
                found.setdefault(name.removeprefix(role), []).append(name)
    return found


def _is_positive(table: Table, names: Sequence[str]) -> bool:
    """Return whether a logarithmic axis can show columns; zeros, of terms that have not begun, are left out there."""
    return min(float(np.nanmin(table[name])) for name in names) >= 0


def _draw_losses(axes: Axes, table: Table, found: Mapping[str, Sequence[str]]) -> None:
    plain_axes(axes)
    for colour, quantity in zip(LINES, LOSSES, strict=False):
        for name in found.get(quantity, ()):
            label = quantity if name.startswith("train_") else f"{quantity}, held out"
            _draw_line(axes, table, name, colour, label)
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("step", fontsize=9)
    axes.legend(fontsize=7.5, frameon=False, ncols=2, loc="upper right", handlelength=2.6)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.set_xlim(0, _last_step(table))


def _draw_others(figure: Figure, top: float, table: Table, found: Mapping[str, Sequence[str]]) -> None:
    """Draw a small panel for each quantity that is no loss."""
    height = (HEIGHT_IN - GAP_IN) / ROWS
    for place, (quantity, names) in enumerate(list(found.items())[: ROWS * PANELS]):
        row, column = divmod(place, PANELS)
        left = LEFT_IN + WIDE_IN + GAP_IN + column * (SMALL_IN + GAP_IN)
        axes = add_axes_in(figure, left, top + row * (height + GAP_IN), SMALL_IN, height)
        plain_axes(axes)
        for name in names:
            _draw_line(axes, table, name, LINES[0 if name.startswith("train_") else 1], name)
        axes.set_title(UNITS.get(quantity, quantity.replace("_", " ")), fontsize=8.5, loc="left", pad=3)
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=4)
        axes.ticklabel_format(useOffset=False)
        axes.set_xlim(0, _last_step(table))
        low, high = axes.get_ylim()
        spare = max(0.0, LEAST_SPAN * max(abs(low), abs(high)) - (high - low)) / 2
        axes.set_ylim(low - spare, high + spare)


def _draw_line(axes: Axes, table: Table, name: str, colour: str, label: str) -> None:
    there = np.isfinite(table[name]) & np.isfinite(table["step"])
    x, y = table["step"][there], table[name][there]
    if name.startswith("validate_"):
        axes.plot(x, y, color=colour, lw=1.4, ls=(0, (4, 2)), marker="o", ms=2.5, label=label)
        return
    width = y.size // (2 * SMOOTHED)
    axes.plot(x, smooth(y, width) if width else y, color=colour, lw=1.4, label=label)


def _last_step(table: Table) -> float:
    return max(1.0, 1.02 * float(np.nanmax(table["step"])))


def _tell(table: Table) -> str:
    """Write how many steps there were, and how long they took where the log tells."""
    facts = [f"{np.nanmax(table['step']):,.0f} steps"]
    if has_numbers(table, "seconds"):
        facts.append(f"{np.nanmax(table['seconds']) / 60:,.1f} min")
    return ", ".join(facts)
