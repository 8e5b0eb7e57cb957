"""Mean and spread of every number of every setting, over volumes and over seeds.

A setting is a variant without its seeds; its variants are its seeds. As the field quotes results (NISB: the mean over
cubes, with a 95 % confidence interval over seeds), a seed's number is its mean over volumes, and the setting's number
is the mean of these; how much volumes differ is another question, and another column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ROLES = ("validate", "test", "predict", "train")
"""Numbers are pooled over the volumes of one role; in this order."""
ALL_SEEDS = "all seeds"
"""The setting of an experiment that sweeps nothing but seeds."""
NOT_NUMBERS = ("variant", "volume", "role", "setting")
_SEED = re.compile(r"(?<![\w.-])(?:[\w-]+\.)*seed=[^,/@+\s]*(?:,\s*|@)?")

Table = Mapping[str, Sequence[Any]]


def setting_of(variant: str) -> str:
    """Take every key whose last part is `seed` out of a variant's name or chain of ids.

    >>> setting_of("decode.threshold=0.7, train.seed=1")
    'decode.threshold=0.7'
    >>> setting_of("phantom/gpu@lr=0.001@seed=1+sections/default")
    'phantom/gpu@lr=0.001+sections/default'
    """
    return re.sub(r"[@,]\s*(?=$|[/+])", "", _SEED.sub("", variant)) or ALL_SEEDS


def roles_in(roles: Sequence[str]) -> list[str]:
    """Return each role that occurs once, validate first, then test."""
    return [role for role in ROLES if role in roles]


def values_of_settings(table: Table, name: str, role: str) -> dict[str, np.ndarray]:
    """Return one number of every setting as a matrix.

    Parameters
    ----------
    table
        One row per variant and volume: columns `variant`, `volume`, `role`, `setting` and numbers, None where a row
        has none.
    name
        The number.
    role
        Whose volumes count.

    Returns
    -------
    dict
        Setting -> (seeds, volumes) float64, NaN where it was not measured. The volumes are those of the role on which
        any variant has the number; the same for all settings.
    """
    pooled = [i for i, found in enumerate(table["role"]) if found == role]
    has = [i for i in pooled if table[name][i] is not None]
    volume_at = {volume: k for k, volume in enumerate(dict.fromkeys(table["volume"][i] for i in has))}
    seeds: dict[str, dict[str, int]] = {}
    for i in pooled:
        of_setting = seeds.setdefault(table["setting"][i], {})
        of_setting.setdefault(table["variant"][i], len(of_setting))
    values = {setting: np.full((len(found), len(volume_at)), np.nan) for setting, found in seeds.items()}
    for i in has:
        seed = seeds[table["setting"][i]][table["variant"][i]]
        values[table["setting"][i]][seed, volume_at[table["volume"][i]]] = table[name][i]
    return values


def spread_of_settings(table: Table) -> dict[str, list[Any]]:
    """Make one row per setting, number and role.

    Parameters
    ----------
    table
        As for `values_of_settings`; its columns besides the four named there are numbers.

    Returns
    -------
    dict
        Column -> values:

        `setting`, `metric`
            What the row is about.
        `mean`
            Mean over seeds of the mean over volumes.
        `spread`
            Standard deviation (n - 1) of all single values, over volumes and seeds together.
        `sd_volumes`
            Standard deviation (n - 1) over volumes of the mean over seeds; None for one volume.
        `sd_seeds`
            Standard deviation (n - 1) over seeds of the mean over volumes; None for one seed.
        `se_seeds`
            Standard error of the mean: `sd_seeds` divided by the root of the number of seeds.
        `ci95_seeds`
            Half the width of the 95 % confidence interval of the mean over seeds (t distribution): mean +- this.
        `min`, `max`
            Of all single values.
        `n`, `n_volumes`, `n_seeds`
            Single values, volumes and seeds that have the number.
        `n_missing`
            Combinations of a volume (on which any setting has it) and a seed that lack it; a setting with any is not
            ranked.
        `role`
            The role of the volumes; rows of validation volumes come first.
    """
    order = {setting: k for k, setting in enumerate(dict.fromkeys(table["setting"]))}
    rows = []
    for role in roles_in(table["role"]):
        of_role = []
        for name in table:
            if name not in NOT_NUMBERS:
                found = values_of_settings(table, name, role)
                of_role += [{"setting": s, "metric": name, **_spread(v), "role": role} for s, v in found.items()]
        rows += sorted((row for row in of_role if row["n"]), key=lambda row: order[row["setting"]])
    return {column: [row[column] for row in rows] for column in COLUMNS}


COLUMNS = (
    "setting",
    "metric",
    "mean",
    "spread",
    "sd_volumes",
    "sd_seeds",
    "se_seeds",
    "ci95_seeds",
    "min",
    "max",
    "n",
    "n_volumes",
    "n_seeds",
    "n_missing",
    "role",
)


def _spread(values: np.ndarray) -> dict[str, Any]:
    """Summarise (seeds, volumes) values; NaN is missing."""
    there = ~np.isnan(values)
    n = int(there.sum())
    if not n:
        return {"n": 0}
    by_seed, by_volume = _means(values, there, 1), _means(values, there, 0)
    n_seeds, sd_seeds = len(by_seed), _deviation(by_seed)
    error = None if sd_seeds is None else sd_seeds / math.sqrt(n_seeds)
    return {
        "mean": float(by_seed.mean()),
        "spread": _deviation(values[there]),
        "sd_volumes": _deviation(by_volume),
        "sd_seeds": sd_seeds,
        "se_seeds": error,
        "ci95_seeds": None if error is None else error * _t_quantile(n_seeds - 1),
        "min": float(values[there].min()),
        "max": float(values[there].max()),
        "n": n,
        "n_volumes": len(by_volume),
        "n_seeds": n_seeds,
        "n_missing": values.size - n,
    }


def _means(values: np.ndarray, there: np.ndarray, axis: int) -> np.ndarray:
    """Average along an axis what is there, and leave out where nothing is."""
    count = there.sum(axis=axis)
    return np.where(there, values, 0.0).sum(axis=axis)[count > 0] / count[count > 0]


def _deviation(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _t_quantile(degrees_of_freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 0.975))
