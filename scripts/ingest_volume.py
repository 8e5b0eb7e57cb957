"""Check a volume's files, convert them once to chunked OME-Zarr where their format is slow to read, and describe them.

in   raw, labels   zarr.json of a phantom's stores; or made, the folder of a generated volume's; else see `source`
out  volume_json   shape, voxel size, position, and where raw data and labels lie; converted stores beside it
Resumes block by block.
"""

from pathlib import Path

from connectomake.config.settings.data import VolumeSource
from connectomake.stage import run


def main(
    *,
    source: VolumeSource,
    name: str,
    volume_json: Path,
    folder: str = "",
    raw: Path | None = None,
    labels: Path | None = None,
    made: Path | None = None,
    threads: int = 1,
) -> None:
    """Bring one volume into the workflow."""
    from connectomake.ingest.ingest import ingest_volume

    stores = {"raw": raw and raw.parent, "labels": labels and labels.parent}
    if made is not None:
        stores = {"raw": made / "raw.zarr", "labels": made / "labels.zarr"}
    ingest_volume(source, name=name, volume_json=volume_json, folder=folder, threads=threads, **stores)


if __name__ == "__main__":
    run(main)
