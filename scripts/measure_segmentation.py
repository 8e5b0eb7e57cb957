"""Measure one segmentation against the skeletons and the truth labels of its volume.

in   labels     (Z, Y, X) integer store (its zarr.json)
     volume     volume.json of the ingested volume, with or without truth labels
     skeletons  npz; optional
out  metrics    JSON: the numbers, and what they were measured on
     table      TSV: one row per skeleton
     errors     TSV: the worst splits, mergers and missing parts, with their places
"""

from pathlib import Path

from connectomake.config.settings.measure import MeasureConfig
from connectomake.stage import run


def main(
    *,
    labels: Path,
    volume: Path,
    metrics: Path,
    table: Path,
    errors: Path,
    cfg: MeasureConfig,
    skeletons: Path | None = None,
    threads: int = 1,
) -> None:
    """Write the metrics of one segmented volume."""
    from connectomake.files import write_json
    from connectomake.measure.segmentation import measure_segmentation
    from connectomake.tables import write_columns

    found = measure_segmentation(labels, volume, skeletons, cfg, threads=threads)
    write_columns(table, found.per_skeleton)
    write_columns(errors, found.errors)
    write_json(metrics, found.numbers)


if __name__ == "__main__":
    run(main)
