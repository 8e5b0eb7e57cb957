"""Decide what is predicted of a volume, in which blocks, and what it takes; refuse what cannot be.

in   volume       volume.json of the ingest stage
     checkpoints  model.ckpt of the train stage, or several files whose predictions are averaged
out  plan         JSON file that all jobs of predict_affinities follow
"""

from pathlib import Path

from connectomake.config.settings.predict import PredictConfig
from connectomake.stage import run


def main(
    *,
    volume: Path,
    checkpoints: list[Path],
    plan: Path,
    cfg: PredictConfig,
    name: str = "",
    folder: str = "",
    store: Path | None = None,
    threads_per_job: int = 1,
) -> None:
    """Write the plan of a prediction; `store` is where the prediction lies, if one was begun."""
    from connectomake.predict.plan import plan_prediction
    from connectomake.predict.plan_file import write_plan

    made = plan_prediction(
        volume, checkpoints, cfg, name=name, folder=folder, store=store, threads_per_job=threads_per_job
    )
    write_plan(made, plan)


if __name__ == "__main__":
    run(main)
