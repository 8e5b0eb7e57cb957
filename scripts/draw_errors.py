"""Draw the worst errors of one segmentation.

in   errors      errors.tsv of the measure stage
     volume      volume.json of the ingest stage; its labels, where it has any, are the truth
     labels      (Z, Y, X) integer store (its zarr.json)
     affinities  (C, Z, Y, X) uint8 or float16 store (its zarr.json); optional
     skeletons   npz of truth skeletons, drawn as lines; optional
out  figure      PNG
"""

from pathlib import Path

from connectomake.stage import run


def main(
    *,
    errors: Path,
    volume: Path,
    labels: Path,
    figure: Path,
    affinities: Path | None = None,
    skeletons: Path | None = None,
    title: str = "",
    worst: int = 3,
) -> None:
    """Draw the worst so many errors of each kind."""
    from connectomake.draw.errors.figure import draw_errors
    from connectomake.draw.errors.views import read_errors
    from connectomake.draw.figure import MOST_BYTES, save_figure
    from connectomake.draw.sources import head, open_layers
    from connectomake.volumes.skeletons import load_skeletons

    found, layers = read_errors(errors, worst), open_layers(volume, affinities, labels)
    truth = None if skeletons is None else load_skeletons(skeletons)
    save_figure(draw_errors(found, layers, head(layers.name, title), skeletons=truth), figure, 2 * MOST_BYTES)


if __name__ == "__main__":
    run(main)
