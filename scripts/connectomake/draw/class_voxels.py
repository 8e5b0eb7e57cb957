"""How many voxels of each class there are to learn from and to validate on, in all and by dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from connectomake.draw.figure import FAINT, INK, LINES, add_axes_in, new_figure, plain_axes, write_text
from connectomake.draw.tables import Table
from connectomake.errors import DataError

SPLITS = (("train", "training", LINES[0]), ("validate", "validation", LINES[1]))
"""Name in the table, name in the figure and colour."""
LACKS = "#c0282d"
ANNOTATED = "#ececec"
BARS_IN, SHARE_IN, GAP_IN, TOP_IN, BOTTOM_IN, RIGHT_IN, KEY_IN = 2.9, 0.85, 0.15, 0.85, 0.7, 0.2, 2.5
LETTER_IN = 0.075
FEW_CLASSES, FEW_DATASETS = 15, 8  # up to here they have room
PALEST = 0.18


@dataclass(frozen=True)
class ClassVoxels:
    """The table of voxels as arrays.

    Parameters
    ----------
    classes
        By the number of their voxels, most first.
    datasets
        By name.
    present
        (2, classes, datasets) float64: voxels of a class in training and in validation.
    annotated
        (2, classes, datasets) bool: whether any voxel there is known to be of the class, or not to be.
    """

    classes: list[str]
    datasets: list[str]
    present: np.ndarray
    annotated: np.ndarray

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the most voxels, above 0, that a class has in a dataset's training or validation."""
        some = self.present[self.present > 0]
        return (float(some.min()), float(some.max())) if some.size else (1.0, 1.0)

    @classmethod
    def of_table(cls, table: Table) -> ClassVoxels:
        """Gather the rows of `class_voxels.tsv`.

        Raises
        ------
        DataError
            It has no rows, or lacks a column.
        """
        columns = ("dataset", "split", "class", "present", "absent")
        if any(name not in table for name in columns):
            raise DataError("the table of class voxels cannot be drawn", expected=", ".join(columns), got=list(table))
        classes, row = np.unique(table["class"].astype(str), return_inverse=True)
        datasets, column = np.unique(table["dataset"].astype(str), return_inverse=True)
        place = ((table["split"] == "validate").astype(int), row, column)
        present, known = np.zeros((2, 2, len(classes), len(datasets)))
        np.add.at(present, place, table["present"])
        np.add.at(known, place, table["present"] + table["absent"])
        order = np.argsort(-present.sum((0, 2)), kind="stable")
        return cls([str(classes[k]) for k in order], datasets.tolist(), present[:, order], known[:, order] > 0)


def draw_class_voxels(table: Table, title: str) -> Figure:
    """Draw a row for each class: bars of its voxels in training and validation, and a cell for each dataset.

    Parameters
    ----------
    table
        `class_voxels.tsv` of the split: one row for each crop and class.
    title
        The heading.

    Raises
    ------
    DataError
        The table has no rows, or lacks a column.
    """
    shown = ClassVoxels.of_table(table)
    n_classes, n_datasets = len(shown.classes), len(shown.datasets)
    row_in = 0.28 if n_classes <= FEW_CLASSES else 0.19
    cell_in = 0.5 if n_datasets <= FEW_DATASETS else 0.26
    left = 0.25 + LETTER_IN * max(map(len, shown.classes))
    top = max(TOP_IN, 0.45 + LETTER_IN * max(map(len, shown.datasets)))
    height, cells_left = row_in * n_classes, left + BARS_IN + SHARE_IN + GAP_IN
    width = cells_left + max(cell_in * n_datasets, KEY_IN) + RIGHT_IN
    figure = new_figure(width, top + height + BOTTOM_IN)
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    write_text(figure, 0.12, 0.36, _describe(shown), fontsize=8, color=FAINT)
    _draw_bars(add_axes_in(figure, left, top, BARS_IN, height), shown)
    _draw_cells(add_axes_in(figure, cells_left, top, cell_in * n_datasets, height), shown)
    _draw_key(figure, cells_left, top + height + 0.12, shown)
    return figure


def _describe(shown: ClassVoxels) -> str:
    """Return how many classes lack something."""
    train, validate = shown.present.sum(2) > 0
    lacks = {
        "without validation": train & ~validate,
        "without training": validate & ~train,
        "without a voxel": ~train & ~validate,
    }
    said = [f"{found.sum()} {text}" for text, found in lacks.items() if found.any()]
    return ", ".join([f"{len(shown.classes)} classes", *said])


def _draw_bars(axes: Axes, shown: ClassVoxels) -> None:
    """Draw two bars for each class on a logarithmic axis, and what share of it validates."""
    rows, totals = np.arange(len(shown.classes)), shown.present.sum(2)
    plain_axes(axes)
    for (_, name, colour), voxels, shift in zip(SPLITS, totals, (-0.2, 0.2), strict=True):
        axes.barh(rows + shift, voxels, height=0.38, color=colour, label=name)
    some = totals[totals > 0]
    low, high = (some.min(), some.max()) if some.size else (1, 10)
    axes.set(xlim=(10 ** np.floor(np.log10(low) - 0.5), high * 1.6), xscale="log", ylim=(len(rows) - 0.5, -0.5))
    axes.grid(visible=False, axis="y")
    axes.minorticks_off()
    axes.set_yticks(rows, shown.classes, fontsize=8 if len(rows) <= FEW_CLASSES else 7)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("voxels", fontsize=8.5)
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)
    for row, (train, validate) in enumerate(totals.T):
        text, is_lacking = _tell_share(train, validate)
        style: dict[str, Any] = {"color": LACKS if is_lacking else INK, "weight": "bold" if is_lacking else "normal"}
        axes.text(1.03, row, text, fontsize=7.5, va="center_baseline", transform=axes.get_yaxis_transform(), **style)
        axes.get_yticklabels()[row].set(**style)


def _tell_share(train: float, validate: float) -> tuple[str, bool]:
    """Write what share of a class validates, and tell whether it lacks something.

    >>> _tell_share(85, 15), _tell_share(10, 0), _tell_share(0, 3), _tell_share(0, 0)
    (('15 %', False), ('no validation', True), ('no training', True), ('no voxels', True))
    """
    if train and validate:
        return f"{100 * validate / (train + validate):.2g} %", False
    return "no validation" if train else "no training" if validate else "no voxels", True


def _draw_cells(axes: Axes, shown: ClassVoxels) -> None:
    """Draw a cell for each class and dataset, its left half for training, the other for validation."""
    n_classes, n_datasets = len(shown.classes), len(shown.datasets)
    image = np.ones((n_classes, n_datasets, 2, 3))
    for half, (_, _, colour) in enumerate(SPLITS):
        image[:, :, half] = np.where(shown.annotated[half][..., None], to_rgb(ANNOTATED), 1.0)
        there = shown.present[half] > 0
        image[there, half] = _shade(colour, shown.present[half][there], shown.ends)
    extent = (-0.5, n_datasets - 0.5, n_classes - 0.5, -0.5)
    axes.imshow(image.reshape(n_classes, -1, 3), extent=extent, aspect="auto", interpolation="nearest")
    axes.vlines(np.arange(n_datasets + 1) - 0.5, -0.5, n_classes - 0.5, color="white", lw=2.5)
    axes.hlines(np.arange(n_classes + 1) - 0.5, -0.5, n_datasets - 0.5, color="white", lw=1)
    axes.spines[:].set_visible(False)
    axes.set(xlim=extent[:2], ylim=extent[2:], yticks=[])
    axes.set_xticks(range(n_datasets), shown.datasets, fontsize=7.5, rotation=90, color=INK)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)


def _shade(colour: str, voxels: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Make a colour paler the fewer voxels there are: (n,) voxels give (n, 3), by their logarithm."""
    low, high = np.log(ends)
    strength = PALEST + (1 - PALEST) * (np.log(voxels) - low) / max(high - low, 1e-9)
    return 1 - strength[:, None] * (1 - np.array(to_rgb(colour)))


def _draw_key(figure: Figure, left: float, top: float, shown: ClassVoxels) -> None:
    """Describe what the colours of the cells mean."""
    for k, (_, _, colour) in enumerate(SPLITS):
        axes = add_axes_in(figure, left, top + 0.14 * k, 0.6, 0.12)
        axes.imshow(_shade(colour, np.geomspace(*shown.ends, 40), shown.ends)[None], aspect="auto")
        axes.set_axis_off()
    low, high = shown.ends
    said = (f"{low:,.0f} to {high:,.0f} voxels", "grey: annotated, none there", "white: not annotated")
    for k, text in enumerate(said):
        write_text(figure, left + 0.66, top - 0.01 + 0.14 * k, text, fontsize=7, color=FAINT)
