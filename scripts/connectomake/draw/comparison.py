"""What figure and page show of an experiment: which rows, the middle and the spread of each, and which are best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from connectomake.draw.tables import Table, best_rows, settings_in, shorten_ids, swept_key, without_setting

SPREADS = {
    "ci95_seeds": "95 % confidence interval over seeds",
    "sd_seeds": "standard deviation over seeds",
    "sd_volumes": "standard deviation over volumes",
    "": "",
}
"""Columns of comparison.tsv that a mean may be shown with, in words."""


@dataclass(frozen=True)
class Settings:
    """The settings of an experiment with mean and spread of every number, over the volumes of one role.

    Parameters
    ----------
    names
        The settings, in the order of the table.
    role
        The role of the volumes.
    spread
        What the spread is, in words; empty where no setting has any.
    are_pooled
        Whether a mean is over several values.
    means, spreads
        Number -> (settings,) float64; NaN where a setting has none.
    is_complete
        Number -> (settings,) bool: measured on all volumes, with all seeds; only these can be best.
    """

    names: list[str]
    role: str
    spread: str
    are_pooled: bool
    means: dict[str, np.ndarray]
    spreads: dict[str, np.ndarray]
    is_complete: dict[str, np.ndarray]

    @classmethod
    def of_table(cls, comparison: Table) -> Settings:
        """Take an experiment's comparison.tsv (`read_table`), one row per setting and number, apart."""
        names = list(dict.fromkeys(comparison["setting"].tolist()))
        column = _choose_spread(comparison)
        spread = comparison[column] if column else np.full(len(comparison["setting"]), np.nan)
        row_of = {name: k for k, name in enumerate(names)}
        at = np.array([row_of[name] for name in comparison["setting"].tolist()])
        means, spreads, complete = {}, {}, {}
        for metric in np.unique(comparison["metric"]).tolist():
            here = comparison["metric"] == metric
            means[metric], spreads[metric] = np.full((2, len(names)), np.nan)
            complete[metric] = np.zeros(len(names), bool)
            means[metric][at[here]] = comparison["mean"][here]
            spreads[metric][at[here]] = spread[here]
            complete[metric][at[here]] = comparison["n_missing"][here] == 0
        role, are_pooled = str(comparison["role"][0]), bool(comparison["n"].max() > 1)
        return cls(names, role, SPREADS[column], are_pooled, means, spreads, complete)


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
    runs
        Its rows of the table.
    setting
        Its place in `Settings`; None for a segmentation.
    """

    name: str
    owner: str
    x: float
    group: str
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
        rows = [] if settings.are_pooled and len(settings.names) > 1 else _segmentations(table, swept)
        if settings.are_pooled:
            rows += _settings(table, settings, swept)
        return cls(table, settings, rows, swept)

    def values(self, number: str) -> np.ndarray:
        """Give a number of every segmentation, NaN where it has none."""
        found = self.table.get(number)
        return found if found is not None and found.dtype.kind == "f" else np.full(len(self.table["volume"]), np.nan)

    def middles(self, number: str) -> np.ndarray:
        """Give a number of every row: its value, or the mean of its setting."""
        means = self.settings.means.get(number, np.full(len(self.settings.names), np.nan))
        values = self.values(number)
        return np.array([values[row.runs[0]] if row.setting is None else means[row.setting] for row in self.rows])

    def spreads(self, number: str) -> np.ndarray:
        """Give the spread of a number for every row, NaN where there is none."""
        found = self.settings.spreads.get(number, np.full(len(self.settings.names), np.nan))
        return np.array([np.nan if row.setting is None else found[row.setting] for row in self.rows])

    def points(self, number: str) -> tuple[np.ndarray, np.ndarray]:
        """Give the single values behind the means: the row of each, and the value; of segmentations none."""
        values = self.values(number)
        runs = [(k, v) for k, row in enumerate(self.rows) if row.setting is not None for v in values[row.runs]]
        rows, found = np.array(runs, float).reshape(-1, 2).T
        return rows[np.isfinite(found)], found[np.isfinite(found)]

    def best(self, number: str, *, highest: bool) -> set[int]:
        """Give the rows that are best in their group; settings that were not measured everywhere are out."""
        middles, complete = self.middles(number), self.settings.is_complete.get(number)
        out = [complete is not None and row.setting is not None and not complete[row.setting] for row in self.rows]
        groups = np.array([row.group for row in self.rows])
        return best_rows(np.where(out, np.nan, middles), groups, highest=highest)

    def texts(self, number: str, digits: int) -> list[str]:
        """Write a number of every row, with its spread where it has one: 0.43 ± 0.02."""
        return [
            format_spread(middle, spread, digits)
            for middle, spread in zip(self.middles(number), self.spreads(number), strict=True)
        ]

    def only(self, rows: Sequence[int]) -> Comparison:
        """Give a comparison of some of the rows."""
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
    """Name each row by what tells it from the others: the parts of the variants' ids that vary, and the volume."""
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
    return [
        Row(name, owners[k], _swept_value(variants[k], swept), volumes[k], np.array([k]), None)
        for k, name in enumerate(names)
    ]


def _settings(table: Table, settings: Settings, swept: str | None) -> list[Row]:
    alone = len(settings.names) == 1
    names = shorten_ids(settings.names)
    owners = shorten_ids([without_setting(name, swept) if swept else name for name in settings.names])
    pooled = table["role"] == settings.role
    runs = [np.flatnonzero(pooled & (table["setting"] == name)) for name in settings.names]
    values = [_swept_value(name, swept) for name in settings.names]
    return [
        Row(f"mean of {len(runs[k])}" if alone else name, owners[k], values[k], "", runs[k], k)
        for k, name in enumerate(names)
    ]


def _swept_value(name: str, swept: str | None) -> float:
    return settings_in(name).get(swept, np.nan) if swept else np.nan
