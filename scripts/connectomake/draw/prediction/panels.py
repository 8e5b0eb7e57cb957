"""The plots of a prediction: means by section, values, and seams between blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from connectomake.draw.figure import FAINT, INK, LINES, MERGE, plain_axes

SECTION_NAMES, VALUE_NAMES = 4, 2  # side by side in the legends


def group_channels(channels: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Group channels for lines of one colour each: every one by itself, or affinities by their reach where many.

    Parameters
    ----------
    channels
        As `check_prediction` describes them.

    Returns
    -------
    dict
        Name of the group -> channels in it; what finds no colour of its own is ``others``.
    """
    if len(channels) <= len(LINES):
        return {channel["name"]: [c] for c, channel in enumerate(channels)}
    groups: dict[str, list[int]] = {}
    for c, channel in enumerate(channels):
        offset = channel["offset_zyx_vx"]
        reach = "affinities to the next voxel" if offset and max(map(abs, offset)) == 1 else "affinities farther away"
        name = reach if offset else channel["name"]
        groups.setdefault(name if name in groups or len(groups) < len(LINES) - 1 else "others", []).append(c)
    return groups


def legend_in(numbers: Mapping[str, Any], columns: int) -> float:
    """Return the height in inches of a legend above a plot, with so many names side by side."""
    return 0.12 + 0.155 * ceil(len(group_channels(numbers["channels"])) / columns)


def draw_sections(axes: Axes, numbers: Mapping[str, Any]) -> None:
    """Draw the means by section, those out of line, and what drifts."""
    plain_axes(axes)
    groups = group_channels(numbers["channels"])
    means = np.array(numbers["sections"]["mean"], float)  # None becomes NaN
    z = numbers["first_voxel_zyx_vx"][0] + np.arange(means.shape[1])
    names = [channel["name"] for channel in numbers["channels"]]
    for (name, members), colour in zip(groups.items(), cycle(LINES), strict=False):
        axes.plot(z, means[members].mean(0), lw=1.1, color=colour, label=name)
        for drift in numbers["drift"]:
            if drift["is_large"] and names.index(drift["channel"]) in members:
                axes.plot(z[[0, -1]], [drift["start"], drift["end"]], color=colour, lw=1, ls=(0, (4, 3)))
    for jump in numbers["jumps"]:
        axes.axvspan(jump["first_z"] - 0.5, jump["last_z"] + 0.5, color=MERGE, alpha=0.35, lw=0)
        axes.plot((jump["first_z"] + jump["last_z"]) / 2, 1, "v", ms=5, color=MERGE, **_on_top(axes))
    low, high = axes.get_ylim()
    if high - low < 0.1:  # lest noise fill the panel
        axes.set_ylim((low + high) / 2 - 0.05, (low + high) / 2 + 0.05)
    axes.set_xlim(z[0] - 0.5, z[-1] + 0.5)
    axes.set_ylabel("mean of a section", fontsize=8.5)
    axes.set_xlabel("z (voxels); orange: out of line; dashed: drift", fontsize=8.5)
    style: dict[str, Any] = {"fontsize": 7.5, "frameon": False, "loc": "lower left", "borderpad": 0.1}
    axes.legend(ncols=SECTION_NAMES, bbox_to_anchor=(0.0, 0.99), **style)


def _on_top(axes: Axes) -> dict[str, Any]:
    return {"transform": axes.get_xaxis_transform(), "clip_on": False}


def draw_values(axes: Axes, numbers: Mapping[str, Any]) -> None:
    """Draw how often each value occurs, and say which share is at the ends of the range."""
    plain_axes(axes)
    channels = numbers["channels"]
    groups = group_channels(channels)
    for (name, members), colour in zip(groups.items(), cycle(LINES), strict=False):
        shares = np.mean([channels[c]["histogram"] for c in members], 0)
        low, high = channels[members[0]]["range"]
        edges = np.linspace(low, high, len(shares) + 1)
        label = name
        if numbers["dtype"] == "uint8":
            ends = (np.mean([channels[c][end] for c in members]) for end in ("lowest", "highest"))
            label += ": {:.1%} at 0, {:.1%} at 255".format(*ends)
        axes.stairs(shares, edges, color=colour, lw=1.1, label=label)
    axes.set_yscale("log")
    axes.set_ylabel("share of voxels", fontsize=8.5)
    axes.set_xlabel("value", fontsize=8.5)
    style: dict[str, Any] = {"fontsize": 7, "frameon": False, "loc": "lower left", "borderpad": 0.1}
    axes.legend(ncols=VALUE_NAMES, bbox_to_anchor=(0.0, 0.99), **style)


def draw_seams(axes: Axes, numbers: Mapping[str, Any]) -> None:
    """Draw by axis how much more values differ across faces than beside them."""
    looked = {axis: seams for axis, seams in numbers["seams"].items() if seams["looked_at"]}
    if not looked:
        axes.set_axis_off()
        text = "one block: there are no seams" if numbers["blocks"] == 1 else "no face between blocks was predicted"
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, color=FAINT, transform=axes.transAxes)
        return
    plain_axes(axes)
    ratios = [max(seams["ratios"]) for seams in looked.values()]
    colours = [MERGE if seams["are_seams"] else LINES[0] for seams in looked.values()]
    axes.barh(range(len(looked)), ratios, height=0.45, color=colours)
    worst = [seams["worst"] for seams in looked.values()]
    for k, face in enumerate(worst):
        axes.plot(face["ratio"], k, "o", ms=5, mfc=MERGE if face["is_seam"] else "white", mec=INK, mew=0.8)
    axes.axvline(1, color=INK, lw=0.8, ls=(0, (3, 3)))
    labels = [f"{axis}\n{seams['looked_at']} of {seams['faces']}\nfaces" for axis, seams in looked.items()]
    axes.set_yticks(range(len(looked)), labels)
    axes.set_ylim(len(looked) - 0.5, -0.5)
    axes.set_xlim(0, max(1.5, 1.1 * max([face["ratio"] for face in worst] + ratios)))
    axes.set_xlabel("difference across faces / beside them", fontsize=8.5)
    axes.set_title("bar: all faces; dot: the one where it is most", fontsize=7, loc="left")
