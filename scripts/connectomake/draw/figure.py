"""What all figures share: their look, how they are saved, and the scale bar.

Figures are made as objects, never through pyplot, so that drawing leaves nothing behind in the process.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import floor, log10, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

DOTS_PER_INCH = 150
MOST_BYTES = 1_000_000
INK = "#222222"
FAINT = "#8a8a8a"
GRID = "#e4e4e4"
SPLIT, MERGE, SCORE = "#3b7dd8", "#e0803a", "#2f9e6e"
"""Colours that mean the same in every figure: split errors, merge errors, a score that should be high."""
LINES = ("#3b7dd8", "#e0803a", "#2f9e6e", "#b3479a", "#8b6b3d", "#5a6b7a", "#c2a21a", "#25a2b8")


def new_figure(width_in: float, height_in: float) -> Figure:
    """Make an empty white figure of this size, in inches."""
    figure = Figure(figsize=(width_in, height_in), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def add_axes_in(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place given in inches from the figure's upper left corner."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top - height
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


def fit_picture(size_nm: Sequence[float], column_in: float, tallest: float) -> tuple[float, float]:
    """Return height and width in inches of a picture: as wide as its column, unless it would be too tall.

    Parameters
    ----------
    size_nm
        What it shows, down and across.
    column_in
        Width of the column.
    tallest
        Height of the tallest picture, as a share of the column's width.
    """
    ratio = size_nm[0] / size_nm[1]
    width = column_in * min(1.0, tallest / ratio)
    return width * ratio, width


def write_text(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """Write text whose upper left corner is given in inches from the figure's upper left corner."""
    width, height = figure.get_size_inches()
    style = {"ha": "left", "va": "top", "color": INK, **style}
    figure.text(left / width, 1 - top / height, text, **style)


def plain_axes(axes: Axes) -> None:
    """Take the upper and right line off a plot and put a faint grid behind it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def show_image(axes: Axes, image: np.ndarray, size_nm: tuple[float, float]) -> None:
    """Show an image in axes that measure nanometres, so that anisotropic voxels come out in their true shape.

    Parameters
    ----------
    axes
        Where to; its ticks are taken off.
    image
        (H, W) or (H, W, 3) uint8.
    size_nm
        Height and width of what the image shows.
    """
    height, width = size_nm
    axes.imshow(
        image, extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=255, interpolation="antialiased", aspect="equal"
    )
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def scale_bar_nm(width_nm: float) -> float:
    """Choose the length of a scale bar: the longest of 1, 2, 5 x 10^k nm that is at most a third of the width."""
    limit = width_nm / 3
    power = 10.0 ** floor(log10(limit))
    return max(step * power for step in (1, 2, 5) if step * power <= limit * (1 + 1e-9))


def format_length(length_nm: float) -> str:
    """Write a length in nm, um or mm, whichever gives the shortest number.

    >>> format_length(200.0), format_length(2000.0)
    ('200 nm', '2 µm')
    """
    for unit, size in (("mm", 1e6), ("µm", 1e3)):
        if length_nm >= size:
            return f"{length_nm / size:.3g} {unit}"
    return f"{length_nm:.3g} nm"


def add_scale_bar(axes: Axes) -> Rectangle:
    """Put a scale bar with its length into the lower left corner of axes that measure nanometres.

    Returns
    -------
    Rectangle
        The bar; its width is its length in nm.
    """
    width = abs(np.diff(axes.get_xlim())[0])
    height = abs(np.diff(axes.get_ylim())[0])
    length, margin, thickness = scale_bar_nm(width), 0.03 * width, 0.014 * width
    bar = Rectangle(
        (margin, height - margin - thickness), length, thickness, facecolor="white", edgecolor="black", linewidth=0.7
    )
    axes.add_patch(bar)
    style: dict[str, Any] = {"color": "white", "fontsize": 8.5, "weight": "bold", "va": "center_baseline"}
    outline = [withStroke(linewidth=2, foreground="black")]
    place = (2 * margin + length, height - margin - thickness / 2)
    axes.text(*place, format_length(length), path_effects=outline, **style)
    return bar


def save_figure(figure: Figure, path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Write a figure as PNG, light enough for a report that holds many.

    EM is noise, which PNG cannot compress: a figure over the limit is written in 32 steps of each colour, then with
    fewer pixels.

    Parameters
    ----------
    figure
        Made by `new_figure`.
    path
        The file; its folder is made.
    most_bytes
        The limit; a figure that exceeds it at half the resolution is written nevertheless.
    """
    data, dots = _encode(figure, DOTS_PER_INCH, 256), DOTS_PER_INCH
    if len(data) > most_bytes:
        data = _encode(figure, dots, 32)
    while len(data) > most_bytes and dots > DOTS_PER_INCH // 2:
        dots = max(int(dots * min(0.95, sqrt(most_bytes / len(data)))), DOTS_PER_INCH // 2)
        data = _encode(figure, dots, 32)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _encode(figure: Figure, dots_per_inch: int, steps: int) -> bytes:
    from PIL import Image

    figure.set_dpi(dots_per_inch)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    if steps < 256:
        pixels = (np.round(pixels / 255 * (steps - 1)) * (255 / (steps - 1))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", dpi=(dots_per_inch, dots_per_inch))
    return file.getvalue()
