"""Volumes that a generator made beside real ones that it has not learnt from, and reconstructions beside originals.

All is drawn from `samples.npz` and `metrics.json` of the rule `generation_metrics`; no volume and no network is read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from connectomake.draw.colours import overlay
from connectomake.draw.figure import (
    FAINT,
    INK,
    add_axes_in,
    add_scale_bar,
    fit_picture,
    new_figure,
    show_image,
    write_text,
)
from connectomake.errors import DataError, MissingDataError

COLUMN_IN, GAP_IN, LEFT_IN, TOP_IN = 1.55, 0.05, 0.62, 0.52
BLOCK_GAP_IN, HEAD_IN, FOOT_IN = 0.30, 0.66, 0.22
WIDE_COLUMN_IN, BAR_IN = 1.75, 0.11
TALLEST = 1.0  # of a picture's width; a taller plane is drawn narrower
LABELLED = 0.45  # opacity
SHARE_SHOWN = 99.5  # % of the errors that the colours reach
PLANES = {"z": ("xy", (1, 2)), "y": ("xz", (0, 2))}
ERRORS = "magma"  # rises in lightness, so it can be read without its hues

Samples = dict[str, Any]
Row = dict[str, Any]


def read_samples(path: Path) -> Samples:
    """Read samples.npz: its arrays, and ``about`` as plain data.

    Raises
    ------
    MissingDataError
        There is no such file.
    DataError
        It holds something else.
    """
    if not path.is_file():
        raise MissingDataError(f"no samples {path}", hint="run generation_metrics")
    with np.load(path) as file:
        if "about" not in file:
            raise DataError(f"{path} holds no samples of volumes", expected="an entry 'about'", got=list(file)[:3])
        arrays = {name: file[name] for name in file if name != "about"}
        return arrays | {"about": json.loads(str(file["about"]))}


def draw_generated(samples: Samples, rows: Sequence[Row], title: str) -> Figure:
    """Draw held-out real volumes on the left and generated ones on the right: middle slices, class by class.

    Parameters
    ----------
    samples
        What `read_samples` gave.
    rows
        Those of metrics.json; a class's distances are told over its pictures.
    title
        The heading.
    """
    groups = [(str(number), group) for number, group in enumerate(samples["about"]["groups"])]
    counts = [max(_count(samples, f"{number}/{kind}/z") for number, _ in groups) for kind in ("real", "made")]
    starts = [LEFT_IN, LEFT_IN + counts[0] * (COLUMN_IN + GAP_IN) + BLOCK_GAP_IN]
    width = starts[1] + max(counts[1], 1) * (COLUMN_IN + GAP_IN) + 0.1
    lines = {number: _list_lines(samples, number, group) for number, group in groups}
    heights = {number: sum(height + GAP_IN for *_, (height, _) in own) for number, own in lines.items()}
    figure = new_figure(max(width, 6.4), TOP_IN + sum(HEAD_IN + height + FOOT_IN for height in heights.values()))
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    top = TOP_IN
    for number, group in groups:
        _write_head(figure, top, group, rows)
        for start, heading in zip(starts, ("real, held out", "generated"), strict=True):
            write_text(figure, start, top + 0.42, heading, fontsize=9.5)
        _draw_group(figure, top + HEAD_IN, samples, number, lines[number], starts)
        top += HEAD_IN + heights[number] + FOOT_IN
    return figure


def draw_reconstructions(samples: Samples, title: str) -> Figure:
    """Draw one held-out volume of each class, its reconstruction by both stages, and their errors.

    Parameters
    ----------
    samples
        What `read_samples` gave.
    title
        The heading.

    Returns
    -------
    Figure
        Errors are absolute, in the range -1 to 1 of the networks, on one scale for both stages; marks at their edges
        are where patches meet that were encoded by themselves.
    """
    found = samples["about"]["reconstructions"]
    sizes = [[_fit(known["voxel_size_zyx_nm"], samples[f"{number}/reconstruction/real/{axis}"], axis, WIDE_COLUMN_IN)
              for axis in PLANES] for number, known in enumerate(found)]  # fmt: skip
    heights = [sum(size[1][0] + GAP_IN for size in own) for own in sizes]
    lefts = [LEFT_IN + k * (WIDE_COLUMN_IN + GAP_IN) + (k > 2) * 0.12 for k in range(5)]
    width = lefts[-1] + WIDE_COLUMN_IN + 0.85
    figure = new_figure(width, TOP_IN + sum(HEAD_IN + height + FOOT_IN for height in heights))
    write_text(figure, 0.12, 0.10, title, fontsize=11, weight="bold")
    top = TOP_IN
    for number, known in enumerate(found):
        _write_reconstruction_head(figure, top, known, lefts)
        _draw_reconstruction(figure, top + HEAD_IN, samples, number, sizes[number], lefts)
        top += HEAD_IN + heights[number] + FOOT_IN
    return figure


def _list_lines(samples: Samples, number: str, group: dict[str, Any]) -> list[tuple[str, str, bool, Any, Any]]:
    """List the rows of pictures of a group: name, axis, whether labels are laid over, size in nm and in inches."""
    has_labels = any(f"{number}/{kind}_labels/z" in samples for kind in ("real", "made"))
    lines = []
    for axis, (name, _) in PLANES.items():
        slices = next(samples[key] for kind in ("real", "made") if (key := f"{number}/{kind}/{axis}") in samples)
        size_nm, size_in = _fit(group["voxel_size_zyx_nm"], slices[0], axis, COLUMN_IN)
        lines.append((name, axis, False, size_nm, size_in))
        if has_labels and axis == "z":
            lines.append((f"{name},\nlabels", axis, True, size_nm, size_in))
    return lines


def _draw_group(
    figure: Figure, top: float, samples: Samples, number: str, lines: Sequence[Any], starts: Sequence[float]
) -> None:
    for place, (name, axis, is_labelled, size_nm, (height, width)) in enumerate(lines):
        write_text(figure, 0.12, top + 0.02, name, fontsize=9, linespacing=1.2)
        for start, kind in zip(starts, ("real", "made"), strict=True):
            slices = samples.get(f"{number}/{kind}/{axis}", [])
            labels = samples.get(f"{number}/{kind}_labels/{axis}")
            for k, image in enumerate(slices):
                axes = add_axes_in(figure, start + k * (COLUMN_IN + GAP_IN), top, width, height)
                shown = overlay(image, labels[k], LABELLED) if is_labelled and labels is not None else image
                show_image(axes, shown, size_nm)
                if k == 0 and place == 0:
                    add_scale_bar(axes)
        top += height + GAP_IN


def _write_head(figure: Figure, top: float, group: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write which class it is, and how far it is from real volumes."""
    shape = "x".join(map(str, group["shape_zyx_vx"]))
    write_text(figure, 0.12, top, group["class"], fontsize=10, weight="bold")
    own = {row["metric"]: row for row in rows if (row["class"], row["shape_zyx_vx"]) == (group["class"], shape)}
    said = [f"{shape.replace('x', ' x ')} voxels"]
    for metric, name in (("frechet_distance", "Frechet distance"), ("rbf_mmd", "MMD"), ("ms_ssim", "MS-SSIM of pairs")):
        if own.get(metric, {}).get("value") is not None:
            reference = own[metric]["reference"]
            beside = "" if reference is None else f" (real {reference:.3g})"
            said.append(f"{name} {own[metric]['value']:.3g}{beside}")
    write_text(figure, 0.12, top + 0.20, ",  ".join(said), fontsize=8, color=FAINT)


def _write_reconstruction_head(figure: Figure, top: float, known: dict[str, Any], lefts: Sequence[float]) -> None:
    write_text(figure, 0.12, top, known["class"], fontsize=10, weight="bold")
    write_text(figure, 0.12, top + 0.20, known["key"], fontsize=8, color=FAINT)
    write_text(figure, lefts[0], top + 0.42, "real", fontsize=9.5)
    for k, stage in enumerate(("stage1", "stage2")):
        scores = known["scores"][stage]
        write_text(figure, lefts[1 + k], top + 0.42, f"stage {k + 1}, {scores['psnr_db']:.1f} dB", fontsize=9.5)
        seams = scores["seam_ratio"]
        said = f", seam ratio {seams:.2f}" if np.isfinite(seams) else ""
        write_text(figure, lefts[3 + k], top + 0.42, f"error {k + 1}{said}", fontsize=9.5)


def _draw_reconstruction(
    figure: Figure, top: float, samples: Samples, number: int, sizes: Sequence[Any], lefts: Sequence[float]
) -> None:
    known = samples["about"]["reconstructions"][number]
    volumes = {
        (name, axis): samples[f"{number}/reconstruction/{name}/{axis}"]
        for name in ("real", "stage1", "stage2")
        for axis in PLANES
    }
    errors = {
        (name, axis): np.abs(volumes[name, axis] - volumes["real", axis])
        for name in ("stage1", "stage2")
        for axis in PLANES
    }
    largest = float(np.percentile(np.concatenate([e.ravel() for e in errors.values()]), SHARE_SHOWN)) or 1.0
    _add_bar(figure, lefts[-1] + WIDE_COLUMN_IN + 0.12, top, sizes[0][1][0], largest)
    for (axis, (name, sides)), (size_nm, (height, width)) in zip(PLANES.items(), sizes, strict=True):
        write_text(figure, 0.12, top + 0.02, name, fontsize=9)
        for k, stage in enumerate(("real", "stage1", "stage2")):
            axes = add_axes_in(figure, lefts[k], top, width, height)
            show_image(axes, np.rint((volumes[stage, axis] + 1) * 127.5).astype(np.uint8), size_nm)
            if k == 0 and axis == "z":
                add_scale_bar(axes)
        for k, stage in enumerate(("stage1", "stage2")):
            axes = add_axes_in(figure, lefts[3 + k], top, width, height)
            show_image(axes, _colour(errors[stage, axis] / largest), size_nm)
            patch = [known["patch_zyx_vx"][side] * known["voxel_size_zyx_nm"][side] for side in sides]
            _mark_borders(axes, size_nm, patch)
        top += height + GAP_IN


def _add_bar(figure: Figure, left: float, top: float, height: float, largest: float) -> None:
    """Draw what the colours of errors mean."""
    axes = add_axes_in(figure, left, top, BAR_IN, height)
    axes.imshow(_colour(np.linspace(1, 0, 128)[:, None]), extent=(0, 1, 0, largest), aspect="auto")
    axes.set(xticks=[])
    axes.yaxis.tick_right()
    axes.tick_params(colors=INK, labelsize=7.5, length=2)
    axes.spines[:].set_visible(False)


def _mark_borders(axes: Axes, size_nm: Sequence[float], patch_nm: Sequence[float]) -> None:
    """Mark where patches meet, by short lines into the picture from its edges."""
    (height, width), mark = size_nm, 0.035 * size_nm[1]
    style: dict[str, Any] = {"color": "white", "linewidth": 1.0}
    for y in np.arange(patch_nm[0], height - 1e-6, patch_nm[0]):
        axes.hlines([y, y], [0, width - mark], [mark, width], **style)
    for x in np.arange(patch_nm[1], width - 1e-6, patch_nm[1]):
        axes.vlines([x, x], [0, height - mark], [mark, height], **style)


def _colour(shares: np.ndarray) -> np.ndarray:
    """Colour errors (H, W), 1 = the largest: (H, W, 3) uint8."""
    colours: np.ndarray = mpl.colormaps[ERRORS](np.clip(shares, 0, 1), bytes=True)
    return colours[..., :3]


def _fit(
    voxel_size: Sequence[float], image: np.ndarray, axis: str, column_in: float
) -> tuple[Any, tuple[float, float]]:
    """Return the size of a slice in nm, and in inches."""
    down, across = PLANES[axis][1]
    size_nm = (image.shape[0] * voxel_size[down], image.shape[1] * voxel_size[across])
    return size_nm, fit_picture(size_nm, column_in, TALLEST)


def _count(samples: Samples, name: str) -> int:
    return len(samples.get(name, ()))
