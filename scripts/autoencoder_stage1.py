"""Train the autoencoder of a generator on random patches of examples.

in   examples    examples.tsv
out  checkpoint  model.ckpt: the autoencoder, and everything that using it needs
     metrics     metrics.csv: the course of the training
Resumes from the last state in the run folder; ends with exit code 75 when it was asked to stop (SIGTERM, SIGUSR1), or
when the time of its Slurm job is nearly up.
With stage1.devices above 1, torchrun starts it once for each process.
"""

import sys
from pathlib import Path

from connectomake.config.settings.synth import SynthConfig
from connectomake.stage import TRY_AGAIN, run


def main(
    *, examples: Path, checkpoint: Path, metrics: Path, run_folder: Path, cfg: SynthConfig, threads: int = 1
) -> None:
    """Train, or go on training."""
    from connectomake.synth.autoencoder_training import train_stage1

    if not train_stage1(examples, checkpoint, metrics, run_folder, cfg, threads):
        sys.exit(TRY_AGAIN)


if __name__ == "__main__":
    run(main)
