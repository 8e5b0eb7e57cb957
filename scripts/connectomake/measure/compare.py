"""Gather the metrics of many segmentations into one table and name the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.errors import DataError
from connectomake.measure.tables import write_table
from connectomake.volumes.files import read_json, write_json

BEST_IS_HIGHEST = {
    "nerl": True,
    "voi_sum": False,
    "voxel_voi_sum": False,
    "adapted_rand_error": False,
}


def compare_variants(metrics: Sequence[Path], variants: Sequence[str]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Make one row per variant and volume, and find the best variant by each leading number.

    A variant's rank is its mean over volumes. Only variants that have the number on every volume that any variant has
    it on are ranked, so that nothing wins by having been measured on the easy volumes alone. Ties go to the first in
    the table.

    Parameters
    ----------
    metrics
        `metrics.json` files of the measure stage.
    variants
        The id of the variant that each file belongs to, in the same order.

    Returns
    -------
    table
        Column name -> values: `variant`, `volume`, then every number any file holds (None where one lacks it); sorted
        by variant and volume.
    best
        Number -> {`variant`, `mean`}, or None where no variant can be ranked by it.

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
    rows = sorted(((variant, found["per_volume"]["volume"], found) for variant, found in read), key=lambda row: row[:2])
    keys = [row[:2] for row in rows]
    twice = sorted({f"{v} on {w}" for v, w in keys if keys.count((v, w)) > 1})
    if twice:
        raise DataError("these variants come twice", got=", ".join(twice), hint="give every variant an id of its own")
    names = list(dict.fromkeys(name for _, _, found in rows for name in found if name != "per_volume"))
    table: dict[str, list[Any]] = {"variant": [row[0] for row in rows], "volume": [row[1] for row in rows]}
    table |= {name: [found.get(name) for _, _, found in rows] for name in names}
    return table, {name: _best(table, name, highest) for name, highest in BEST_IS_HIGHEST.items() if name in table}


def write_comparison(table: Mapping[str, Sequence[Any]], best: Mapping[str, Any], tsv: Path, json: Path) -> None:
    """Write the table as TSV, and table (as a list of rows) and best variants as JSON."""
    write_table(tsv, table)
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    write_json(json, {"best": best, "rows": rows})


def _best(table: Mapping[str, Sequence[Any]], name: str, highest: bool) -> dict[str, Any] | None:
    of_variant: dict[str, dict[str, float]] = {}
    for variant, volume, value in zip(table["variant"], table["volume"], table[name], strict=True):
        if value is not None:
            of_variant.setdefault(variant, {})[volume] = value
    volumes = {volume for found in of_variant.values() for volume in found}
    means = {v: float(np.mean(list(found.values()))) for v, found in of_variant.items() if found.keys() == volumes}
    if not means:
        return None
    chosen = (max if highest else min)(means, key=means.__getitem__)
    return {"variant": chosen, "mean": means[chosen]}
