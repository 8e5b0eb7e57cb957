"""Predict affinities over a volume, block by block; one of n jobs.

in   plan         plan.json of plan_prediction
     volume       volume.json of the ingest stage
     checkpoints  model.ckpt of the train stage, or several
out  marker       JSON file that says this job is done
to   store        (C, Z, Y, X) uint8 or float16, shared by all jobs; complete once finish_prediction has run
Resumes block by block.
"""

from pathlib import Path

from connectomake.config.settings.predict import PredictConfig
from connectomake.stage import run


def main(
    *,
    plan: Path,
    volume: Path,
    checkpoints: list[Path],
    marker: Path,
    store: Path,
    cfg: PredictConfig,
    job: int = 0,
    jobs: int = 1,
    threads: int = 1,
) -> None:
    """Predict this job's share of the blocks."""
    from connectomake.predict.job import predict_blocks

    predict_blocks(plan, volume, checkpoints, store, cfg, job=job, jobs=jobs, threads=threads, marker=marker)


if __name__ == "__main__":
    run(main)
