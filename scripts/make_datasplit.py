"""Divide the ingested volumes among training, validation, testing and prediction.

in   volumes  volume.json of every volume
out  table    split.tsv: one row per box of voxels, with its role
"""

from pathlib import Path

from connectomake.config.split import SplitConfig
from connectomake.stage import run


def main(*, volumes: list[Path], table: Path, cfg: SplitConfig) -> None:
    """Write the table of boxes and roles."""
    from connectomake.split.datasplit import make_datasplit

    make_datasplit(volumes, cfg, table)


if __name__ == "__main__":
    run(main)
