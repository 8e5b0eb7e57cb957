"""Check that every block of labels is written, declare their store complete, and remove what lay between.

in   affinities  zarr.json of the (C, Z, Y, X) store of affinities
     stitched    JSON file of stitch_blocks
     best        best.yaml of tune_decoding; optional
out  labels      zarr.json of the store, written last
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
    """Check the ledger and write the store's attributes."""
    from connectomake.decode.blocks.relabel import finish_labels

    finish_labels(affinities.parent, labels.parent, stitched, cfg.with_best(best), code=code)


if __name__ == "__main__":
    run(main)
