"""Gather the worst errors of all variants of an experiment into one table and one page.

in   errors  errors.tsv of every variant and volume
     links   links.tsv of each, in the same order; optional
out  table   TSV: the rows of all, worst first, with variant, volume and link
     page    HTML: the same, by variant and volume
"""

from pathlib import Path

from connectomake.stage import run


def main(
    *,
    errors: list[Path],
    variants: list[str],
    volumes: list[str],
    table: Path,
    page: Path,
    links: list[Path] = [],  # noqa: B006 - never changed
    title: str = "worst errors",
    command: str = "",
) -> None:
    """Write table and page; `variants` and `volumes` name what each file is of, `command` serves the stores."""
    from connectomake.draw.errors.page import write_error_page
    from connectomake.measure.gather_errors import gather_errors, whole_links
    from connectomake.tables import write_columns

    rows, whole = gather_errors(errors, variants, volumes, links), whole_links(variants, volumes, links)
    write_columns(table, rows)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(write_error_page(rows, title, command=command, whole=whole), encoding="utf-8")


if __name__ == "__main__":
    run(main)
