"""Label the blocks of a volume one by one, each by itself; one of n jobs.

in   affinities  zarr.json of the (C, Z, Y, X) store of affinities
     best        best.yaml of tune_decoding; optional
out  marker      JSON file that says this job is done
to   labels      the store of labels; what lies between is put beside it, in parts/
Resumes block by block.
"""

from pathlib import Path

from connectomake.config.settings.decode import DecodeConfig
from connectomake.stage import run


def main(
    *,
    affinities: Path,
    marker: Path,
    labels: Path,
    cfg: DecodeConfig,
    best: Path | None = None,
    code: str = "",
    job: int = 0,
    jobs: int = 1,
    threads: int = 1,
) -> None:
    """Label this job's share of the blocks."""
    from connectomake.decode.blocks.label import label_blocks

    cfg, share = cfg.with_best(best), {"job": job, "jobs": jobs}
    label_blocks(affinities.parent, labels, cfg, **share, threads=threads, marker=marker, code=code)


if __name__ == "__main__":
    run(main)
