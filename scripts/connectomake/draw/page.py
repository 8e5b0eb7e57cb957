"""The table of an experiment as a small web page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import numpy as np

from connectomake.draw.tables import Table, best_rows, shorten_ids

STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; color: #222; margin: 1.2em; }
h1 { font-size: 1.15em; } p { color: #666; max-width: 60em; }
table { border-collapse: collapse; } th, td { padding: .28em .7em; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #888; font-weight: 600; }
td { border-bottom: 1px solid #e4e4e4; font-variant-numeric: tabular-nums; }
th.text, td.text { text-align: left; } td.best { font-weight: 700; color: #1c6b49; }
tr:hover td { background: #f4f7fb; }
"""


@dataclass(frozen=True)
class Number:
    """How a number is shown: heading, divisor, digits, and whether high is good (None: neither high nor low is)."""

    heading: str
    unit: float = 1.0
    digits: int = 3
    high_is_good: bool | None = None


NUMBERS = {
    "nerl": Number("NERL", high_is_good=True),
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
    "total_length": Number("skeletons (µm)", 1000, 1),
    "n_segments": Number("segments", 1, 0),
    "n_truth_objects": Number("truth objects", 1, 0),
}
"""The columns shown, in order; whatever else was measured is in metrics.tsv."""


def write_page(table: Table, title: str) -> str:
    """Write a table as HTML, the best number of each volume in bold.

    Parameters
    ----------
    table
        Columns `variant`, `volume` and numbers, as in an experiment's metrics.tsv.
    title
        The heading.
    """
    rows = range(len(table["variant"]))
    variants = shorten_ids([str(variant) for variant in table["variant"]])
    columns = [(_text_cells(variants), "variant"), (_text_cells(table["volume"]), "volume")]
    shown = {name: number for name, number in NUMBERS.items() if name in table and table[name].dtype.kind == "f"}
    columns += [(_number_cells(table[name], table["volume"], number), number.heading) for name, number in shown.items()]
    head = "".join(
        f"<th{' class=text' if k < 2 else ''}>{escape(heading)}</th>" for k, (_, heading) in enumerate(columns)
    )
    body = "\n".join("<tr>" + "".join(cells[row] for cells, _ in columns) + "</tr>" for row in rows)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n"
        "<p>One row for each variant and volume; bold: the best on that volume. "
        "A perfect segmentation has NERL 1 and VOI 0.</p>\n"
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></body></html>\n"
    )


def _text_cells(values: Iterable[str]) -> list[str]:
    return [f"<td class=text>{escape(str(value))}</td>" for value in values]


def _number_cells(values: np.ndarray, volumes: np.ndarray, number: Number) -> list[str]:
    best: set[int] = set()
    if number.high_is_good is not None:
        best = best_rows(values, volumes, highest=number.high_is_good)
    cells = []
    for row, value in enumerate(values):
        text = f"{value / number.unit:,.{number.digits}f}" if np.isfinite(value) else ""
        cells.append(f"<td{' class=best' if row in best else ''}>{text}</td>")
    return cells
