"""Read a crop of the CellMap challenge: images and ground truth of all classes on voxels of the network's size.

in   manifest     crops to submit: voxels and classes of a crop without labels
     class_table  classes.csv of the toolbox: what classes are made of
out  volume_json  shape, voxel size, position, classes and codes; raw.zarr (only if resampled) and labels.zarr beside it
"""

from pathlib import Path

from connectomake.config.settings.data import VolumeSource
from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.stage import run


def main(
    *,
    source: VolumeSource,
    cfg: CellmapConfig,
    name: str,
    volume_json: Path,
    folder: str = "",
    manifest: Path | None = None,
    class_table: Path | None = None,
    threads: int = 1,
) -> None:
    """Bring one crop into the workflow."""
    from connectomake.ingest.crops.ingest import ingest_crop

    paths = {"manifest": manifest, "class_table": class_table}
    ingest_crop(source, cfg, name=name, volume_json=volume_json, folder=folder, threads=threads, **paths)


if __name__ == "__main__":
    run(main)
