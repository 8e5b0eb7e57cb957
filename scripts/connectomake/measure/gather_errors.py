"""Gather the worst errors of many segmentations into one table, each with the link that opens its place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from math import inf
from pathlib import Path

from connectomake.errors import DataError
from connectomake.measure.error_table import COLUMNS, KINDS
from connectomake.tables import read_table

TextTable = dict[str, list[str]]


def gather_errors(
    errors: Sequence[Path], variants: Sequence[str], volumes: Sequence[str], links: Sequence[Path] = ()
) -> TextTable:
    """Put the rows of all errors.tsv into one table, and find the link of each.

    Everything stays text: ids above 2**53 and positions come out as they were written.

    Parameters
    ----------
    errors
        errors.tsv of the measure stage.
    variants, volumes
        What each file is of, in the same order.
    links
        links.tsv of each, in the same order (columns `kind`, `rank`, `link`), or none at all.

    Returns
    -------
    dict
        `variant`, `volume`, the columns of errors.tsv, `link` (empty where there is none); kind by kind, each
        the worst first: what lost path by that, then what lost voxels; ties in the order given.

    Raises
    ------
    MissingDataError
        When a file is not there.
    DataError
        When the lists differ in length, or a file is no table of errors.
    """
    counts = (len(variants), len(volumes), len(links) or len(errors))
    if counts != (len(errors),) * 3:
        raise DataError(
            "every table of errors needs its variant, its volume and its links, or none has links",
            expected=len(errors),
            got=f"{counts[0]} variants, {counts[1]} volumes, {counts[2]} tables of links",
        )
    rows = []
    for path, variant, volume, link in zip(errors, variants, volumes, links or repeat(None), strict=False):
        link_of = _read_links(link)
        for row in read_table(path, COLUMNS, "errors"):
            found = {"variant": variant, "volume": volume} | {name: row[name] for name in COLUMNS}
            rows.append(found | {"link": link_of.get((row["kind"], row["rank"]), "")})
    rows.sort(key=_by_loss)
    return {name: [row[name] for row in rows] for name in ("variant", "volume", *COLUMNS, "link")}


def whole_links(
    variants: Sequence[str], volumes: Sequence[str], links: Sequence[Path] = ()
) -> dict[tuple[str, str], str]:
    """Return the link to the whole of each segmentation, by variant and volume; empty where there is none.

    Parameters
    ----------
    variants, volumes, links
        As of `gather_errors`.
    """
    files = links or repeat(None)
    return {
        (variant, volume): _read_links(link).get(("whole", "0"), "")
        for variant, volume, link in zip(variants, volumes, files, strict=False)
    }


def _by_loss(row: dict[str, str]) -> tuple[int, float, float, int]:
    lost_nm, lost_vx = (-float(row[name]) if row[name] else inf for name in ("lost_nm", "lost_vx"))
    return KINDS.index(row["kind"]), lost_nm, lost_vx, int(row["rank"])


def _read_links(path: Path | None) -> dict[tuple[str, str], str]:
    rows = [] if path is None else read_table(path, ("kind", "rank", "link"), "links")
    return {(row["kind"], row["rank"]): row["link"] for row in rows}
