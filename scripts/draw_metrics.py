"""Draw the metrics of an experiment, and write them as a table for the report.

in   table   metrics.tsv: one row per variant and volume
out  figure  PNG
     page    HTML
"""

from pathlib import Path

from connectomake.stage import run


def main(*, table: Path, figure: Path, page: Path, title: str = "results") -> None:
    """Draw VOI and NERL of every variant, and curves over a swept number."""
    from connectomake.draw.figure import save_figure
    from connectomake.draw.page import write_page
    from connectomake.draw.results import draw_results
    from connectomake.draw.tables import read_table

    rows = read_table(table)
    save_figure(draw_results(rows, title), figure)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(write_page(rows, title), encoding="utf-8")


if __name__ == "__main__":
    run(main)
