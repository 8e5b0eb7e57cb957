"""What figure and page show of an experiment: which rows, the middle and the spread of each, and which are best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from connectomake.config.settings.measure import CHOOSING
from connectomake.draw.tables import Table, best_rows, settings_in, shorten_ids, swept_key, without_setting

SPREADS = {
    "ci95_seeds": "95 % confidence interval over seeds",
    "sd_seeds": "standard deviation over seeds",
    "sd_volumes": "standard deviation over volumes",
    "": "",
}
"""Columns of comparison.tsv that a mean may be shown with, in words."""
BOLD = "bold: the best on validation volumes; test volumes are shown, and choose nothing"
NOTHING_CHOOSES = (
    "nothing is marked as best: no validation volume was measured, and what test volumes choose says nothing"
)


@dataclass(frozen=True)
class Settings:
    """The settings of an experiment with mean and spread of every number, over the volumes of each role.

    Parameters
    ----------
    names, roles
        A setting and the role of the volumes, in the order of the table: all settings on validation volumes first.
    spread
        What the spread is, in words; empty where no setting has any.
    are_pooled
        Whether a mean is over several values.
    means, spreads
        Number -> (rows,) float64; NaN where there is none.
    is_ranked
        Number -> (rows,) bool: on validation volumes, measured on all of them, with all seeds; only these can be best.
    """

    names: list[str]
    roles: list[str]
    spread: str
    are_pooled: bool
    means: dict[str, np.ndarray]
    spreads: dict[str, np.ndarray]
    is_ranked: dict[str, np.ndarray]

    @classmethod
    def of_table(cls, comparison: Table) -> Settings:
        """Take an experiment's comparison.tsv (`read_table`), one row per setting, number and role, apart."""
        keys = list(zip(comparison["setting"].tolist(), comparison["role"].tolist(), strict=True))
        row_of = {key: k for k, key in enumerate(dict.fromkeys(keys))}
        names, roles = (list(part) for part in zip(*row_of, strict=True))
        column = _choose_spread(comparison)
        spread = comparison[column] if column else np.full(len(comparison["setting"]), np.nan)
        at = np.array([row_of[key] for key in keys])
        means, spreads, ranked = {}, {}, {}
        for metric in np.unique(comparison["metric"]).tolist():
            here = comparison["metric"] == metric
            means[metric], spreads[metric] = np.full((2, len(names)), np.nan)
            ranked[metric] = np.zeros(len(names), bool)
            means[metric][at[here]] = comparison["mean"][here]
            spreads[metric][at[here]] = spread[here]
            ranked[metric][at[here]] = (comparison["n_missing"][here] == 0) & (comparison["role"][here] == CHOOSING)
        return cls(names, roles, SPREADS[column], bool(comparison["n"].max() > 1), means, spreads, ranked)

    @property
    def can_choose(self) -> bool:
        """Whether any validation volume was measured; where none was, nothing is best."""
        return CHOOSING in self.roles


@dataclass(frozen=True)
class Row:
    """One row of the figure: a segmentation, or all segmentations of a setting.

    Parameters
    ----------
    name, owner
        What stands before it, and the name of the curve that it is a point of: all but the swept number.
    x
        The swept number; NaN without one.
    group
        Rows of a group compete for being the best.
    role
        The role of its volumes; only rows of validation volumes compete.
    runs
        Its rows of the table.
    setting
        Its place in `Settings`; None for a segmentation.
    """

    name: str
    owner: str
    x: float
    group: str
    role: str
    runs: np.ndarray
    setting: int | None


@dataclass(frozen=True)
class Comparison:
    """The rows of a figure and their numbers.

    Parameters
    ----------
    table
        metrics.tsv: one row per variant and volume.
    settings
        From comparison.tsv.
    rows
        In the order of the table.
    swept
        The key of the swept number, or None.
    """

    table: Table
    settings: Settings
    rows: list[Row]
    swept: str | None

    @classmethod
    def of_tables(cls, table: Table, comparison: Table) -> Comparison:
        """Choose the rows: settings where a mean is over several values, else segmentations.

        A single setting shows each of its segmentations, and then their mean.
        """
        settings = Settings.of_table(comparison)
        swept = swept_key(settings.names)
        rows = [] if settings.are_pooled and len(set(settings.names)) > 1 else _segmentations(table, swept)
        if settings.are_pooled:
            rows += _settings(table, settings, swept)
        return cls(table, settings, rows, swept)

    def values(self, number: str) -> np.ndarray:
        """Return a number of every segmentation, NaN where it has none."""
        found = self.table.get(number)
        return found if found is not None and found.dtype.kind == "f" else np.full(len(self.table["volume"]), np.nan)

    def middles(self, number: str) -> np.ndarray:
        """Return a number of every row: its value, or the mean of its setting."""
        means = self.settings.means.get(number, np.full(len(self.settings.names), np.nan))
        values = self.values(number)
        return np.array([values[row.runs[0]] if row.setting is None else means[row.setting] for row in self.rows])

    def spreads(self, number: str) -> np.ndarray:
        """Return the spread of a number for every row, NaN where there is none."""
        found = self.settings.spreads.get(number, np.full(len(self.settings.names), np.nan))
        return np.array([np.nan if row.setting is None else found[row.setting] for row in self.rows])

    def points(self, number: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the single values behind the means: the row of each, and the value; of segmentations none."""
        values = self.values(number)
        runs = [(k, v) for k, row in enumerate(self.rows) if row.setting is not None for v in values[row.runs]]
        rows, found = np.array(runs, float).reshape(-1, 2).T
        return rows[np.isfinite(found)], found[np.isfinite(found)]

    def best(self, number: str, *, highest: bool) -> set[int]:
        """Return the rows that are best in their group: of validation volumes, and settings measured on all of them."""
        ranked = self.settings.is_ranked.get(number, np.zeros(len(self.settings.names), bool))
        can_be = [row.role == CHOOSING if row.setting is None else ranked[row.setting] for row in self.rows]
        groups = np.array([row.group for row in self.rows])
        return best_rows(np.where(can_be, self.middles(number), np.nan), groups, highest=highest)

    def costs(self, number: str, *, highest: bool) -> np.ndarray:
        """Return what sorts rows from the best to the worst; NaN without a number, and where others alone choose."""
        middles = -self.middles(number) if highest else self.middles(number)
        chooses = np.array([row.role == CHOOSING for row in self.rows])
        return np.where(chooses | ~chooses.any(), middles, np.nan)

    def texts(self, number: str, digits: int) -> list[str]:
        """Write a number of every row, with its spread where it has one: 0.43 ± 0.02."""
        return [
            format_spread(middle, spread, digits)
            for middle, spread in zip(self.middles(number), self.spreads(number), strict=True)
        ]

    def only(self, rows: Sequence[int]) -> Comparison:
        """Return a comparison of some of the rows."""
        return replace(self, rows=[self.rows[k] for k in rows])


def format_spread(middle: float, spread: float, digits: int) -> str:
    """Write a mean and its spread; nothing where there is no mean.

    >>> format_spread(0.4321, 0.0213, 2), format_spread(1234.5, float("nan"), 0)
    ('0.43 ± 0.02', '1,234')
    """
    if not np.isfinite(middle):
        return ""
    return f"{middle:,.{digits}f}" + (f" ± {spread:,.{digits}f}" if np.isfinite(spread) else "")


def name_rows(variants: list[str], volumes: list[str]) -> list[str]:
    """Name each row by what tells it from the others: the parts of the variants' ids that vary, and volume or role."""
    short = shorten_ids(variants)
    if len(set(short)) == 1:
        return volumes
    if len(set(volumes)) == 1:
        return short
    return [f"{name}   {volume}" for name, volume in zip(short, volumes, strict=True)]


def _choose_spread(comparison: Table) -> str:
    """Choose one column for all settings: over seeds where any setting has several, else over volumes.

    The interval from two seeds would be nine times their deviation, and say nothing.
    """
    if comparison["n_seeds"].max() > 1:
        return "ci95_seeds" if comparison["n_seeds"].max() > 2 else "sd_seeds"
    return "sd_volumes" if comparison["n_volumes"].max() > 1 else ""


def _segmentations(table: Table, swept: str | None) -> list[Row]:
    variants, volumes = table["variant"].tolist(), table["volume"].tolist()
    names = name_rows(variants, volumes)
    owners = name_rows([without_setting(v, swept) if swept else v for v in variants], volumes)
    roles = table["role"].tolist()
    return [
        Row(name, owners[k], _swept_value(variants[k], swept), volumes[k], roles[k], np.array([k]), None)
        for k, name in enumerate(names)
    ]


def _settings(table: Table, settings: Settings, swept: str | None) -> list[Row]:
    names, roles = settings.names, settings.roles
    owners = name_rows([without_setting(name, swept) if swept else name for name in names], roles)
    runs = [
        np.flatnonzero((table["role"] == role) & (table["setting"] == name))
        for name, role in zip(names, roles, strict=True)
    ]
    alone = len(set(names)) == 1
    shown = name_rows([f"mean of {len(own)}" for own in runs] if alone else names, roles)
    if alone and len(names) == 1:
        shown = [f"mean of {len(runs[0])}"]
    return [
        Row(shown[k], owners[k], _swept_value(name, swept), f"mean, {roles[k]}", roles[k], runs[k], k)
        for k, name in enumerate(names)
        if not alone or len(runs[k]) > 1
    ]


def _swept_value(name: str, swept: str | None) -> float:
    return settings_in(name).get(swept, np.nan) if swept else np.nan
