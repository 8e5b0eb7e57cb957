"""Fit a training preset to this machine: measure what fits and how long it takes, and write NAME_auto.yaml beside it.

in   config/train/NAME.yaml   the preset; the volumes of a split, where one is given
out  config/train/NAME_auto.yaml: batch, accumulation, precision, workers, and every number measured
cost about two minutes, or `budget_min`
"""

from pathlib import Path

from connectomake.stage import run


def main(
    *,
    preset: str,
    augment: str = "default",
    split: Path | None = None,
    search_patch: bool = False,
    budget_min: float = 2.0,
    project: Path = Path(),
    threads: int | None = None,
    done: Path | None = None,
) -> None:
    """Measure, and write the preset."""
    from connectomake.autoconfig.autoconfigure import autoconfigure

    autoconfigure(
        project, preset, augment, split=split, search_patch=search_patch, budget_s=60 * budget_min, threads=threads
    )
    if done is not None:
        done.touch()


if __name__ == "__main__":
    run(main)
