"""Gather the metrics of all variants of an experiment into one table and name the best.

in   metrics   metrics.json of every variant and volume
out  table     TSV: one row per variant and volume
     summary   JSON: the same rows, and the best variant by each leading number
"""

from pathlib import Path

from connectomake.stage import run


def main(*, metrics: list[Path], variants: list[str], table: Path, summary: Path) -> None:
    """Write the comparison; `variants` names the variant of each metrics file, in the same order."""
    from connectomake.measure.compare import compare_variants, write_comparison

    rows, best = compare_variants(metrics, variants)
    write_comparison(rows, best, table, summary)


if __name__ == "__main__":
    run(main)
