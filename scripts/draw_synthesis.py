"""Draw generated volumes beside real ones, reconstructions, the course of the trainings, and a table of all numbers.

in   samples, numbers             samples.npz, metrics.json
     stage1, stage2, diffusion    metrics.csv of the trainings
out  synthesis, reconstruction, training    PNG; page    HTML
"""

from pathlib import Path

from connectomake.stage import run


def main(
    *,
    samples: Path,
    numbers: Path,
    stage1: Path,
    stage2: Path,
    diffusion: Path,
    synthesis: Path,
    reconstruction: Path,
    training: Path,
    page: Path,
) -> None:
    """Draw three figures, and write the page."""
    from connectomake.draw.figure import save_figure
    from connectomake.draw.synthesis.figure import draw_generated, draw_reconstructions, read_samples
    from connectomake.draw.synthesis.page import write_synthesis_page
    from connectomake.draw.synthesis.training import draw_trainings
    from connectomake.files import read_json

    found, said = read_samples(samples), read_json(numbers)
    save_figure(draw_generated(found, said["rows"], "generated volumes beside real ones"), synthesis)
    save_figure(draw_reconstructions(found, "reconstructions of held-out volumes"), reconstruction)
    save_figure(draw_trainings({"stage 1": stage1, "stage 2": stage2, "diffusion": diffusion}), training)
    page.write_text(write_synthesis_page(said, "numbers of the generator"), encoding="utf-8")


if __name__ == "__main__":
    run(main)
