"""Measure generated volumes beside real ones that nothing was learnt from, and reconstructions beside their originals.

in   examples         examples.tsv
     stage1, stage2   model.ckpt of both stages of the autoencoder
     latents          markers of encode_latents; the stores lie in `latents_folder`
     volumes          markers of generate; the stores lie in `folder`
out  table, numbers   metrics.tsv, metrics.json: a row for each class, shape and number
     samples          samples.npz: the slices that pictures show
"""

from pathlib import Path

from connectomake.config.settings.synth import SynthConfig
from connectomake.stage import run


def main(
    *,
    examples: Path,
    stage1: Path,
    stage2: Path,
    volumes: list[Path],
    folder: Path,
    latents_folder: Path,
    table: Path,
    numbers: Path,
    samples: Path,
    cfg: SynthConfig,
    threads: int = 1,
) -> None:
    """Measure, and write what was found."""
    from connectomake.synth.metrics.measure_generator import generation_metrics

    generation_metrics(examples, stage1, stage2, latents_folder, volumes, folder, cfg, table, numbers, samples, threads)


if __name__ == "__main__":
    run(main)
