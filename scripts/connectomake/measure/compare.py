"""Gather the metrics of many segmentations, or the scores of a challenge, compare settings, and name the best."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.config.settings.measure import CHOOSING, HIGHEST_IS_BEST
from connectomake.errors import DataError
from connectomake.files import read_json, write_json
from connectomake.measure.spread import setting_of, values_of_settings
from connectomake.tables import write_columns

OVERALL = ("overall_score", "overall_instance_score", "overall_semantic_score")
PARTS = {"validation": CHOOSING, "submission": "test"}
"""Parts of a challenge that are scored -> the role of their crops: the hidden truth of a submission never chooses."""
LEADING = (
    *OVERALL,
    "nerl",
    "voi_sum",
    "voxel_voi_sum",
    "adapted_rand_error",
    "average_precision_50",
    "panoptic_quality_50",
    "foreground_dice",
    "mean_dice",
)
"""The numbers by which the best setting is named."""

Table = dict[str, list[Any]]


def compare_variants(metrics: Sequence[Path], variants: Sequence[str]) -> Table:
    """Make one row per variant and volume.

    Parameters
    ----------
    metrics
        `metrics.json` files of the measure stage; or `PART.score.json` of the submit stage, which become one row for
        each part: the overall scores (None where no class of a kind was scored) and `score_CLASS`.
    variants
        The name of the variant that each file belongs to, in the same order.

    Returns
    -------
    dict
        Column -> values: `variant`, `volume`, `role` (of the volume), `setting` (the variant without its seeds), then
        every number any file holds (None where one lacks it); sorted by variant and volume, numbers in names by value.

    Raises
    ------
    DataError
        When the two lists differ in length, or one variant comes twice with one volume.
    """
    if len(metrics) != len(variants):
        raise DataError(
            "every metrics file needs the id of its variant", expected=len(metrics), got=f"{len(variants)} ids"
        )
    read = [(variant, _read_numbers(path)) for path, variant in zip(metrics, variants, strict=True)]
    rows = [(variant, found["per_volume"]["volume"], found) for variant, found in read]
    rows.sort(key=lambda row: (_by_value(row[0]), _by_value(row[1])))
    keys = [row[:2] for row in rows]
    twice = sorted({f"{v} on {w}" for v, w in keys if keys.count((v, w)) > 1})
    if twice:
        raise DataError("these variants come twice", got=", ".join(twice), hint="give every variant an id of its own")
    table: Table = {"variant": [row[0] for row in rows], "volume": [row[1] for row in rows]}
    table["role"] = [found["per_volume"]["role"] for _, _, found in rows]
    table["setting"] = [setting_of(variant) for variant in table["variant"]]
    names = dict.fromkeys(name for _, _, found in rows for name in found if name != "per_volume")
    return table | {name: [found.get(name) for _, _, found in rows] for name in names}


def best_settings(table: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any] | None]:
    """Find the best setting by each leading number, on validation volumes alone.

    Its rank is its mean over seeds and over the validation volumes. Only settings of which every seed has the number
    on every volume that any has it on are ranked, so that nothing wins by having been measured on the easy volumes
    alone. Ties go to the first in the table.

    Parameters
    ----------
    table
        What `compare_variants` gives.

    Returns
    -------
    dict
        Number -> {`setting`, `mean`, `test`: its mean on test volumes, None where not all were measured}; or None where
        no setting can be ranked by it, as where no validation volume was measured.
    """
    return {name: _best(table, name) for name in LEADING if name in table}


def write_comparison(
    rows: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Sequence[Any]],
    best: Mapping[str, Any],
    *,
    table: Path,
    comparison: Path,
    summary: Path,
) -> None:
    """Write both tables as TSV, and all as JSON: `role` (of the volumes that settings are chosen by), `best`, `rows`.

    Parameters
    ----------
    rows
        One row per variant and volume, from `compare_variants`; into `table`, and under `rows`.
    settings
        One row per setting, number and role, from `spread_of_settings`; into `comparison`, and under `settings`.
    best
        From `best_settings`.
    table, comparison, summary
        Where to: metrics.tsv, comparison.tsv, metrics.json.
    """
    write_columns(table, rows)
    write_columns(comparison, settings)
    found = {"role": CHOOSING, "best": best, "settings": _as_rows(settings), "rows": _as_rows(rows)}
    write_json(summary, found)


def _best(table: Mapping[str, Sequence[Any]], name: str) -> dict[str, Any] | None:
    means = _means(table, name, CHOOSING)
    if not means:
        return None
    highest = name in OVERALL or HIGHEST_IS_BEST[name]
    chosen = (max if highest else min)(means, key=means.__getitem__)
    return {"setting": chosen, "mean": means[chosen], "test": _means(table, name, "test").get(chosen)}


def _means(table: Mapping[str, Sequence[Any]], name: str, role: str) -> dict[str, float]:
    """Return the mean of each setting that was measured on all volumes of a role, with all seeds."""
    found = values_of_settings(table, name, role)
    return {s: float(v.mean()) for s, v in found.items() if v.size and not np.isnan(v).any()}


def _read_numbers(path: Path) -> dict[str, Any]:
    """Read the numbers of a volume, or of a part of a challenge, in one form."""
    found = read_json(path)
    if "label_scores" not in found:
        return found
    part = path.name.partition(".")[0]
    classes = {f"score_{label}": numbers for label, numbers in found["label_scores"].items()}
    counted = {"combined_score" in numbers for numbers in classes.values()}  # as objects, or as voxels
    has = (len(counted) == 2, True in counted, False in counted)
    scores = {name: found[name] if is_there else None for name, is_there in zip(OVERALL, has, strict=True)}
    scores |= {name: numbers.get("combined_score", numbers.get("iou")) for name, numbers in classes.items()}
    return {"per_volume": {"volume": part, "role": PARTS[part]}, **scores}


def _by_value(name: str) -> list[str | float]:
    """Return a key that sorts x=9 before x=10; text and numbers alternate, so that like meets like."""
    return [float(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", name))]


def _as_rows(table: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
