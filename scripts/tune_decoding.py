"""Choose decode settings by the validation volumes.

in   affinities  zarr.json of the stores of predictions, one per volume
     volumes     volume.json of each, in the same order
     skeletons   npz, each beside its volume.json; optional
out  best        YAML preset: the settings chosen
     table       TSV: every metric of every candidate on every volume; figure: PNG of it
"""

from pathlib import Path

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.measure import MeasureConfig
from connectomake.stage import run


def main(
    *,
    affinities: list[Path],
    volumes: list[Path],
    best: Path,
    table: Path,
    figure: Path,
    cfg: DecodeConfig,
    measure: MeasureConfig,
    skeletons: list[Path] = [],  # noqa: B006 - never changed
    study: Path | None = None,
    threads: int = 1,
) -> None:
    """Write the best settings, and what all candidates gave."""
    from connectomake.tune.decoding import tune_decoding
    from connectomake.tune.results import write_results

    stores = [file.parent for file in affinities]
    tuned = tune_decoding(stores, volumes, skeletons, cfg, measure, study=study, threads=threads)
    write_results(tuned, best, table, figure)


if __name__ == "__main__":
    run(main)
