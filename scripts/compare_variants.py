"""Gather the metrics of all variants of an experiment, compare its settings and name the best.

in   metrics     metrics.json of every variant and volume; of a challenge PART.score.json of every variant
out  table       TSV: one row per variant and volume
     comparison  TSV: one row per setting (a variant without its seeds), number and role: mean and spread
     summary     JSON: both, and the best setting by each leading number, on validation volumes
"""

from pathlib import Path

from connectomake.stage import run


def main(*, metrics: list[Path], variants: list[str], table: Path, comparison: Path, summary: Path) -> None:
    """Write the comparison; `variants` names the variant of each metrics file, in the same order."""
    from connectomake.measure.compare import best_settings, compare_variants, write_comparison
    from connectomake.measure.spread import spread_of_settings

    rows = compare_variants(metrics, variants)
    settings, best = spread_of_settings(rows), best_settings(rows)
    write_comparison(rows, settings, best, table=table, comparison=comparison, summary=summary)


if __name__ == "__main__":
    run(main)
