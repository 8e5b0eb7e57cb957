"""From the numbers of a prediction to warnings that say what, where, by how much, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NEARLY_ALL = 0.995  # of a channel's values are the same end of the range
SATURATED = 0.9  # of an affinity's values are at either end
NAMED = 4  # things that are listed in one warning
NAMED_OF_SECTION = 2


def list_findings(numbers: dict[str, Any]) -> list[dict[str, str]]:
    """List what is wrong with a prediction.

    Parameters
    ----------
    numbers
        What `check_prediction` measured.

    Returns
    -------
    list of dict
        ``kind``: constant, not finite, nearly all the same, saturated, empty blocks, seam, section or drift; ``text``:
        a sentence with place and amount, and what to do.
    """
    found = [
        *(pair for channel in numbers["channels"] for pair in _judge_channel(channel)),
        *_judge_empty_blocks(numbers["empty_blocks"], numbers["blocks"]),
        *(pair for axis in numbers["seams"] for pair in _judge_seams(axis, numbers)),
        *(_judge_jump(jump) for jump in numbers["jumps"]),
        *_judge_drift([drift for drift in numbers["drift"] if drift["is_large"]]),
    ]
    return [{"kind": kind, "text": text} for kind, text in found]


def _judge_channel(channel: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Judge the values of one channel, as (kind, text); rare classes may well be 0 nearly everywhere."""
    name, is_affinity = channel["name"], channel["offset_zyx_vx"] is not None
    low, high = channel["lowest"] or 0.0, channel["highest"] or 0.0
    if channel["not_finite"]:
        yield (
            "not finite",
            f"{100 * channel['not_finite']:.2g} % of {name} is not finite: float16 ends at 65504, so that its target "
            "must be of smaller values",
        )
    if channel["constant"] is not None:
        yield (
            "constant",
            f"{name} is {channel['constant']:.3g} everywhere: it says nothing. Was it trained, and does the network "
            "suit this volume (grey values, voxel size)?",
        )
    elif high >= NEARLY_ALL or (low >= NEARLY_ALL and is_affinity):
        share, end = (high, "largest") if high >= low else (low, "smallest")
        yield (
            "nearly all the same",
            f"{100 * share:.5g} % of {name} is the {end} value there is: does the network suit this volume (grey "
            "values, voxel size)?",
        )
    elif is_affinity and channel["activation"] == "sigmoid" and low + high >= SATURATED:
        yield (
            "saturated",
            f"{100 * (low + high):.3g} % of {name} is stored as 0 or 255, so that no threshold tells these values "
            "apart: predict.activation: scaled_sigmoid keeps them apart",
        )


def _judge_empty_blocks(empty: list[dict[str, Any]], blocks: int) -> Iterator[tuple[str, str]]:
    if empty:
        boxes = [f"{e['block']} (from {list(e['box_zyx_vx'][0])} to {list(e['box_zyx_vx'][1])})" for e in empty]
        yield (
            "empty blocks",
            f"{len(empty)} of {blocks} blocks hold nothing but zeros, though their raw voxels differ: block "
            f"{_name_some(boxes)}. If a file was lost, delete the store and predict again; if the network gives 0 "
            "there, compare the grey values with those trained on",
        )


def _judge_seams(axis: str, numbers: dict[str, Any]) -> Iterator[tuple[str, str]]:
    seams = numbers["seams"][axis]
    worst = seams["worst"]
    if seams["are_seams"] or (worst and worst["is_seam"]):
        ratio, name = max(zip(seams["ratios"], (channel["name"] for channel in numbers["channels"]), strict=True))
        advice = "Was a part of the store made by something else, or exchanged? Delete it and predict again"
        if numbers["blending"] == "constant":
            advice = "With blending: constant, the borders of windows show, which may lie there too: try gaussian"
        over_all = f"over all {seams['looked_at']} faces {ratio:.2f} times as much ({name}), "
        below, above = worst["blocks"]
        yield (
            "seam",
            f"blocks can be told apart along {axis}: values differ more across their faces than beside them, "
            f"{over_all if seams['are_seams'] else ''}"
            f"most between blocks {below} and {above} at {axis} {worst['at_vx']}, {worst['ratio']:.2f} times as much. "
            f"{advice}",
        )


def _judge_jump(jump: dict[str, Any]) -> tuple[str, str]:
    first, last = jump["first_z"], jump["last_z"]
    where = f"section z {first} is" if first == last else f"sections z {first} to {last} are"
    worst = sorted(jump["channels"], key=lambda channel: -channel["deviations"])
    parts = [f"{c['channel']} {c['mean']:.2f} instead of {c['usual']:.2f}" for c in worst]
    return "section", (
        f"{where} out of line with those around: {_name_some(parts, NAMED_OF_SECTION)}. Look at the raw data there: "
        "what is lost, bright or blurred can be left out by a mask (predict.regions)"
    )


def _judge_drift(large: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    if large:
        parts = [
            f"{d['channel']} from {d['start']:.2f} to {d['end']:.2f}"
            + ("" if d["percent"] is None else f" ({d['percent']:+.0f} %)")
            for d in sorted(large, key=lambda drift: -abs(drift["end"] - drift["start"]))
        ]
        yield (
            "drift",
            f"values drift along z, from the first section to the last: {_name_some(parts)}. Do brightness or contrast "
            "of the raw data drift? Then even them out, or train with more augmentation of contrast",
        )


def _name_some(names: list[str], most: int = NAMED) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
