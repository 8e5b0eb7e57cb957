"""Draw how many voxels of each class there are to learn from, and to validate on.

in   table   class_voxels.tsv of the split
out  figure  PNG
"""

from pathlib import Path

from connectomake.stage import run


def main(*, table: Path, figure: Path, title: str = "voxels of each class") -> None:
    """Draw bars for each class, and a cell for each class and dataset."""
    from connectomake.draw.class_voxels import draw_class_voxels
    from connectomake.draw.figure import save_figure
    from connectomake.draw.tables import read_table

    save_figure(draw_class_voxels(read_table(table), title), figure)


if __name__ == "__main__":
    run(main)
