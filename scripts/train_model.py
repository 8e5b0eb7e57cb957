"""Train a network on the boxes of a split.

in   split       split.tsv
out  checkpoint  model.ckpt: weights and everything that predicting needs
     metrics     metrics.csv: the course of the training
Resumes from the last state in the run folder; ends with exit code 75 when it was asked to stop (SIGTERM, SIGUSR1), or
when the time of its Slurm job is nearly up.
With train.devices or train.nodes above 1, torchrun or srun starts it once for each process.
"""

import sys
from pathlib import Path

from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.stage import TRY_AGAIN, run


def main(
    *,
    split: Path,
    checkpoint: Path,
    metrics: Path,
    run_folder: Path,
    cfg: TrainConfig,
    augment: AugmentConfig,
    threads: int = 1,
) -> None:
    """Train, or go on training."""
    from connectomake.train.train_model import train_model

    if not train_model(split, checkpoint, metrics, run_folder, cfg, augment, threads):
        sys.exit(TRY_AGAIN)


if __name__ == "__main__":
    run(main)
