"""What each augmentation makes of a patch: before and after, in two planes, labels laid over.

Shown are the planes in which it changes most. Grey values have one scale throughout, so that black is black; labels
that became unknown, of which nothing is learnt, are striped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure

from connectomake.config.settings.data import UNKNOWN
from connectomake.draw.colours import overlay
from connectomake.draw.figure import FAINT, add_axes_in, add_scale_bar, fit_picture, new_figure, show_image, write_text
from connectomake.geometry import TripleNm

COLUMN_IN, GAP_IN, LEFT_IN, TOP_IN, ROW_GAP_IN = 2.05, 0.07, 1.75, 0.78, 0.22
TALLEST = 1.0  # of a picture's width; a taller plane is drawn narrower
NARROWEST_TEXT_IN = 1.35
LABELLED, STRIPED = 0.3, 0.55  # opacity
STRIPES = 32  # across a picture, white ones and those between
EVEN = 1.5  # a change no larger than this many times that of the middle plane is the same everywhere
HEADINGS = ("before", "after", "before", "after")
NOTE = "each alone; colours: labels; stripes: unknown, nothing is learnt there"


class Example(Protocol):
    """A patch (Z, Y, X) before and after one augmentation: grey values, and labels with -1 = unknown."""

    @property
    def name(self) -> str:
        """The augmentation."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings, `probability` among them."""

    @property
    def raw(self) -> np.ndarray:
        """Grey values before."""

    @property
    def labels(self) -> np.ndarray:
        """Labels before."""

    @property
    def changed_raw(self) -> np.ndarray:
        """Grey values after."""

    @property
    def changed_labels(self) -> np.ndarray:
        """Labels after."""

    @property
    def voxel_size_zyx_nm(self) -> TripleNm:
        """Size of a voxel in nm."""


def draw_augmentations(examples: Sequence[Example], title: str) -> Figure:
    """Draw a row for each augmentation: an xy and an xz plane, each before and after.

    Parameters
    ----------
    examples
        All of one patch; at least one.
    title
        The figure's heading.
    """
    shape, voxel_nm = examples[0].raw.shape, examples[0].voxel_size_zyx_nm
    sizes_nm = [tuple(shape[a] * voxel_nm[a] for a in axes) for axes in ((1, 2), (0, 2))]
    sizes_in = [fit_picture(size, COLUMN_IN, TALLEST) for size in sizes_nm]
    lefts = [LEFT_IN + k * COLUMN_IN + (k + k // 2) * GAP_IN for k in range(4)]
    height = max(NARROWEST_TEXT_IN, *(size[0] for size in sizes_in)) + ROW_GAP_IN
    figure = new_figure(lefts[-1] + COLUMN_IN + GAP_IN, TOP_IN + height * len(examples))
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    write_text(figure, 0.12, 0.31, NOTE, fontsize=8, color=FAINT)
    for k, (left, heading) in enumerate(zip(lefts, HEADINGS, strict=True)):
        write_text(figure, left, 0.50, f"{('xy', 'xz')[k // 2]} {heading}", fontsize=9.5)
    limits = np.percentile(examples[0].raw, (0.5, 99.5))
    for row, example in enumerate(examples):
        top = TOP_IN + row * height
        _write_settings(figure, top, example)
        for k, (left, (image, at)) in enumerate(zip(lefts, paint(example, limits), strict=True)):
            size_nm, (tall, wide) = sizes_nm[k // 2], sizes_in[k // 2]
            axes = add_axes_in(figure, left, top, wide, tall)
            show_image(axes, image, size_nm)
            if k == 0 and row == 0:
                add_scale_bar(axes)
            if k % 2 == 0:
                write_text(figure, left, top + tall + 0.02, at, fontsize=7, color=FAINT)
    return figure


def paint(example: Example, limits: Sequence[float]) -> list[tuple[np.ndarray, str]]:
    """Return four pictures (H, W, 3) uint8 of an example, and which plane each shows.

    Parameters
    ----------
    example
        What to show.
    limits
        The grey values that become black and white.
    """
    pictures = []
    for axis in (0, 1):
        index, size = most_changed(example, axis), example.voxel_size_zyx_nm
        for raw, labels in ((example.raw, example.labels), (example.changed_raw, example.changed_labels)):
            gray, ids = (np.take(array, index, axis) for array in (raw, labels))
            pictures.append((_lay_over(gray, ids, limits, size[1 - axis] / size[2]), f"{'zyx'[axis]} {index}"))
    return pictures


def most_changed(example: Example, axis: int) -> int:
    """Find the plane across an axis that differs most between before and after; the middle one where all do alike."""
    across = tuple(a for a in range(3) if a != axis)
    # A plane that is all stripes shows little.
    known = (example.changed_labels != UNKNOWN) | (example.labels == UNKNOWN)
    differs = abs(example.changed_raw - example.raw) / (float(example.raw.std()) or 1.0)
    change = ((differs + (example.changed_labels != example.labels)) * known).mean(across)
    middle = change.size // 2
    return middle if change.max() <= EVEN * change[middle] else int(np.argmax(change))


def _lay_over(gray: np.ndarray, labels: np.ndarray, limits: Sequence[float], ratio: float) -> np.ndarray:
    """Lay labels over a plane (H, W) of grey values, striped where unknown; pixels are so tall to wide."""
    low, high = limits
    shown = np.clip((gray - low) * (255 / max(high - low, 1e-9)), 0, 255).astype(np.uint8)
    image = overlay(shown, labels, LABELLED)
    rows, columns = np.indices(labels.shape)
    striped = (labels == UNKNOWN) & ((rows * ratio + columns) * STRIPES // labels.shape[1] % 2 == 0)
    image[striped] = ((1 - STRIPED) * image[striped] + STRIPED * 255).astype(np.uint8)
    return image


def _write_settings(figure: Figure, top: float, example: Example) -> None:
    """Write an augmentation's name, its probability, and its other settings below."""
    settings = dict(example.settings)
    write_text(figure, 0.12, top, example.name.replace("_", " "), fontsize=10, weight="bold")
    write_text(figure, 0.12, top + 0.19, f"probability {settings.pop('probability'):g}", fontsize=8.5)
    if settings.get("count") is not None:
        settings.pop("share", None)
    lines = [f"{key} {_format(value)}" for key, value in settings.items() if value is not None]
    write_text(figure, 0.12, top + 0.38, "\n".join(lines), fontsize=7.5, color=FAINT, linespacing=1.25)


def _format(value: Any) -> str:
    """Write a setting's value in few letters."""
    if not isinstance(value, tuple | list):
        return f"{value:g}" if isinstance(value, float) else str(value)
    few = [_format(item) for item in value]
    if len(few) == 2:
        return few[0] if few[0] == few[1] else " to ".join(few)
    return ", ".join(few) if len(few) <= 3 else f"{few[0]}, {few[1]} ... {few[-1]}"
