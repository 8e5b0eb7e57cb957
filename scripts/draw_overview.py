"""Draw one wide picture of one volume: raw, affinities, segmentation, truth, neurites and numbers.

in   volume      volume.json of the ingest stage; its labels, where it has any, are the truth
     affinities  (C, Z, Y, X) uint8 or float16 store (its zarr.json)
     labels      (Z, Y, X) integer store (its zarr.json)
     metrics     metrics.json of the measure stage; optional
out  figure      PNG
"""

from pathlib import Path

from connectomake.stage import run


def main(
    *,
    volume: Path,
    affinities: Path,
    labels: Path,
    figure: Path,
    metrics: Path | None = None,
    title: str = "",
    objects: int = 24,
    field_vx: int = 512,
) -> None:
    """Draw the middle of the volume, at most `field_vx` voxels a side, and its `objects` longest neurites."""
    from connectomake.draw.figure import save_figure
    from connectomake.draw.sources import head, open_layers
    from connectomake.draw.volume.overview import draw_overview
    from connectomake.files import read_json

    numbers = read_json(metrics) if metrics else {}
    layers = open_layers(volume, affinities, labels)
    save_figure(draw_overview(layers, head(layers.name, title), numbers, objects=objects, field_vx=field_vx), figure)


if __name__ == "__main__":
    run(main)
