"""Draw planes of one volume: raw, affinities, labels and truth side by side.

in   volume      volume.json of the ingest stage; its labels, where it has any, are the truth
     affinities  (C, Z, Y, X) uint8 or float16 store (its zarr.json); optional
     labels      (Z, Y, X) integer store (its zarr.json); optional
     skeletons   npz of truth skeletons, drawn as dots; optional
out  figure      PNG
"""

from pathlib import Path

from connectomake.stage import run


def main(
    *,
    volume: Path,
    figure: Path,
    affinities: Path | None = None,
    labels: Path | None = None,
    skeletons: Path | None = None,
    title: str = "",
    slices: int = 1,
    field_vx: int = 2048,
) -> None:
    """Draw `slices` xy planes, one xz and one yz plane, each of at most `field_vx` voxels a side."""
    from connectomake.draw.figure import save_figure
    from connectomake.draw.sources import head, open_layers, read_nodes
    from connectomake.draw.volume.slices import draw_slices

    layers, nodes = open_layers(volume, affinities, labels), read_nodes(skeletons)
    drawn = draw_slices(layers, head(layers.name, title), skeleton_pos_nm=nodes, slices=slices, field_vx=field_vx)
    save_figure(drawn, figure)


if __name__ == "__main__":
    run(main)
