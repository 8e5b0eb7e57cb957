"""Divide the ingested volumes among training, validation, testing and prediction.

in   volumes    volume.json of every volume
     data       their data config: how sources are mixed in training
     datasplit  datasplit.csv: which crops of a challenge are trained on
out  table      split.tsv: one row per box of voxels, with its role
"""

from pathlib import Path

from connectomake.config.settings.data import DataConfig
from connectomake.config.settings.split import SplitConfig
from connectomake.stage import run


def main(
    *, volumes: list[Path], table: Path, cfg: SplitConfig, data: DataConfig | None = None, datasplit: Path | None = None
) -> None:
    """Write the table of boxes and roles."""
    from connectomake.split.datasplit import make_datasplit

    make_datasplit(volumes, cfg, table, data, datasplit)


if __name__ == "__main__":
    run(main)
