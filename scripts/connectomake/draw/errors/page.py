"""The worst errors of an experiment as a small web page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectomake.draw.figure import INK, MERGE, SPLIT, format_length
from connectomake.draw.html import Cell, HtmlTable, head_cells, render
from connectomake.draw.tables import shorten_ids

MOST_ROWS, FEWEST_ROWS = 2000, 5
"""Rows on a page, but of each kind on each volume at least the fewest: a link may take 2 KB, and so may the report."""
COLOURS = {"split": SPLIT, "merge": MERGE, "missing": INK}
NAMES = {"split": ("split", "splits"), "merge": ("merger", "mergers"), "missing": ("missing part", "missing parts")}
COLUMNS = {
    "split": {"truth": "truth_a", "segment": "segment_a", "torn off it": "segment_b"},
    "merge": {"segment": "segment_a", "truth": "truth_a", "joined to it": "truth_b"},
    "missing": {"truth": "truth_a"},
}
Row = Mapping[str, str]
Key = tuple[str, str]


def write_error_page(
    table: Mapping[str, Sequence[str]],
    title: str,
    *,
    command: str = "",
    whole: Mapping[Key, str] | None = None,
) -> str:
    """Write the errors of all variants as HTML: for each variant a part that opens, in it errors by volume and kind.

    Parameters
    ----------
    table
        Text columns `variant`, `volume`, those of errors.tsv and `link`, the worst first. Links that do not begin with
        http are left out.
    title
        The heading.
    command
        What to run in a terminal so that links find the data; "" where there is nothing to run.
    whole
        (variant, volume) -> link to the whole of it, "" for none, in the order of the page. What has no errors is
        named here alone; by default, what is in the table.
    """
    rows: dict[Key, list[Row]] = {key: [] for key in whole or {}}
    for values in zip(*table.values(), strict=True):
        row = dict(zip(table, values, strict=True))
        rows.setdefault((row["variant"], row["volume"]), []).append(row)
    most = max(FEWEST_ROWS, MOST_ROWS // (len(NAMES) * max(1, len(rows))))
    variants = list(dict.fromkeys(variant for variant, _ in rows))
    parts = []
    for variant, name in zip(variants, shorten_ids(variants), strict=True):
        here = {key: found for key, found in rows.items() if key[0] == variant}
        volumes = [_describe_volume(key[1], found, (whole or {}).get(key, ""), most) for key, found in here.items()]
        worst = _sum_up([row for found in here.values() for row in found])
        parts.append({"name": name, "worst": worst, "volumes": volumes})
    return render("errors.html.j2", title, colours=COLOURS, command=command, variants=parts)


def _sum_up(rows: Sequence[Row]) -> str:
    """Return how bad the worst error of each kind is."""
    found = []
    for kind, (one, _) in NAMES.items():
        of_kind = [row for row in rows if row["kind"] == kind]
        if of_kind:
            found.append(f"worst {one} {_cost(max(of_kind, key=_loss))}")
    return ", ".join(found) or "no errors"


def _describe_volume(volume: str, rows: Sequence[Row], whole: str, most: int) -> dict[str, Any]:
    tables = [_table([row for row in rows if row["kind"] == kind], kind, most) for kind in NAMES]
    return {"name": volume, "whole": whole, "tables": tables}


def _table(rows: Sequence[Row], kind: str, most: int) -> HtmlTable:
    one, many = NAMES[kind]
    if not rows:
        return HtmlTable([], [], kind, f"no {many}")
    columns = COLUMNS[kind]
    shown = f"the worst {most} of {len(rows)} {many}" if len(rows) > most else many
    head = head_cells([one, "lost", *columns, "voxel z, y, x", ""], ())
    return HtmlTable(head, [_cells(row, columns) for row in rows[:most]], kind, shown)


def _cells(row: Row, columns: Mapping[str, str]) -> list[Cell]:
    voxel = ", ".join(row[f"{axis}_vx"] for axis in "zyx")
    texts = [row["rank"], _cost(row), *(row[name] for name in columns.values()), voxel]
    return [*map(Cell, texts), Cell("open", link=row.get("link", ""))]


def _loss(row: Row) -> tuple[bool, float]:
    return bool(row["lost_nm"]), float(row["lost_nm"] or row["lost_vx"])


def _cost(row: Row) -> str:
    return format_length(float(row["lost_nm"])) if row["lost_nm"] else f"{int(row['lost_vx']):,} voxels"
