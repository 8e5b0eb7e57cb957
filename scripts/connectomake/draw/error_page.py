"""The worst errors of an experiment as a small web page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from connectomake.draw.figure import INK, MERGE, SPLIT, format_length
from connectomake.draw.page import STYLE
from connectomake.draw.tables import shorten_ids

MOST_ROWS, FEWEST_ROWS = 2000, 5
"""Rows on a page, but of each kind on each volume at least the fewest: a link may take 2 KB, and so may the report."""

ERROR_STYLE = f"""
details {{ border-top: 1px solid #ccc; padding: .6em 0; }} summary {{ cursor: pointer; font-weight: 600; }}
summary span {{ font-weight: 400; color: #666; margin-left: 1em; }}
h2 {{ font-size: 1em; margin: 1em 0 .2em; }} h2 a {{ font-weight: 400; margin-left: .8em; }}
.pair {{ display: flex; flex-wrap: wrap; gap: .6em 2.5em; align-items: flex-start; }}
caption {{ text-align: left; font-weight: 600; padding: .4em .7em; white-space: nowrap; }}
caption.split {{ color: {SPLIT}; }} caption.merge {{ color: {MERGE}; }}
caption.missing {{ color: {INK}; }}
code {{ background: #f2f2f2; padding: .15em .4em; user-select: all; }} a {{ color: #1c6b49; }}
"""
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
    for k, (variant, name) in enumerate(zip(variants, shorten_ids(variants), strict=True)):
        here = {key: found for key, found in rows.items() if key[0] == variant}
        volumes = "\n".join(
            _write_volume(key[1], found, (whole or {}).get(key, ""), most) for key, found in here.items()
        )
        worst = _sum_up([row for found in here.values() for row in found])
        head = f"<summary>{escape(name)}<span>{worst}</span></summary>"
        parts.append(f"<details{' open' if k == 0 else ''}>{head}\n{volumes}\n</details>")
    serve = f"<p>Links need the data: run <code>{escape(command)}</code> first.</p>\n" if command else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{STYLE}{ERROR_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n"
        "<p>The worst splits, mergers and parts without a label of each variant, by what each one costs. "
        "Lengths are path of truth skeletons. Voxels are counted where there are no skeletons, or none shows an error. "
        "All rows, with positions in nm, are in errors.tsv.</p>\n"
        f"{serve}" + "\n".join(parts) + "\n</body></html>\n"
    )


def _sum_up(rows: Sequence[Row]) -> str:
    """Say how bad the worst error of each kind is."""
    found = []
    for kind, (one, _) in NAMES.items():
        of_kind = [row for row in rows if row["kind"] == kind]
        if of_kind:
            found.append(f"worst {one} {_cost(max(of_kind, key=_loss))}")
    return ", ".join(found) or "no errors"


def _write_volume(volume: str, rows: Sequence[Row], whole: str, most: int) -> str:
    tables = "\n".join(_write_table([row for row in rows if row["kind"] == kind], kind, most) for kind in NAMES)
    return f"<h2>{escape(volume)}{_link(whole, 'open all of it')}</h2>\n<div class=pair>\n{tables}\n</div>"


def _write_table(rows: Sequence[Row], kind: str, most: int) -> str:
    one, many = NAMES[kind]
    if not rows:
        return f"<table><caption class={kind}>no {many}</caption></table>"
    columns = COLUMNS[kind]
    headings = [one, "lost", *columns, "voxel z, y, x", ""]
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = []
    for row in rows[:most]:
        voxel = ", ".join(row[f"{axis}_vx"] for axis in "zyx")
        cells = [row["rank"], _cost(row), *(row[name] for name in columns.values()), voxel]
        text = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body.append(f"<tr>{text}<td>{_link(row.get('link', ''), 'open')}</td></tr>")
    shown = f"the worst {most} of {len(rows)} {many}" if len(rows) > most else many
    lines = "\n".join(body)
    caption = f"<caption class={kind}>{shown}</caption>"
    return f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table>"


def _loss(row: Row) -> tuple[bool, float]:
    return bool(row["lost_nm"]), float(row["lost_nm"] or row["lost_vx"])


def _cost(row: Row) -> str:
    return format_length(float(row["lost_nm"])) if row["lost_nm"] else f"{int(row['lost_vx']):,} voxels"


def _link(target: str, text: str) -> str:
    if not target.startswith(("http://", "https://")):
        return ""
    return f'<a href="{escape(target)}" target="_blank" rel="noopener">{text}</a>'
