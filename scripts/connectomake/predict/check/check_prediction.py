"""Look at a finished prediction for what goes wrong with predictions: numbers, and warnings in plain words.

It neither judges whether a prediction is right, which takes truth (measure), nor changes anything.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from connectomake.predict.check.empty_blocks import find_empty_blocks
from connectomake.predict.check.findings import list_findings
from connectomake.predict.check.finished import Finished
from connectomake.predict.check.profiles import MOST_BYTES, measure_profile
from connectomake.predict.check.seams import Seams, measure_seams
from connectomake.predict.check.sections import Jump, find_jumps, fit_drift
from connectomake.volumes.region import as_corners

log = logging.getLogger(__name__)

BINS = 64  # of the histogram
MOST_LOGGED = 20  # warnings; all are in the numbers


def check_prediction(prediction: Finished, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Look for drift, bad sections, saturation, empty blocks, seams and channels that say nothing; warn in the log.

    Takes the time of reading `most_bytes` of values, one chunk of each block, and a patch of some hundred faces between
    blocks; and memory of some ten chunks.

    Parameters
    ----------
    prediction
        What to look at.
    most_bytes
        Up to this size, as it is in memory, all values are looked at; of larger ones, a fixed part.

    Returns
    -------
    dict
        Plain data. Positions are in voxels of the volume at the voxel size that was predicted: ``first_voxel_zyx_vx``
        is where the store begins, ``crossing_zyx_vx`` where faces of blocks cross near its middle. ``channels`` (their
        values), ``sections`` (``mean`` and ``saturated``, the share of 0 and 255, by channel and section), ``drift``
        and ``jumps`` of these means, ``empty_blocks``, ``seams`` by axis, and ``warnings``, each with ``kind`` and
        ``text``.
    """
    profile, share = measure_profile(prediction, most_bytes)
    empty = find_empty_blocks(prediction)
    channels = [_describe_channel(prediction, counts, c) for c, counts in enumerate(profile.patterns)]
    means = profile.per_voxel(profile.sums)
    means = np.array([prediction.to_values(c, stored) for c, stored in enumerate(means)])
    numbers: dict[str, Any] = {
        "volume": prediction.name,
        "voxel_size_zyx_nm": prediction.volume.voxel_size_zyx_nm,
        "first_voxel_zyx_vx": prediction.origin_zyx,
        "shape_zyx": prediction.volume.shape_zyx,
        "block_zyx_vx": prediction.blocks.block_zyx,
        "blocks": len(prediction.blocks),
        "crossing_zyx_vx": [c + o for c, o in zip(prediction.find_crossing(), prediction.origin_zyx, strict=True)],
        "dtype": prediction.volume.dtype.name,
        "blending": prediction.described.blending,
        "looked_at": share,
        "channels": channels,
        "sections": {
            "mean": means,
            "saturated": profile.per_voxel(profile.saturated) if prediction.is_bytes else None,
        },
        **_judge_sections(prediction, means, [high - low for low, high in (c["range"] for c in channels)]),
        "empty_blocks": [
            {"block": b, "box_zyx_vx": as_corners(prediction.blocks[b].shift(prediction.origin_zyx))} for b in empty
        ],
        "seams": {
            axis: _describe_seams(prediction, a, seams)
            for a, (axis, seams) in enumerate(zip("zyx", measure_seams(prediction, set(empty)), strict=True))
        },
    }
    numbers["warnings"] = list_findings(numbers)
    log_findings(numbers)
    return to_plain(numbers)


def log_findings(numbers: dict[str, Any]) -> None:
    """Write what was found into the log."""
    found = numbers["warnings"]
    for warning in found[:MOST_LOGGED]:
        log.warning("%s", warning["text"])
    if len(found) > MOST_LOGGED:
        log.warning("and %d more", len(found) - MOST_LOGGED)
    part = "all values" if numbers["looked_at"] == 1 else f"{numbers['looked_at']:.2g} of all values, along all of z,"
    log.info("%s: %s of %d blocks looked at, %d warnings", numbers["volume"], part, numbers["blocks"], len(found))


def to_plain(value: Any) -> Any:
    """Return plain data for JSON: five digits of each number, None for those that are not finite."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, float | np.floating):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _describe_channel(prediction: Finished, counts: np.ndarray, channel: int) -> dict[str, Any]:
    """Return what values a channel has, from how often each pattern of bits occurs."""
    total = max(1, int(counts.sum()))
    patterns = np.arange(len(counts), dtype=np.uint8 if prediction.is_bytes else np.uint16)
    values = prediction.to_values(channel, patterns if prediction.is_bytes else patterns.view(np.float16))
    finite = (counts > 0) & np.isfinite(values)
    known, values = counts[finite], values[finite]
    low, high = prediction.value_range(channel) or (values.min(), values.max()) if len(values) else (0.0, 1.0)
    high = max(high, low + 1e-6)  # of a constant channel
    bins, _ = np.histogram(np.clip(values, low, high), BINS, (low, high), weights=known)
    return {
        "name": prediction.names[channel],
        "activation": prediction.activations[channel],
        "offset_zyx_vx": prediction.offsets_zyx[channel],
        "range": [low, high],
        "mean": values @ known / max(1, known.sum()),
        "constant": values[0] if len(values) == 1 else None,
        "not_finite": (counts.sum() - known.sum()) / total,
        "lowest": counts[0] / total if prediction.is_bytes else None,
        "highest": counts[-1] / total if prediction.is_bytes else None,
        "histogram": bins / total,
    }


def _judge_sections(prediction: Finished, means: np.ndarray, spans: list[float]) -> dict[str, Any]:
    """Find drift and jumps along z; not over scattered crops, whose sections are of different tissue."""
    if prediction.region.crops:
        return {"drift": [], "jumps": []}
    judged = means.copy()
    at = np.arange(means.shape[1])
    for row, offset in zip(judged, prediction.offsets_zyx, strict=True):
        there = at + (offset[0] if offset else 0)
        row[(there < 0) | (there >= len(at))] = np.nan  # edges that lead out of the volume mean nothing
    fits = [(c, fit_drift(row, span)) for c, (row, span) in enumerate(zip(judged, spans, strict=True))]
    jumps = [(jump, c) for c, row in enumerate(judged) for jump in find_jumps(row, spans[c])]
    return {
        "drift": [
            {"channel": prediction.names[c], **asdict(fit), "percent": fit.percent}
            for c, fit in fits
            if fit is not None
        ],
        "jumps": _join_jumps(prediction, sorted(jumps)),
    }


def _join_jumps(prediction: Finished, jumps: list[tuple[Jump, int]]) -> list[dict[str, Any]]:
    """Put together what is out of line in several channels at once."""
    first_z = prediction.origin_zyx[0]
    runs: list[dict[str, Any]] = []
    for jump, c in jumps:
        if not runs or first_z + jump.first > runs[-1]["last_z"] + 1:
            runs.append({"first_z": first_z + jump.first, "last_z": 0, "channels": []})
        runs[-1]["last_z"] = max(runs[-1]["last_z"], first_z + jump.last)
        numbers = {"mean": jump.mean, "usual": jump.usual, "deviations": jump.deviations}
        runs[-1]["channels"].append({"channel": prediction.names[c], "worst_z": first_z + jump.worst, **numbers})
    return runs


def _describe_seams(prediction: Finished, axis: int, seams: Seams) -> dict[str, Any]:
    face = seams.worst
    return {
        "faces": seams.faces,
        "looked_at": seams.looked_at,
        "ratios": seams.ratios,
        "are_seams": seams.are_seams,
        "worst": face
        and {
            "blocks": face.blocks,
            "at_vx": face.at_vx + prediction.origin_zyx[axis],
            "ratio": face.ratio,
            "is_seam": face.is_seam,
        },
    }
