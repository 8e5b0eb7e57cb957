"""Make volumes with a trained generator, with labels where it makes them.

in   examples     examples.tsv: what it has learnt from
     diffusion    model.ckpt of train_diffusion
     autoencoder  model.ckpt of autoencoder_stage2
out  marker       names the volumes of this job; they lie in `folder`: NAME/raw.zarr, labels.zarr, raw.nii.gz
Resumes volume by volume.
"""

from pathlib import Path

from connectomake.config.settings.phantom import PhantomConfig
from connectomake.config.settings.synth import SynthConfig
from connectomake.stage import run


def main(
    *,
    examples: Path,
    diffusion: Path,
    autoencoder: Path,
    marker: Path,
    folder: Path,
    cfg: SynthConfig,
    phantom: PhantomConfig | None = None,
    job: int = 0,
    jobs: int = 1,
    threads: int = 1,
) -> None:
    """Make job `job` of `jobs`."""
    from connectomake.synth.generate import generate

    generate(diffusion, autoencoder, cfg, folder, job, jobs, marker, examples, phantom=phantom, threads=threads)


if __name__ == "__main__":
    run(main)
