"""The local score of a submission as a small web page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from connectomake.draw.html import Cell, HtmlTable, head_cells, render, text_cells
from connectomake.draw.submission.score import PARTS, ClassScore, PairScore, Score

KINDS = {True: "objects", False: "voxels"}


def write_score_page(score: Score, title: str = "") -> str:
    """Write the score as HTML: the overall numbers, a row per class, then a row per class of each crop.

    Parameters
    ----------
    score
        What `read_score` gave.
    title
        The heading.
    """
    return render(
        "submission.html.j2",
        title or "local score",
        overall=_of_all(score),
        missing_kinds=score.missing_kinds,
        classes=_of_classes(score),
        left_out=_of_left_out(score),
        ties=[f"{label} in {crop} (by {by:.2g})" for (crop, label), by in score.ties.items()],
        crops=[_of_crop(crop, score) for crop in sorted({pair.crop for pair in score.pairs}, key=_count)],
    )


def _of_all(score: Score) -> HtmlTable:
    """Return the overall numbers."""
    cells = [Cell(score.metric, "text")]
    cells += [Cell(f"{value:.4f}") for value in (score.overall, score.instance, score.semantic)]
    return _table(["metric", "overall", "instance", "semantic"], [cells], 1, "overall")


def _of_classes(score: Score) -> HtmlTable:
    """Return a row per class."""
    headings = ["class", "counted", "score", *PARTS.values(), "found", "missed", "too many", "crops", "gained", ""]
    return _table(headings, [_class_cells(row) for row in score.classes], 2)


def _class_cells(row: ClassScore) -> list[Cell]:
    cells = [*text_cells([row.label, KINDS[row.is_instance]]), Cell(_number(row.score), "score")]
    cells += [Cell(_number(row.parts.get(part))) for part in PARTS]
    tp, fp, fn = row.counts
    cells += [Cell(f"{count:,}" if row.pairs else "") for count in (tp, fn, fp)]
    cells += [Cell(str(len(row.pairs))), Cell("" if row.gain is None else f"+{row.gain:.4f}")]
    return [*cells, Cell(row.remark, "text bad")]


def _of_left_out(score: Score) -> HtmlTable:
    """Return a row for each array that was not scored as it stands."""
    keys = ("crop", "class", "status", "reason")
    entries = [{**entry, "status": entry["status"].replace("_", " ")} for entry in score.left_out]
    return _table(keys, [text_cells(entry[key] for key in keys) for entry in entries], len(keys))


def _of_crop(crop: str, score: Score) -> dict[str, Any]:
    """Return the name of a crop, its score in words, and a row for each of its classes, the worst first."""
    pairs = sorted((pair for pair in score.pairs if pair.crop == crop), key=_rank)
    worst = next((pair for pair in pairs if pair.score is not None), None)
    summary = f"{len(pairs)} {'class' if len(pairs) == 1 else 'classes'}"
    summary += "" if worst is None else f", worst {worst.label} {_number(worst.score)}"
    headings = ["class", "counted", "score", "Hausdorff", "found", "missed", "too many", ""]
    return {"name": crop, "summary": summary, "table": _table(headings, [_pair_cells(p, score) for p in pairs], 2)}


def _count(crop: str) -> tuple[int, str]:
    """Order names of crops by their numbers."""
    return len(crop), crop


def _rank(pair: PairScore) -> tuple[float, str]:
    return (-1.0 if pair.score is None else pair.score), pair.label


def _pair_cells(pair: PairScore, score: Score) -> list[Cell]:
    remarks = [pair.status.replace("_", " ")] * (pair.status != "scored")
    remarks += ["tie"] * ((pair.crop, pair.label) in score.ties)
    cells = [*text_cells([pair.label, KINDS[pair.is_instance]]), Cell(_number(pair.score), "score")]
    cells += [Cell(_number(pair.hausdorff)), *(Cell(f"{count:,}") for count in (pair.tp, pair.fn, pair.fp))]
    return [*cells, Cell(", ".join(remarks), "text bad")]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[Cell]], n_text: int, style: str = "plain") -> HtmlTable:
    """Return a table of which the first columns are text."""
    return HtmlTable(head_cells(headings, range(n_text)), list(rows), style)
