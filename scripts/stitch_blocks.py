"""Join the components of all blocks along their faces, and give every object its id.

in   affinities  zarr.json of the (C, Z, Y, X) store of affinities
     best        best.yaml of tune_decoding; optional
out  stitched    JSON file that names the table of ids
to   labels      the store of labels, which relabel_blocks writes
"""

from pathlib import Path

from connectomake.config.settings.decode import DecodeConfig
from connectomake.stage import run


def main(
    *,
    affinities: Path,
    stitched: Path,
    labels: Path,
    cfg: DecodeConfig,
    best: Path | None = None,
    code: str = "",
) -> None:
    """Stitch one volume."""
    from connectomake.decode.blocks.stitch import stitch_blocks

    stitch_blocks(affinities.parent, labels, cfg.with_best(best), stitched, code=code)


if __name__ == "__main__":
    run(main)
