"""What the training looked like: metrics.csv, TensorBoard, and a line on the screen."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from connectomake.config.settings.train import TrainConfig
from connectomake.fitting.processes import sum_in_place, world
from connectomake.fitting.scores import DICE, name_class_scores
from connectomake.fitting.states import KeepState
from connectomake.log import SECONDS_BETWEEN_LINES, format_seconds
from connectomake.tables import COMMAS, append_row, read_lines, write_table

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10


class History(pl.Callback):
    """Writes a row every 10 steps (the mean losses since the last one), and one for each validation.

    After an interruption what was written beyond the state that training goes on from is taken back, so no step is
    there twice. Only the first process writes.

    Parameters
    ----------
    folder
        Holds ``metrics.csv`` and ``tensorboard/``.
    clock
        Knows how long the training has taken.
    columns
        Of ``metrics.csv``.
    """

    def __init__(self, folder: Path, clock: KeepState, columns: Sequence[str]) -> None:
        self.file, self.folder, self.clock, self.columns = (
            folder / "metrics.csv",
            folder / "tensorboard",
            clock,
            columns,
        )
        self._sums: torch.Tensor | None = None
        self._batches, self._steps = 0, 0
        self._began = 0.0
        self._board: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return the sums that the next row's means are made of; equal shares of them to each process."""
        sums = None if self._sums is None else (sum_in_place(self._sums.clone()) / world()).cpu()
        return {"sums": sums, "batches": self._batches, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._sums, self._batches, self._steps = state_dict["sums"], state_dict["batches"], state_dict["steps"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take back the rows of steps that will be made again."""
        self._began = time.monotonic()
        if self._sums is not None:
            self._sums = self._sums.to(pl_module.device)
        if trainer.is_global_zero:
            from torch.utils.tensorboard import SummaryWriter

            cut_table(self.file, trainer.global_step, self.columns)
            self._board = SummaryWriter(str(self.folder), purge_step=trainer.global_step + 1)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add up the losses; write a row where it is time."""
        losses = torch.stack(list(pl_module.trained.values()))
        self._sums = losses if self._sums is None else self._sums + losses
        self._batches += 1
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self._steps += 1
        if trainer.global_step % LOG_EVERY_STEPS == 0 or trainer.global_step == trainer.max_steps:
            self._write_means(trainer, pl_module, self._sums)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the scores of the validation; to TensorBoard also those of single channels."""
        if not trainer.is_global_zero:
            return
        self._write(trainer.global_step, pl_module.validated, pl_module.validated_channels)
        told = ", ".join(f"{name} {value:.4f}" for name, value in pl_module.validated.items())
        log.info("step %d: %s", trainer.global_step, told)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write what is left."""
        if self._sums is not None:
            self._write_means(trainer, pl_module, self._sums)

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()

    def _write_means(self, trainer: pl.Trainer, module: Any, sums: torch.Tensor) -> None:
        now = time.monotonic()
        means = (sum_in_place(sums) / (self._batches * world())).tolist()
        values = {
            "steps_per_s": self._steps / max(now - self._began, 1e-9),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            **{f"train_{name}": mean for name, mean in zip(module.trained, means, strict=True)},
        }
        if trainer.is_global_zero:
            self._write(trainer.global_step, values, {})
        self._sums, self._batches, self._steps, self._began = None, 0, 0, now

    def _write(self, step: int, values: Mapping[str, float], board_only: Mapping[str, float]) -> None:
        row = {"step": step, "seconds": f"{self.clock.seconds:.1f}", **{name: f"{v:.6g}" for name, v in values.items()}}
        append_row(self.file, self.columns, row)
        for name, value in {**values, **board_only}.items():
            self._board.add_scalar(name, value, step)


def name_columns(cfg: TrainConfig, losses: Sequence[str]) -> list[str]:
    """Name the columns of metrics.csv.

    Parameters
    ----------
    cfg
        The training.
    losses
        Names of its losses: ``loss``, and its parts.
    """
    channels = cfg.targets.channels
    names = ["step", "seconds", "steps_per_s", "learning_rate"]
    names += [f"{role}_{loss}" for role in ("train", "validate") for loss in losses]
    names += ["validate_accuracy", DICE] * any(channel.binary for channel in channels)
    names += ["validate_error"] * any(not channel.binary for channel in channels)
    names += name_class_scores(channels)
    if cfg.validate_segmentation is not None:
        names += [f"segmentation_{cfg.validate_segmentation.criterion}", "segmentation_threshold"]
    return names


class Progress(pl.Callback):
    """Tells how far the training is: a bar on a terminal, otherwise one log line a minute."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start counting from the step that was reached."""
        self._first = trainer.global_step
        self._began = self._said = time.monotonic()
        if sys.stderr.isatty() and trainer.is_global_zero:
            from tqdm import tqdm

            self._bar = tqdm(total=trainer.max_steps, initial=self._first, unit=" steps", dynamic_ncols=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the bar, or say something once a minute."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update()
        elif now - self._said >= SECONDS_BETWEEN_LINES and trainer.is_global_zero:
            self._said = now
            made, left = trainer.global_step - self._first, trainer.max_steps - trainer.global_step
            rate = made / (now - self._began)
            log.info(
                "step %d/%d, loss %.4f, %.3g steps/s, at most %s left",
                trainer.global_step, trainer.max_steps, float(pl_module.trained["loss"]), rate,
                format_seconds(left / rate),
            )  # fmt: skip

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


def cut_table(path: Path, last_step: int, columns: Sequence[str]) -> None:
    """Remove the rows after a step from metrics.csv, and a row that was not written to its end."""
    if not path.exists():
        return
    rows = [fields for _, fields in read_lines(path, "course of a training", COMMAS)]
    kept = [row for row in rows[1:] if len(row) == len(columns) and row[0].isdigit() and int(row[0]) <= last_step]
    write_table(path, columns, kept, COMMAS)
