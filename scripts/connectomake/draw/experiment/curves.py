"""How training went: losses over steps, validation scores, Dice of classes, learning rate.

The names of the columns are Lightning's and the user's; a column is told by what its name contains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from connectomake.draw.figure import FAINT, INK, LINES, add_axes_in, new_figure, plain_axes, write_text
from connectomake.draw.tables import Table, has_numbers, read_table
from connectomake.errors import DataError

STEP_NAMES = ("step", "global_step", "steps")
RATE_NAMES = ("steps_per_s", "steps_per_second", "steps/s", "it/s")
CLOCK_NAMES = ("elapsed_s", "seconds", "time_s", "wall_s", "time")
SCORE_NAMES = ("val", "segmentation")
THRESHOLD = "segmentation_threshold"  # at which a segmentation was best: no score
SMOOTHED = 40  # the line is smoothed over about a fortieth of its length
WIDTH_IN, MAIN_IN, SMALL_IN, LEFT_IN, TOP_IN, GAP_IN = 7.4, 2.9, 0.85, 0.75, 0.62, 0.28
LEGEND_ROW_IN, FEW_LINES = 0.19, 3  # with more lines than these, the legend gets a place of its own
DICE, DICE_IN, DICE_COLUMNS = "validate_dice", 1.6, 4
STYLES = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (2, 2)),
    (0, (8, 2)),
)  # after all colours are used
ROLES = re.compile(r"(train|validate|validation|val)(ing)?[_/ ]?", re.IGNORECASE)


def draw_curves(metrics: Path, title: str) -> Figure:
    """Draw the training curves of a Lightning CSV log.

    Parameters
    ----------
    metrics
        `metrics.csv`: one row per logged event, most fields empty. Columns with ``loss`` in their names are losses,
        those with ``val`` too are of validation; other ``val`` columns, and those of ``segmentation``, are scores;
        ``lr`` or ``learning_rate`` is the learning rate. Of ``validate_dice/CLASS`` and ``validate_dice``, their mean,
        there is a panel of its own.
    title
        The heading; the speed is added where the log tells it.

    Returns
    -------
    Figure
        Loss (logarithmic where it spans more than a factor of 20), validation scores, Dice of classes and learning rate
        where there are any.

    Raises
    ------
    DataError
        When the table has no step or no loss.
    """
    table = read_table(metrics)
    step = next((table[name] for name in STEP_NAMES if has_numbers(table, name)), None)
    losses, scores, rates = sort_columns(table)
    if step is None or not losses:
        raise DataError(f"{metrics} holds no training curve", expected="columns 'step' and '...loss'", got=list(table))
    classes = [name for name in scores if name.startswith(f"{DICE}/") and np.isfinite(table[name]).any()]
    scores = [name for name in scores if not name.startswith(f"{DICE}/") and not (classes and name == DICE)]
    panels = [names for names in (scores, rates) if names]
    legend_in = (len(classes) // DICE_COLUMNS + 1) * LEGEND_ROW_IN
    dice_in = legend_in + DICE_IN + GAP_IN if classes else 0.0
    figure = new_figure(WIDTH_IN, TOP_IN + MAIN_IN + dice_in + len(panels) * (SMALL_IN + GAP_IN) + 0.5)
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    best = best_step(table, step, losses)
    write_text(figure, 0.12, 0.34, _facts(table, step, best), fontsize=8.5, color=FAINT)
    top, all_axes = TOP_IN, []
    for names, height in [(losses, MAIN_IN), *((panel, SMALL_IN) for panel in panels)]:
        axes = add_axes_in(figure, LEFT_IN, top, WIDTH_IN - LEFT_IN - 0.2, height)
        _draw_lines(axes, table, step, names)
        all_axes.append(axes)
        top += height + GAP_IN
    all_axes[0].set_ylabel("loss", fontsize=9)
    if rates:
        all_axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    if classes:
        all_axes.append(add_axes_in(figure, LEFT_IN, top + legend_in, WIDTH_IN - LEFT_IN - 0.2, DICE_IN))
        _draw_dice(all_axes[-1], table, step, classes)
    if best is not None:
        _mark_best(all_axes, *best)
    _share_steps(all_axes, step)
    return figure


def sort_columns(table: Table) -> tuple[list[str], list[str], list[str]]:
    """Sort columns into losses, validation scores and learning rates by their names.

    Lightning logs one quantity twice, as ``x_step`` and ``x_epoch``; the per-step one is kept.
    """
    numeric = [name for name in table if has_numbers(table, name)]
    numeric = [name for name in numeric if not (name.endswith("_epoch") and name[: -len("epoch")] + "step" in table)]
    losses = [name for name in numeric if "loss" in name.lower()]
    scores = [name for name in numeric if name.lower().startswith(SCORE_NAMES) and name not in (*losses, THRESHOLD)]
    rates = [
        name
        for name in numeric
        if name.lower().startswith("lr") or "learning_rate" in name.lower() or name.endswith("/lr")
    ]
    return sorted(losses, key=_is_validation), scores, rates


def best_step(table: Table, step: np.ndarray, losses: Sequence[str]) -> tuple[float, float] | None:
    """Return the step of the lowest validation loss, and that loss; None without validation."""
    name = next((name for name in losses if _is_validation(name)), None)
    if name is None or not np.isfinite(table[name]).any():
        return None
    place = int(np.nanargmin(table[name]))
    return float(step[place]), float(table[name][place])


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Average a noisy line over `width` neighbours on either side, fewer at its ends."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    index = np.arange(values.size)
    low, high = np.maximum(index - width, 0), np.minimum(index + width + 1, values.size)
    return (sums[high] - sums[low]) / (high - low)


def _is_validation(name: str) -> bool:
    return "val" in name.lower()


def _draw_lines(axes: Axes, table: Table, step: np.ndarray, names: Sequence[str]) -> None:
    """Draw columns: what is one quantity in training and validation has one colour, and is dashed in validation."""
    plain_axes(axes)
    quantities = list(dict.fromkeys(ROLES.sub("", name) for name in names))
    is_loss = "loss" in names[0].lower()
    shown = []
    for name in names:
        there = np.isfinite(table[name]) & np.isfinite(step)
        x, y, colour = step[there], table[name][there], LINES[quantities.index(ROLES.sub("", name)) % len(LINES)]
        dots = "o" if y.size <= 60 else None
        width = y.size // (2 * SMOOTHED)
        if width > 1 and is_loss and not _is_validation(name):
            axes.plot(x, y, color=colour, lw=0.6, alpha=0.25)
            y = smooth(y, width)
        style = (0, (4, 2)) if is_loss and _is_validation(name) else "-"
        axes.plot(x, y, color=colour, lw=1.6, ls=style, marker=dots, ms=3, label=name)
        shown.append(y)
    values = np.concatenate(shown)
    rows = -(-len(names) // 2) if len(names) > FEW_LINES else 0
    if values.size and is_loss:
        _fit_losses(axes, float(values.min()), float(values.max()), rows * LEGEND_ROW_IN / MAIN_IN)
    place: Literal["upper center", "best"] = "upper center" if rows else "best"
    axes.legend(fontsize=8, frameon=False, loc=place, ncols=2 if rows else 1, handlelength=3.2)


def _draw_dice(axes: Axes, table: Table, step: np.ndarray, names: Sequence[str]) -> None:
    """Draw the Dice of each class, and their mean with a ring where it is highest; the legend, above, tells them there.

    A mean leaves out classes that were absent; of a table without a mean, the last validation is told.
    """
    plain_axes(axes)
    there = np.isfinite(np.stack([table[name] for name in (DICE, *names) if name in table])).any(0)
    means = table[DICE][there] if DICE in table else np.full(np.count_nonzero(there), np.nan)
    best = int(np.nanargmax(means)) if np.isfinite(means).any() else -1
    for number, name in enumerate(names):
        values, style = table[name][there], STYLES[number // len(LINES) % len(STYLES)]
        colour, dots = LINES[number % len(LINES)], "o" if values.size <= 60 else None
        told = f"{values[best]:.3f}" if np.isfinite(values[best]) else "absent"
        label = f"{name.removeprefix(f'{DICE}/')} {told}"
        axes.plot(step[there], values, color=colour, lw=1.4, ls=style, marker=dots, ms=2.5, label=label)
    if best >= 0:
        axes.plot(step[there], means, color=INK, lw=2, label=f"mean {means[best]:.3f}")
        axes.plot([step[there][best]], [means[best]], "o", ms=7, mfc="none", mec=INK, mew=1.2)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("Dice", fontsize=9)
    above = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
    axes.legend(**{"fontsize": 8, "frameon": False, "ncols": DICE_COLUMNS, "handlelength": 2.6, **above})


def _fit_losses(axes: Axes, low: float, high: float, room: float) -> None:
    """Scale to the lines that count, so that the noise of single batches does not squeeze them.

    `room` is the share of the height that is left free above them.
    """
    if low > 0 and high > 20 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.6, low / 1.6 * (2.56 * high / low) ** (1 / (1 - room)))
    elif high > low:
        margin = 0.08 * (high - low)
        axes.set_ylim(low - margin, low - margin + 1.16 * (high - low) / (1 - room))


def _mark_best(all_axes: Sequence[Axes], step: float, value: float) -> None:
    for axes in all_axes:
        axes.axvline(step, color=INK, lw=0.8, ls=(0, (3, 3)))
    all_axes[0].plot([step], [value], "o", ms=7, mfc="none", mec=INK, mew=1.2)


def _share_steps(all_axes: Sequence[Axes], step: np.ndarray) -> None:
    for axes in all_axes:
        axes.set_xlim(0, max(1.0, float(np.nanmax(step)) * 1.01))
        axes.tick_params(labelbottom=axes is all_axes[-1])
    all_axes[-1].set_xlabel("step", fontsize=9)


def _facts(table: Table, step: np.ndarray, best: tuple[float, float] | None) -> str:
    """Write how many steps there are, how fast they were where the log tells, and which was best."""
    facts = [f"{np.nanmax(step):,.0f} steps"]
    rate = next((np.nanmedian(table[name]) for name in RATE_NAMES if has_numbers(table, name)), None)
    clock = next((table[name] for name in CLOCK_NAMES if has_numbers(table, name)), None)
    if rate is None and clock is not None:
        both = np.isfinite(clock) & np.isfinite(step)
        passed = np.ptp(clock[both])
        rate = np.ptp(step[both]) / passed if passed > 0 else None
    if rate is not None:
        facts.append(f"{rate:.3g} steps per s")
    if best is not None:
        facts.append(f"lowest validation loss {best[1]:.4g} at step {best[0]:,.0f} (ring)")
    return ", ".join(facts)
