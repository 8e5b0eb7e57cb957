"""Write the final labels of the blocks of a volume; one of n jobs.

in   affinities  zarr.json of the (C, Z, Y, X) store of affinities
     stitched    JSON file of stitch_blocks
     best        best.yaml of tune_decoding; optional
out  marker      JSON file that says this job is done
to   labels      (Z, Y, X) uint32 or uint64, shared by all jobs; complete once finish_labels has run
Resumes block by block.
"""

from pathlib import Path

from connectomake.config.settings.decode import DecodeConfig
from connectomake.stage import run


def main(
    *,
    affinities: Path,
    stitched: Path,
    marker: Path,
    labels: Path,
    cfg: DecodeConfig,
    best: Path | None = None,
    code: str = "",
    job: int = 0,
    jobs: int = 1,
) -> None:
    """Write this job's share of the blocks."""
    from connectomake.decode.blocks.relabel import relabel_blocks

    cfg, share = cfg.with_best(best), {"job": job, "jobs": jobs}
    relabel_blocks(affinities.parent, labels, stitched, cfg, **share, marker=marker, code=code)


if __name__ == "__main__":
    run(main)
