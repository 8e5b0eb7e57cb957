"""Gather the metrics of many segmentations into one table, compare settings, and name the best."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.config.measure import HIGHEST_IS_BEST
from connectomake.errors import DataError
from connectomake.measure.spread import pooled_role, setting_of, values_of_settings
from connectomake.measure.tables import write_table
from connectomake.volumes.files import read_json, write_json

LEADING = (
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
        `metrics.json` files of the measure stage.
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
    read = [(variant, read_json(path)) for path, variant in zip(metrics, variants, strict=True)]
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
    """Find the best setting by each leading number.

    Its rank is its mean over seeds and over the volumes of the pooled role (test, where any volume has it). Only
    settings of which every seed has the number on every volume that any has it on are ranked, so that nothing wins by
    having been measured on the easy volumes alone. Ties go to the first in the table.

    Parameters
    ----------
    table
        What `compare_variants` gives.

    Returns
    -------
    dict
        Number -> {`setting`, `mean`}, or None where no setting can be ranked by it.
    """
    return {name: _best(table, name, HIGHEST_IS_BEST[name]) for name in LEADING if name in table}


def write_comparison(
    rows: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Sequence[Any]],
    best: Mapping[str, Any],
    *,
    table: Path,
    comparison: Path,
    summary: Path,
) -> None:
    """Write both tables as TSV, and all as JSON: `role` (of the volumes that settings are compared on), `best`, `rows`.

    Parameters
    ----------
    rows
        One row per variant and volume, from `compare_variants`; into `table`, and under `rows`.
    settings
        One row per setting and number, from `spread_of_settings`; into `comparison`, and under `settings`.
    best
        From `best_settings`.
    table, comparison, summary
        Where to: metrics.tsv, comparison.tsv, metrics.json.
    """
    write_table(table, rows)
    write_table(comparison, settings)
    found = {"role": pooled_role(rows["role"]), "best": best, "settings": _as_rows(settings), "rows": _as_rows(rows)}
    write_json(summary, found)


def _best(table: Mapping[str, Sequence[Any]], name: str, highest: bool) -> dict[str, Any] | None:
    found = values_of_settings(table, name)
    means = {s: float(v.mean()) for s, v in found.items() if v.size and not np.isnan(v).any()}
    if not means:
        return None
    chosen = (max if highest else min)(means, key=means.__getitem__)
    return {"setting": chosen, "mean": means[chosen]}


def _by_value(name: str) -> list[str | float]:
    """Give a key that sorts x=9 before x=10; text and numbers alternate, so that like meets like."""
    return [float(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", name))]


def _as_rows(table: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
