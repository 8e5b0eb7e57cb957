"""What the training looked like: metrics.csv, TensorBoard, and a line on the screen."""

from __future__ import annotations

import csv
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from connectomake.log import SECONDS_BETWEEN_LINES, format_seconds
from connectomake.train.states import KeepState, diverged
from connectomake.volumes.files import replacing

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10
COLUMNS = (
    "step",
    "seconds",
    "steps_per_s",
    "learning_rate",
    "train_loss",
    "validate_loss",
    "validate_accuracy",
)


class History(pl.Callback):
    """Writes a row every 10 steps (the mean loss since the last one), and one for each validation.

    After an interruption what was written beyond the state that training goes on from is taken back, so no step is
    there twice.

    Parameters
    ----------
    folder
        Holds ``metrics.csv`` and ``tensorboard/``.
    clock
        Knows how long the training has taken.
    """

    def __init__(self, folder: Path, clock: KeepState) -> None:
        self.file, self.folder, self.clock = folder / "metrics.csv", folder / "tensorboard", clock
        self._loss, self._count = 0.0, 0
        self._began = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Give the sum that the next row's mean is made of."""
        return {"loss": float(self._loss), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._loss, self._count = state_dict["loss"], state_dict["count"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take back the rows of steps that will be made again."""
        from torch.utils.tensorboard import SummaryWriter

        cut_table(self.file, trainer.global_step)
        self._board = SummaryWriter(str(self.folder), purge_step=trainer.global_step + 1)
        self._began = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add up the loss; write a row where it is time.

        Raises
        ------
        ModelError
            The loss is not finite. On a GPU it is looked at with each row only, since looking makes the GPU wait.
        """
        loss, step = outputs["loss"].detach(), trainer.global_step
        self._loss, self._count = self._loss + loss, self._count + 1
        row = step % LOG_EVERY_STEPS == 0 or step == trainer.max_steps
        if (row or loss.device.type == "cpu") and not bool(torch.isfinite(loss)):
            raise diverged(step, float(loss))
        if row:
            self._write_mean(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the scores of the validation."""
        self._write(trainer.global_step, pl_module.validated)
        told = ", ".join(f"{name} {value:.4f}" for name, value in pl_module.validated.items())
        log.info("step %d: %s", trainer.global_step, told)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write what is left."""
        if self._count:
            self._write_mean(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Close TensorBoard's file."""
        if hasattr(self, "_board"):
            self._board.close()

    def _write_mean(self, trainer: pl.Trainer) -> None:
        now = time.monotonic()
        values = {
            "steps_per_s": self._count / max(now - self._began, 1e-9),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": float(self._loss) / self._count,
        }
        self._write(trainer.global_step, values)
        self._loss, self._count, self._began = 0.0, 0, now

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        row = {"step": step, "seconds": f"{self.clock.seconds:.1f}", **{name: f"{v:.6g}" for name, v in values.items()}}
        new = not self.file.exists()
        with self.file.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
        for name, value in values.items():
            self._board.add_scalar(name, value, step)


class Progress(pl.Callback):
    """Tells how far the training is: a bar on a terminal, otherwise one log line a minute."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start counting from the step that was reached."""
        self._first = trainer.global_step
        self._began = self._said = time.monotonic()
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=trainer.max_steps, initial=self._first, unit=" steps", dynamic_ncols=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the bar, or say something once a minute."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update()
        elif now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            made, left = trainer.global_step - self._first, trainer.max_steps - trainer.global_step
            rate = made / (now - self._began)
            log.info(
                "step %d/%d, loss %.4f, %.3g steps/s, at most %s left",
                trainer.global_step, trainer.max_steps, float(outputs["loss"]), rate, format_seconds(left / rate),
            )  # fmt: skip

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


def cut_table(path: Path, last_step: int) -> None:
    """Remove the rows after a step from metrics.csv, and a row that was not written to its end."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    kept = [row for row in rows[1:] if len(row) == len(COLUMNS) and row[0].isdigit() and int(row[0]) <= last_step]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *kept])
