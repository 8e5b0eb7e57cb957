"""The numbers of a generator as a small web page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectomake.draw.html import Cell, HtmlTable, head_cells, render

ALL = "*"
CODES = ("used_codes", "code_perplexity")
NAMES = {
    "psnr_db": "PSNR (dB)",
    "ssim": "SSIM",
    "seam_ratio": "seam ratio",
    "used_codes": "share of codes used",
    "code_perplexity": "perplexity of codes",
    "frechet_distance": "Frechet distance",
    "rbf_mmd": "MMD², Gaussian kernel",
    "ms_ssim": "MS-SSIM of pairs",
    "nearest_latent": "distance to the nearest learnt latents",
    "histogram_distance": "distance of grey values",
    "mean": "mean grey value",
    "std": "standard deviation",
    "gradient": "gradient",
}
GOOD = {"higher": "higher is better", "lower": "lower is better", "none": "near real is good"}


def write_synthesis_page(numbers: dict[str, Any], title: str) -> str:
    """Write the numbers as HTML: reconstructions, then made beside real volumes, class by class.

    Parameters
    ----------
    numbers
        metrics.json of the rule `generation_metrics`.
    title
        The heading.
    """
    rows = numbers["rows"]
    own = [row for row in rows if _stage(row["metric"])[0] or row["metric"] in CODES]
    others = [row for row in rows if row not in own]
    tables = {"reconstructions": _of_stages(own), "generated": _of_volumes(others)}
    return render("synthesis.html.j2", title, **tables)


def _of_stages(rows: Sequence[dict[str, Any]]) -> HtmlTable:
    """Return a row for each class and number, both stages side by side."""
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        stage, metric = _stage(row["metric"])
        lines.setdefault((row["class"], row["shape_zyx_vx"], metric), {})[stage or "stage2"] = row
    cells = []
    for (class_name, shape, metric), stages in lines.items():
        row = stages["stage2"]
        values = [_number(stages[stage]["value"]) if stage in stages else "" for stage in ("stage1", "stage2")]
        cells.append(
            [_name(class_name), _name(shape), NAMES.get(metric, metric), *values, row["n"], GOOD[row["better"]]]
        )
    return _table(("class", "shape (z, y, x)", "number", "stage 1", "stage 2", "volumes", ""), cells, (0, 1, 2, 6))


def _of_volumes(rows: Sequence[dict[str, Any]]) -> HtmlTable:
    """Return a row for each class and number, made beside real."""
    cells = [
        [
            *(_name(row[key]) for key in ("class", "shape_zyx_vx")),
            NAMES.get(row["metric"], row["metric"]),
            *(_number(row[key]) for key in ("value", "reference")),
            row["n"],
            row["n_reference"],
            row["features"],
            GOOD[row["better"]],
        ]
        for row in rows
    ]
    headings = ("class", "shape (z, y, x)", "number", "generated", "real", "n", "n real", "of", "")
    return _table(headings, cells, (0, 1, 2, 7, 8))


def _stage(metric: str) -> tuple[str, str]:
    """Take the stage off the name of a number; empty where there is none."""
    stage, _, rest = metric.partition("_")
    return (stage, rest) if stage in ("stage1", "stage2") else ("", metric)


def _name(text: str) -> str:
    return "all" if text == ALL else text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]], texts: Sequence[int]) -> HtmlTable:
    head = head_cells(headings, texts)
    return HtmlTable(head, [[Cell(str(value), of.style) for value, of in zip(row, head, strict=True)] for row in rows])
