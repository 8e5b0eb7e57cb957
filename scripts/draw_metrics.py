"""Draw the metrics of an experiment, and write them as tables for the report.

in   table       metrics.tsv: one row per variant and volume
     comparison  comparison.tsv: one row per setting and number
out  figure      PNG
     page        HTML
"""

from pathlib import Path

from connectomake.stage import run


def main(*, table: Path, comparison: Path, figure: Path, page: Path, title: str = "results") -> None:
    """Draw VOI and scores of every setting, and curves over a swept number."""
    from connectomake.draw.experiment.comparison import Comparison
    from connectomake.draw.experiment.figure import draw_results
    from connectomake.draw.experiment.page import write_page
    from connectomake.draw.figure import save_figure
    from connectomake.draw.tables import read_table

    rows, settings = read_table(table), read_table(comparison)
    save_figure(draw_results(Comparison.of_tables(rows, settings), title), figure)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(write_page(rows, settings, title), encoding="utf-8")


if __name__ == "__main__":
    run(main)
