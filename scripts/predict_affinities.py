"""Predict affinities over a volume, block by block; one of n jobs.

in   volume      volume.json of the ingest stage
     checkpoint  model.ckpt of the train stage
out  marker      JSON file that says this job is done
to   store       (C, Z, Y, X) uint8 probabilities x 255, shared by all jobs; complete once finish_prediction has run
Resumes block by block.
"""

from pathlib import Path

from connectomake.config.predict import PredictConfig
from connectomake.stage import run


def main(
    *,
    volume: Path,
    checkpoint: Path,
    marker: Path,
    store: Path,
    cfg: PredictConfig,
    job: int = 0,
    jobs: int = 1,
    threads: int = 1,
) -> None:
    """Predict this job's share of the blocks."""
    from connectomake.predict.job import predict_blocks

    predict_blocks(volume, checkpoint, store, cfg, job=job, jobs=jobs, threads=threads, marker=marker)


if __name__ == "__main__":
    run(main)
