"""The learning rate, as a function of how far the training is."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from math import cos, pi
from typing import Any

from connectomake.config.settings.train_optimizer import ScheduleConfig


def learning_rate(progress: float, step: int, cfg: ScheduleConfig, peak: float, reductions: int = 0) -> float:
    """Return the learning rate: a linear rise to the peak, then the shape of the schedule.

    Parameters
    ----------
    progress
        0 at the start of the training, 1 at its end.
    step
        Steps made so far, for milestones.
    cfg
        The schedule. ``cosine`` is that of Loshchilov & Hutter 2017, without restarts.
    peak
        The highest learning rate.
    reductions
        How often the validation loss has come to a standstill, for ``plateau``; see `Plateau`.

    Examples
    --------
    >>> cosine = ScheduleConfig(warmup=0.2)
    >>> [round(learning_rate(p, 0, cosine, 1.0), 2) for p in (0.1, 0.2, 0.6, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    progress = min(1.0, progress)
    if progress < cfg.warmup:
        return peak * (cfg.warmup_start + (1 - cfg.warmup_start) * progress / cfg.warmup)
    if cfg.shape == "cosine":
        share = 0.5 * (1 + cos(pi * (progress - cfg.warmup) / (1 - cfg.warmup)))
        return peak * (cfg.floor + (1 - cfg.floor) * share)
    # The settings that a shape does not read are at their defaults: no milestone, no reduction, no floor.
    falls = reductions + bisect_right(cfg.milestones_steps, step)
    return peak * max(cfg.floor, cfg.factor**falls)


@dataclass
class Plateau:
    """Counts how often the validation loss stood still for some validations, each time from the last reduction on.

    Parameters
    ----------
    patience
        Validations without a lower loss that make one reduction.
    """

    patience: int
    best: float = field(default=float("inf"), init=False)
    waited: int = field(default=0, init=False)
    reductions: int = field(default=0, init=False)

    def update(self, loss: float) -> None:
        """Take in the loss of a validation."""
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.waited, self.reductions = 0, self.reductions + 1

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on after an interruption."""
        return {"best": self.best, "waited": self.waited, "reductions": self.reductions}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.best, self.waited, self.reductions = state["best"], state["waited"], state["reductions"]
