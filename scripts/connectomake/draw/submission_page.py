"""The local score of a submission as a small web page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from connectomake.draw.page import STYLE
from connectomake.draw.submission_score import PARTS, ClassScore, PairScore, Score

PAGE_STYLE = """
td.bad { color: #b4511a; white-space: normal; min-width: 20em; } td.score { font-weight: 700; }
.overall td, .overall th { font-size: 1.15em; }
details { border-top: 1px solid #ccc; padding: .6em 0; }
summary { cursor: pointer; font-weight: 600; } summary span { font-weight: 400; color: #666; margin-left: 1em; }
"""
KINDS = {True: "objects", False: "voxels"}
NOTES = (
    "Objects: the score is √(F1 · Hausdorff), the latter a mean of distances from 0 (far) to 1 (none). "
    "Voxels: the score is IoU. Counts are pooled over crops. "
    "Gained: what the overall score would rise by if the class were perfect."
)
LEFT_OUT = (
    "Without truth, or with far more objects than truth has, a crop does not count; a class of which all crops are "
    "left out for that scores 1, and that means nothing. What is missing or refused counts as nothing found."
)
TIES = (
    "Several ways to match objects cost the same; the challenge may take another one, and find another sum of "
    "Hausdorff distances"
)


def write_score_page(score: Score, title: str = "") -> str:
    """Write the score as HTML: the overall numbers, a row per class, then a row per class of each crop.

    Parameters
    ----------
    score
        What `read_score` gave.
    title
        The heading.
    """
    heading = escape(title or "local score")
    parts = [_of_all(score), f"<h2>Classes</h2>\n<p>{NOTES}</p>", _of_classes(score), _of_left_out(score)]
    parts += ["<h2>Crops</h2>"]
    parts += [_of_crop(crop, score) for crop in sorted({pair.crop for pair in score.pairs}, key=_count)]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>\n'
        f"<style>{STYLE}{PAGE_STYLE}</style></head>\n<body><h1>{heading}</h1>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _of_all(score: Score) -> str:
    """Write the overall numbers."""
    cells = [("text", score.metric)]
    cells += [("", f"{value:.4f}") for value in (score.overall, score.instance, score.semantic)]
    table = _table(["metric", "overall", "instance", "semantic"], [cells], 1, "overall")
    kinds = " and no ".join(score.missing_kinds)
    return table + (f"<p>No {kinds} class was scored: the overall score is 0 then.</p>\n" if kinds else "")


def _of_classes(score: Score) -> str:
    """Write a row per class."""
    headings = ["class", "counted", "score", *PARTS.values(), "found", "missed", "too many", "crops", "gained", ""]
    return _table(headings, [_class_cells(row) for row in score.classes], 2)


def _class_cells(row: ClassScore) -> list[tuple[str, str]]:
    cells = [("text", row.label), ("text", KINDS[row.is_instance]), ("score", _number(row.score))]
    cells += [("", _number(row.parts.get(part))) for part in PARTS]
    tp, fp, fn = row.counts
    cells += [("", f"{count:,}" if row.pairs else "") for count in (tp, fn, fp)]
    cells += [("", str(len(row.pairs))), ("", "" if row.gain is None else f"+{row.gain:.4f}")]
    return [*cells, ("text bad", row.remark)]


def _of_left_out(score: Score) -> str:
    """List what was not scored as it stands, and where the Hausdorff distance is not certain."""
    said = ""
    if score.left_out:
        keys = ("crop", "class", "status", "reason")
        rows = [
            [("text", entry[key].replace("_", " ") if key == "status" else entry[key]) for key in keys]
            for entry in score.left_out
        ]
        said += f"<h2>Not scored as it stands</h2>\n<p>{LEFT_OUT}</p>\n{_table(keys, rows, len(keys))}"
    if score.ties:
        places = [f"{label} in {crop} (by {by:.2g})" for (crop, label), by in score.ties.items()]
        said += f"<h2>Ties</h2>\n<p>{TIES}: {escape(', '.join(places))}.</p>\n"
    return said


def _of_crop(crop: str, score: Score) -> str:
    """Write a part that opens, with a row per class of a crop, the worst first."""
    pairs = sorted((pair for pair in score.pairs if pair.crop == crop), key=_rank)
    worst = next((pair for pair in pairs if pair.score is not None), None)
    said = f"{len(pairs)} {'class' if len(pairs) == 1 else 'classes'}"
    said += "" if worst is None else f", worst {worst.label} {_number(worst.score)}"
    headings = ["class", "counted", "score", "Hausdorff", "found", "missed", "too many", ""]
    table = _table(headings, [_pair_cells(pair, score) for pair in pairs], 2)
    return f"<details><summary>{escape(crop)}<span>{escape(said)}</span></summary>\n{table}</details>"


def _count(crop: str) -> tuple[int, str]:
    """Order names of crops by their numbers."""
    return len(crop), crop


def _rank(pair: PairScore) -> tuple[float, str]:
    return (-1.0 if pair.score is None else pair.score), pair.label


def _pair_cells(pair: PairScore, score: Score) -> list[tuple[str, str]]:
    remarks = [pair.status.replace("_", " ")] * (pair.status != "scored")
    remarks += ["tie"] * ((pair.crop, pair.label) in score.ties)
    cells = [("text", pair.label), ("text", KINDS[pair.is_instance]), ("score", _number(pair.score))]
    cells += [("", _number(pair.hausdorff)), *(("", f"{count:,}") for count in (pair.tp, pair.fn, pair.fp))]
    return [*cells, ("text bad", ", ".join(remarks))]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[tuple[str, str]]], n_text: int, name: str = "plain") -> str:
    """Write a table; a cell is the names of its styles and its text, and the first columns are text."""
    head = "".join(f"<th{' class=text' if k < n_text else ''}>{escape(text)}</th>" for k, text in enumerate(headings))
    body = "\n".join(
        "<tr>" + "".join(f'<td class="{style}">{escape(text)}</td>' for style, text in row) + "</tr>" for row in rows
    )
    return f"<table class={name}><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>\n"
