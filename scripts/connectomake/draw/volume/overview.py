"""One wide picture of one volume: what went in, what the network said, what came out, the truth, and the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from matplotlib.figure import Figure

from connectomake.draw.figure import (
    FAINT,
    add_axes_in,
    add_scale_bar,
    format_length,
    new_figure,
    show_image,
    write_text,
)
from connectomake.draw.planes import common_box, crop_to_middle
from connectomake.draw.volume.neurites import choose_bodies, draw_bodies, render_bodies
from connectomake.draw.volume.slices import Layers, paint, read_rows
from connectomake.errors import DataError

SIDE_IN, GAP_IN, MARGIN_IN, TOP_IN = 2.5, 0.10, 0.15, 0.60
BODIES_IN = 2.8
NUMBERS_IN = 0.80


def draw_overview(
    layers: Layers, title: str, numbers: Mapping[str, Any], *, objects: int = 24, field_vx: int = 512
) -> Figure:
    """Draw the middle xy plane of every layer there is, the longest neurites as bodies, and the numbers below.

    Parameters
    ----------
    layers
        The volumes; labels must be there.
    title
        The heading.
    numbers
        Metrics by name, as the measure stage writes them; empty where there is no truth.
    objects
        How many neurites.
    field_vx
        Voxels shown along each axis at most, around the middle; the bodies are of the same box.

    Raises
    ------
    DataError
        When there are no labels, or the volumes do not overlap.
    """
    if layers.labels is None:
        raise DataError("an overview needs labels", got=None, hint="give the store of the decode stage")
    row = read_rows(layers, field_vx=field_vx)[0]
    pictures = paint(row)
    height_nm, width_nm = row.plane.size_nm(layers.raw.voxel_size_zyx_nm)
    scale = SIDE_IN / max(height_nm, width_nm)
    width, height = width_nm * scale, height_nm * scale
    bodies_left = MARGIN_IN + len(pictures) * (width + GAP_IN)
    shown = summarise(numbers)
    figure = new_figure(
        bodies_left + BODIES_IN + MARGIN_IN, TOP_IN + SIDE_IN + (NUMBERS_IN if shown else BODIES_IN - SIDE_IN)
    )
    write_text(figure, MARGIN_IN, 0.10, title, fontsize=11, weight="bold")
    for k, (name, image) in enumerate(pictures.items()):
        left = MARGIN_IN + k * (width + GAP_IN)
        axes = add_axes_in(figure, left, TOP_IN, width, height)
        show_image(axes, image, (height_nm, width_nm))
        write_text(figure, left, TOP_IN - 0.20, name, fontsize=9.5)
        if k == 0:
            add_scale_bar(axes)
    aligned = layers.aligned()
    bodies = choose_bodies(aligned["labels"], crop_to_middle(common_box(list(aligned.values())), field_vx), objects)
    axes = add_axes_in(figure, bodies_left, TOP_IN, BODIES_IN, BODIES_IN)
    draw_bodies(axes, render_bodies(bodies))
    write_text(figure, bodies_left + GAP_IN, TOP_IN - 0.20, "longest neurites", fontsize=9.5)
    for k, (value, name) in enumerate(shown):
        left = MARGIN_IN + k * min(1.6, (bodies_left - MARGIN_IN) / len(shown))
        write_text(figure, left, TOP_IN + SIDE_IN + 0.17, value, fontsize=14, weight="bold")
        write_text(figure, left, TOP_IN + SIDE_IN + 0.47, name, fontsize=8.5, color=FAINT)
    return figure


def summarise(numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Choose the numbers that say most and write them: pairs of value and name.

    >>> summarise({"nerl": 0.913, "n_splits": 3, "something": 1})
    [('0.91', 'NERL'), ('3', 'splits')]
    """
    known = {
        "nerl": ("NERL", "{:.2f}".format),
        "erl": ("run length (ERL)", format_length),
        "n_splits": ("splits", "{:.0f}".format),
        "n_non0_mergers": ("mergers", "{:.0f}".format),
        "voi_split": ("VOI split", "{:.2f}".format),
        "voi_merge": ("VOI merge", "{:.2f}".format),
        "voxel_voi_split": ("voxel VOI split", "{:.2f}".format),
        "voxel_voi_merge": ("voxel VOI merge", "{:.2f}".format),
        "adapted_rand_error": ("adapted Rand error", "{:.3f}".format),
    }
    found = [(numbers.get(key), name, write) for key, (name, write) in known.items()]
    return [(write(value), name) for value, name, write in found if value is not None and isfinite(value)]
