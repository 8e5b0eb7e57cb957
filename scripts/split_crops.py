"""Choose the crops of the CellMap challenge to validate on, so that each class has its share.

in   volumes    volume.json of every annotated crop
out  datasplit  datasplit.csv, which the challenge's own loader reads too
     table      class_voxels.tsv: one row per crop and class
     manifest   validation_manifest.csv: what is to be segmented in validation
"""

from pathlib import Path

from connectomake.config.settings.split import SplitConfig
from connectomake.stage import run


def main(*, volumes: list[Path], datasplit: Path, table: Path, manifest: Path, cfg: SplitConfig) -> None:
    """Write which crops are trained on, which validate, and what they hold."""
    from connectomake.split.crops import split_crops

    split_crops(volumes, cfg, datasplit=datasplit, table=table, manifest=manifest)


if __name__ == "__main__":
    run(main)
