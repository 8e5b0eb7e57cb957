"""Everything a training needs to go on, in one file per checkpoint, and what makes it write one."""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import nn

from connectomake.errors import ConnectomakeError, ModelError
from connectomake.files import replacing
from connectomake.fitting.finite import diverged
from connectomake.fitting.processes import largest
from connectomake.fitting.time_limit import TimeLimit
from connectomake.ledger import SETTINGS_FILE, fix_settings
from connectomake.models.checkpoint import load_tensors

log = logging.getLogger(__name__)

STATES = "states"
"""The folder of the states, in that of a training."""

KEPT = 2
NAME = re.compile(r"step(\d{9})\.state")
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
# What a process wants before a step besides to stop at a signal, in order of urgency; all less than any signal.
NOTHING, SAVE, TIME_UP = range(3)
# Who sends SIGTERM sends SIGKILL soon after (Slurm's KillWait: 30 s). A state is written before whatever takes longer.
GRACE_S = 20.0


class Pace(Protocol):
    """What a training's settings say of its states; see `TrainConfig`."""

    @property
    def max_minutes(self) -> float | None:
        """End after so long (min); None = never."""

    @property
    def checkpoint_every_steps(self) -> int:
        """Write a state every so often (steps)."""

    @property
    def checkpoint_every_min(self) -> float:
        """And at least every so often (min)."""

    @property
    def validate_every_steps(self) -> int:
        """Validate every so often (steps)."""


class Interrupted(Exception):
    """The training stops for now; its state is on disk."""


class TimeUp(Interrupted):
    """It stops because its job would be ended before another step is done."""


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
    """Writes the training's state every so many steps and minutes, when it has to stop, and at the end; keeps time.

    A state is written before a step begins, when the last one, with its validation, is wholly done.

    Parameters
    ----------
    folder
        Where the states lie.
    cfg
        The training: `checkpoint_every_steps`, `checkpoint_every_min`, `validate_every_steps`, `max_minutes`.
    signals
        Where a signal to stop is noted.
    limit
        When the job ends.
    """

    def __init__(self, folder: Path, cfg: Pace, signals: Signals, limit: TimeLimit) -> None:
        self.folder, self.max_minutes = folder, cfg.max_minutes
        self.every_steps, self.every_min = cfg.checkpoint_every_steps, cfg.checkpoint_every_min
        self.validate_every_steps = cfg.validate_every_steps
        self.signals, self.limit = signals, limit
        self.seconds = 0.0
        self.finished = False
        self.saved_step = self.first_step = -1
        self._resumed = self._began = time.monotonic()
        self._seconds_before = self._saved = 0.0
        # The last step, the longest validation, and the last writing of a state, of this attempt.
        self.step_s = self.validation_s = self.save_s = 0.0

    @property
    def time_share(self) -> float:
        """The share of `max_minutes` that is used up; 0 where there is no such limit."""
        return self.seconds / 60 / self.max_minutes if self.max_minutes else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on after an interruption: the time."""
        return {"seconds": self.seconds, "finished": self.finished}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._seconds_before = self.seconds = state_dict["seconds"]

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Take back that Lightning has counted the step which is about to begin; it would validate one step early."""
        counters = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counter in (counters["total"], counters["current"]):
            counter["ready"] = counter["started"] = counter["processed"] = counter["completed"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the clock; take back SIGTERM, at which Lightning would stop without a state."""
        self.signals.install()
        self._resumed, self._saved = time.monotonic(), self.seconds
        self.saved_step = self.first_step = trainer.global_step

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Write a state where it is time; stop after a signal to any of the processes, or before the job is ended.

        Raises
        ------
        Interrupted
            A signal has come, or the time is up; the state is on disk.
        ConnectomakeError
            The time is up, and not one step was made in it: another attempt would come no further.
        """
        if batch_idx % trainer.accumulate_grad_batches:
            return
        wanted, step = int(largest(float(self._choose(trainer)), pl_module.device)), trainer.global_step
        if wanted != NOTHING and step > self.saved_step:
            self.save(trainer)
        if wanted == TIME_UP:
            if step == self.first_step:
                raise no_progress(self.limit)
            raise TimeUp(f"the time limit of its job at step {step}")
        if wanted > TIME_UP:
            raise Interrupted(f"{signal.Signals(wanted).name} at step {step}")
        self._began = time.monotonic()

    def _choose(self, trainer: pl.Trainer) -> int:
        """Choose what this process wants before the next step, and the validation that may follow it."""
        step, minutes = trainer.global_step, (self.seconds - self._saved) / 60
        validates = trainer.enable_validation and (step + 1) % self.validate_every_steps == 0
        ahead_s = self.step_s + self.validation_s * validates
        if self.signals.received is not None:
            return self.signals.received
        if not self.limit.leaves(ahead_s + self.save_s):
            return TIME_UP
        unknown = validates and not self.validation_s
        due = step - self.saved_step >= self.every_steps or minutes >= self.every_min
        return SAVE if due or unknown or ahead_s > GRACE_S else NOTHING

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begin to time the validation."""
        self._began = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Note how long a validation takes."""
        self.validation_s = max(self.validation_s, time.monotonic() - self._began)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop when the time is up."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self.step_s = time.monotonic() - self._began
        # One time for all processes: the learning rate may depend on it.
        self.seconds = largest(self._seconds_before + time.monotonic() - self._resumed, pl_module.device)
        if self.time_share >= 1:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the last state."""
        self.finished = True
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write a state, atomically, and remove the oldest; all processes do this together.

        Raises
        ------
        ModelError
            The last step, or the weights, are not finite: nobody could go on from there.
        """
        check_finite(trainer.lightning_module, trainer.global_step)
        began = time.monotonic()
        path = self.folder / f"step{trainer.global_step:09}.state"
        if trainer.is_global_zero:
            with replacing(path) as temporary:
                trainer.save_checkpoint(temporary)
            for old in list_states(self.folder)[KEPT:]:
                old.unlink()
        else:
            trainer.save_checkpoint(path)  # writes nothing, but takes part
        # Nobody goes on, or ends and has the others ended, before the file has its name.
        self.save_s = largest(time.monotonic() - began, trainer.lightning_module.device)
        self.saved_step, self._saved = trainer.global_step, self.seconds


def claim_folder(run_folder: Path, settings: dict[str, Any]) -> None:
    """Record the settings in the folder of a training, or check that one begun there had the same.

    Raises
    ------
    ResumeMismatchError
        It had others.
    """
    if not list_states(run_folder / STATES):  # an attempt that came to nothing binds nobody
        (run_folder / SETTINGS_FILE).unlink(missing_ok=True)
    fix_settings(run_folder, settings, results=run_folder)


def list_states(folder: Path) -> list[Path]:
    """Return the state files in a folder, newest first."""
    return sorted((path for path in folder.glob("*.state") if NAME.fullmatch(path.name)), reverse=True)


def find_newest_state(folder: Path) -> Path | None:
    """Find the newest state that is whole; a damaged one is passed over with a warning."""
    for path in list_states(folder):
        try:
            load_tensors(path)
        except ModelError as error:
            log.warning("%s; an older state is used", error)
        else:
            return path
    return None


def no_progress(limit: TimeLimit) -> ConnectomakeError:
    """Return the error for a job whose time does not suffice for one step."""
    return ConnectomakeError(
        "the job's time limit leaves no time for a single step of training",
        got=f"an end at {time.strftime('%F %T', time.localtime(limit.end_s))}",
        hint="ask for more, as in --set-resources train_model:runtime=2880 (the rule, minutes), or validate less",
    )


def check_finite(module: Any, step: int) -> None:
    """Stop a training that has diverged.

    Raises
    ------
    ModelError
        The last step, or a weight, is infinite or not a number.
    """
    module.watch.settle(module)
    network: nn.Module = module.network
    broken = next((name for name, value in network.state_dict().items() if not bool(torch.isfinite(value).all())), None)
    if broken is not None:
        raise diverged(step, f"the weights {broken}")
