"""Draw the local score of a submission: its classes, its best and worst crops, and a table of both.

in   scores   score.json of the submit stage
     volumes  volume.json of each crop
     crops    crop.json of each crop; its arrays lie beside it
     truth    folder with cropN/CLASS: labels of crops of which volume.json names none; optional
out  figure   PNG: the score of each class, and what it would add
     slices   PNG: the worst and the best classes of crops
     page     HTML
"""

from pathlib import Path

from connectomake.stage import run

Paths = list[Path]


def main(
    *, scores: Path, volumes: Paths, crops: Paths, figure: Path, slices: Path, page: Path, truth: Path | None = None
) -> None:
    """Draw the numbers and the examples, and write the page."""
    from connectomake.draw.figure import MOST_BYTES, save_figure
    from connectomake.draw.submission.examples import draw_examples
    from connectomake.draw.submission.figure import draw_scores
    from connectomake.draw.submission.page import write_score_page
    from connectomake.draw.submission.score import read_score
    from connectomake.draw.submission.sources import open_crops, submitted_classes
    from connectomake.draw.submission.views import choose_examples, read_views

    score, opened = read_score(scores, submitted_classes(crops)), open_crops(volumes, crops, truth)
    save_figure(draw_scores(score), figure)
    save_figure(draw_examples(read_views(choose_examples(score, opened), opened)), slices, 3 * MOST_BYTES)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(write_score_page(score), encoding="utf-8")


if __name__ == "__main__":
    run(main)
