"""Encode examples as latents, of which a diffusion model learns.

in   examples     examples.tsv
     autoencoder  model.ckpt of autoencoder_stage2
out  marker       the stores of this job; they lie in `folder`: KEY.zarr, (C, z, y, x) float32
Resumes example by example.
"""

from pathlib import Path

from connectomake.config.settings.synth import SynthConfig
from connectomake.stage import run


def main(
    *,
    examples: Path,
    autoencoder: Path,
    marker: Path,
    folder: Path,
    cfg: SynthConfig,
    job: int = 0,
    jobs: int = 1,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Encode job `job` of `jobs`."""
    from connectomake.synth.encode import encode_latents

    encode_latents(examples, autoencoder, cfg, folder, job, jobs, marker, device=device, threads=threads)


if __name__ == "__main__":
    run(main)
