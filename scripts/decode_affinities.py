"""Turn predicted affinities, or other maps, into labels, the whole volume in memory.

in   affinities  zarr.json of the (C, Z, Y, X) store of affinities
     best        best.yaml of tune_decoding; optional
out  labels      zarr.json of the (Z, Y, X) uint32 store of labels (uint64 where ids need it)
"""

from pathlib import Path

from connectomake.config.settings.decode import DecodeConfig
from connectomake.stage import run


def main(*, affinities: Path, labels: Path, cfg: DecodeConfig, best: Path | None = None, threads: int = 1) -> None:
    """Decode one volume."""
    from connectomake.decode.whole import decode_store

    decode_store(affinities.parent, labels.parent, cfg.with_best(best), threads=threads)


if __name__ == "__main__":
    run(main)
