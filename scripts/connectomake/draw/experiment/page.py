"""The tables of an experiment as a small web page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from connectomake.config.settings.measure import CHOOSING
from connectomake.draw.experiment.comparison import BOLD, NOTHING_CHOOSES, Settings, format_spread
from connectomake.draw.html import Cell, HtmlTable, head_cells, render, text_cells
from connectomake.draw.tables import Table, best_rows, shorten_ids


@dataclass(frozen=True)
class Number:
    """How a number is shown: heading, divisor, digits, and whether high is good (None: neither high nor low is)."""

    heading: str
    unit: float = 1.0
    digits: int = 3
    high_is_good: bool | None = None


NUMBERS = {
    "overall_score": Number("overall score", high_is_good=True),
    "overall_instance_score": Number("instance classes", high_is_good=True),
    "overall_semantic_score": Number("semantic classes", high_is_good=True),
    "nerl": Number("NERL", high_is_good=True),
    "nerl_5": Number("NERL-5", high_is_good=True),
    "nerl_20": Number("NERL-20", high_is_good=True),
    "nerl_100": Number("NERL-100", high_is_good=True),
    "nerl_inf": Number("NERL-inf", high_is_good=True),
    "erl": Number("ERL (µm)", 1000, 2, high_is_good=True),
    "voi_split": Number("VOI split", high_is_good=False),
    "voi_merge": Number("VOI merge", high_is_good=False),
    "voi_sum": Number("VOI", high_is_good=False),
    "n_splits": Number("splits", 1, 0, high_is_good=False),
    "n_non0_mergers": Number("mergers", 1, 0, high_is_good=False),
    "voxel_voi_split": Number("voxel VOI split", high_is_good=False),
    "voxel_voi_merge": Number("voxel VOI merge", high_is_good=False),
    "voxel_voi_sum": Number("voxel VOI", high_is_good=False),
    "adapted_rand_error": Number("adapted Rand error", high_is_good=False),
    "adapted_rand_error_snemi": Number("Rand error (SNEMI3D)", high_is_good=False),
    "cremi_score": Number("CREMI score", high_is_good=False),
    "average_precision_50": Number("AP-50", high_is_good=True),
    "average_precision_75": Number("AP-75", high_is_good=True),
    "panoptic_quality_50": Number("panoptic quality", high_is_good=True),
    "foreground_dice": Number("Dice of foreground", high_is_good=True),
    "foreground_iou": Number("IoU of foreground", high_is_good=True),
    "mean_dice": Number("mean Dice of classes", high_is_good=True),
    "mean_iou": Number("mean IoU of classes", high_is_good=True),
    "cleft_score_nm": Number("CREMI cleft score (nm)", 1, 1, high_is_good=False),
    "total_length": Number("skeletons (µm)", 1000, 1),
    "n_segments": Number("segments", 1, 0),
    "n_truth_objects": Number("truth objects", 1, 0),
}
"""The columns shown, in order; whatever else was measured is in metrics.tsv and comparison.tsv."""
CLASS_SCORE = "score_"
"""What columns with the score of a class of a challenge begin with; they are shown too."""


def write_page(table: Table, comparison: Table, title: str) -> str:
    """Write the tables as HTML: settings with mean and spread, where a mean is over several values, then all rows.

    Parameters
    ----------
    table
        Columns `variant`, `volume`, `role` and numbers, as in an experiment's metrics.tsv.
    comparison
        One row per setting and number, as in its comparison.tsv.
    title
        The heading.
    """
    settings = Settings.of_table(comparison)
    return render(
        "metrics.html.j2",
        title,
        choosing=BOLD if settings.can_choose else NOTHING_CHOOSES,
        settings=_of_settings(settings) if settings.are_pooled else None,
        spread=settings.spread,
        segmentations=_of_segmentations(table),
        has_nerl_5="nerl_5" in table,
    )


def _of_settings(settings: Settings) -> HtmlTable:
    """Return a row per setting and role; best is the best mean of those measured on all validation volumes."""
    columns = [("setting", text_cells(shorten_ids(settings.names))), ("role", text_cells(settings.roles))]
    for name, number in _numbers_in(settings.means):
        means, spreads = settings.means[name] / number.unit, settings.spreads[name] / number.unit
        ranked = np.where(settings.is_ranked[name], means, np.nan)
        groups = np.zeros(len(means))
        digits = max(number.digits, 1)  # a mean of counts is no count
        texts = [format_spread(m, s, digits) for m, s in zip(means, spreads, strict=True)]
        columns.append((number.heading, _number_cells(texts, _best(ranked, groups, number))))
    return _table(columns, 2)


def _of_segmentations(table: Table) -> HtmlTable:
    """Return a row per variant and volume; best is the best of each validation volume."""
    variants = shorten_ids([str(variant) for variant in table["variant"]])
    columns = [("variant", text_cells(variants))]
    columns += [(name, text_cells(table[name])) for name in ("volume", "role")]
    for name, number in _numbers_in(table):
        if table[name].dtype.kind == "f":
            texts = [format_spread(value, np.nan, number.digits) for value in table[name] / number.unit]
            ranked = np.where(table["role"] == CHOOSING, table[name], np.nan)
            columns.append((number.heading, _number_cells(texts, _best(ranked, table["volume"], number))))
    return _table(columns, 3)


def _numbers_in(names: Iterable[str]) -> list[tuple[str, Number]]:
    """Return what is shown of these columns, scores of classes last."""
    there = list(names)
    found = [(name, number) for name, number in NUMBERS.items() if name in there]
    classes = sorted(name for name in there if name.startswith(CLASS_SCORE))
    return found + [(name, Number(name.removeprefix(CLASS_SCORE), high_is_good=True)) for name in classes]


def _table(columns: Sequence[tuple[str, Sequence[Cell]]], n_text: int) -> HtmlTable:
    head = head_cells([heading for heading, _ in columns], range(n_text))
    return HtmlTable(head, list(zip(*(cells for _, cells in columns), strict=True)))


def _best(values: np.ndarray, groups: np.ndarray, number: Number) -> set[int]:
    return set() if number.high_is_good is None else best_rows(values, groups, highest=number.high_is_good)


def _number_cells(texts: Sequence[str], best: set[int]) -> list[Cell]:
    return [Cell(text, "best" if row in best else "") for row, text in enumerate(texts)]
