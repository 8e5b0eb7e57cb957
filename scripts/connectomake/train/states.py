"""Everything a training needs to go on, in one file per checkpoint, and what makes it write one."""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

from connectomake.errors import ModelError
from connectomake.models.checkpoint import load_tensors
from connectomake.volumes.files import replacing

log = logging.getLogger(__name__)

KEPT = 2
NAME = re.compile(r"step(\d{9})\.state")
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):
    """Somebody asked the training to stop for now; its state is on disk."""


class Signals:
    """Notes SIGTERM and SIGUSR1 instead of dying of them, as a context; outside the main thread it does nothing."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self.install()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Take the signals, also after somebody else (Lightning) took them."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before.setdefault(number, signal.getsignal(number))
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Do no more than remember it: a step may be half done."""
        self.received = number


class KeepState(pl.Callback):
    """Writes the training's state every so many steps and minutes, on a signal, and at the end; keeps time.

    A state is written before a step begins, when the last one, with its validation, is wholly done.

    Parameters
    ----------
    folder
        Where the states lie.
    every_steps, every_min
        How often, whichever comes first.
    max_minutes
        Training time after which to stop; None = never.
    signals
        Where a signal to stop is noted.
    """

    def __init__(
        self, folder: Path, every_steps: int, every_min: float, max_minutes: float | None, signals: Signals
    ) -> None:
        self.folder, self.every_steps, self.every_min, self.max_minutes = folder, every_steps, every_min, max_minutes
        self.signals = signals
        self.seconds = 0.0
        self.finished = False
        self.saved_step = -1
        self._resumed = self._saved = time.monotonic()
        self._seconds_before = 0.0

    @property
    def time_share(self) -> float:
        """The share of `max_minutes` that is used up; 0 where there is no such limit."""
        return self.seconds / 60 / self.max_minutes if self.max_minutes else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Give what goes on after an interruption: the time, and random numbers that the network may draw (dropout)."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        random = {"cpu": torch.get_rng_state(), "cuda": cuda}
        return {"seconds": self.seconds, "finished": self.finished, "random": random}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._seconds_before = self.seconds = state_dict["seconds"]
        torch.set_rng_state(state_dict["random"]["cpu"])
        if len(state_dict["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state_dict["random"]["cuda"])

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Take back that Lightning has counted the step which is about to begin; it would validate one step early."""
        counters = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counter in (counters["total"], counters["current"]):
            counter["ready"] = counter["started"] = counter["processed"] = counter["completed"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the clock; take back SIGTERM, at which Lightning would stop without a state."""
        self.signals.install()
        self._resumed = self._saved = time.monotonic()
        self.saved_step = trainer.global_step

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Write a state where it is time; stop after a signal.

        Raises
        ------
        Interrupted
            A signal has come; the state is on disk.
        """
        step, minutes = trainer.global_step, (time.monotonic() - self._saved) / 60
        due = step - self.saved_step >= self.every_steps or minutes >= self.every_min
        if step > self.saved_step and (due or self.signals.received):
            self.save(trainer)
        if self.signals.received:
            raise Interrupted(f"{signal.Signals(self.signals.received).name} at step {step}")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop when the time is up."""
        self.seconds = self._seconds_before + time.monotonic() - self._resumed
        if self.time_share >= 1:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the last state."""
        self.finished = True
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write a state, atomically, and remove the oldest.

        Raises
        ------
        ModelError
            The weights are not finite: nobody could go on from there.
        """
        check_finite(trainer.lightning_module, trainer.global_step)
        with replacing(self.folder / f"step{trainer.global_step:09}.state") as temporary:
            trainer.save_checkpoint(temporary)
        self.saved_step, self._saved = trainer.global_step, time.monotonic()
        for path in list_states(self.folder)[KEPT:]:
            path.unlink()


def list_states(folder: Path) -> list[Path]:
    """Give the state files in a folder, newest first."""
    return sorted((path for path in folder.glob("*.state") if NAME.fullmatch(path.name)), reverse=True)


def read_newest_state(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest state that is whole; a damaged one is passed over with a warning.

    Returns
    -------
    tuple of Path and dict, or None
        The file and what it holds; None where there is none.
    """
    for path in list_states(folder):
        try:
            return path, load_tensors(path)
        except ModelError as error:
            log.warning("%s; an older state is used", error)
    return None


def check_finite(module: Any, step: int) -> None:
    """Stop a training that has diverged.

    Raises
    ------
    ModelError
        The last loss or a weight is infinite or not a number.
    """
    broken = next((name for name, value in module.named_parameters() if not bool(torch.isfinite(value).all())), None)
    if broken is not None or not bool(torch.isfinite(module.last_loss)):
        raise diverged(step, float(module.last_loss))


def diverged(step: int, loss: float) -> ModelError:
    """Give the error for a training whose loss is not finite."""
    return ModelError(
        f"training diverged at step {step}",
        expected="a finite loss and finite weights",
        got=f"a loss of {loss}",
        hint="lower train.learning_rate, set train.precision to float32, or look for broken values in raw",
    )
