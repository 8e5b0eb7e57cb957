"""Draw the training curves of one model.

in   metrics  metrics.csv of the train stage
out  figure   PNG
"""

from pathlib import Path

from connectomake.stage import run


def main(*, metrics: Path, figure: Path, title: str = "training") -> None:
    """Draw losses, validation scores and learning rate over steps."""
    from connectomake.draw.experiment.curves import draw_curves
    from connectomake.draw.figure import save_figure

    save_figure(draw_curves(metrics, title), figure)


if __name__ == "__main__":
    run(main)
