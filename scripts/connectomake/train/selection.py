"""Which network is kept, which ones beside it, and when to stop because none gets better."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from connectomake.config.settings.train import TrainConfig
from connectomake.fitting.scores import DICE

log = logging.getLogger(__name__)

REMEMBERED = ("best", "best_step", "waited", "kept", "weights")
Save = Callable[[Path, nn.Module, dict[str, Any]], object]


class Selection(pl.Callback):
    """Compares validations by their loss or, as `keep` says, by their mean Dice or their segmentation.

    Parameters
    ----------
    cfg
        The training: `keep`, `keep_best`, `patience`.
    folder
        Where the checkpoints of the best validations lie, one file each.
    save
        Writes a network, and what its validation found, to a file.
    """

    def __init__(self, cfg: TrainConfig, folder: Path, save: Save) -> None:
        self.score, self.highest = name_score(cfg)
        self.keeps_weights, self.count, self.patience = cfg.keep != "last", cfg.keep_best, cfg.patience
        self.folder, self.save = folder, save
        self.best: float | None = None
        self.best_step, self.waited = 0, 0
        self.kept: list[list[float]] = []  # value and step of each file, best first
        self.weights: dict[str, torch.Tensor] = {}

    @property
    def found(self) -> dict[str, Any]:
        """The best validation, as plain data."""
        return {"best_step": self.best_step, f"best_{self.score}": self.best}

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on after an interruption."""
        return {name: getattr(self, name) for name in REMEMBERED}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for name in REMEMBERED:
            setattr(self, name, state_dict[name])

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Remove checkpoints of steps that will be made again."""
        if trainer.is_global_zero and self.folder.is_dir():
            names = {self._path(*entry).name for entry in self.kept}
            for path in self.folder.glob("step*.ckpt"):
                if path.name not in names:
                    path.unlink()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Compare the validation with the best ones so far; one that did not segment says nothing about that."""
        value = pl_module.validated.get(self.score)
        if value is None:
            return
        self._keep(trainer, pl_module, value)
        if self._is_better(value):
            self.best, self.best_step, self.waited = value, trainer.global_step, 0
            if self.keeps_weights:
                self.weights = {name: v.detach().cpu().clone() for name, v in pl_module.result.state_dict().items()}
            return
        self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            log.info("no better %s than that of step %d: training stops", self.score, self.best_step)
            trainer.should_stop = True

    def _is_better(self, value: float) -> bool:
        if isnan(value) or self.best is None:
            return not isnan(value)
        return value > self.best if self.highest else value < self.best

    def _keep(self, trainer: pl.Trainer, module: Any, value: float) -> None:
        """Write a checkpoint if this is one of the best, then remove the worst where there are too many."""
        if not self.count or isnan(value):
            return
        entry = [value, trainer.global_step]
        ranked = sorted([*self.kept, entry], key=lambda e: (-e[0] if self.highest else e[0], e[1]))
        self.kept, worse = ranked[: self.count], ranked[self.count :]
        if trainer.is_global_zero and entry not in worse:
            self.save(self._path(*entry), module.result, {"step": trainer.global_step, **module.validated})
            for other in worse:
                self._path(*other).unlink(missing_ok=True)

    def _path(self, value: float, step: float) -> Path:
        return self.folder / f"step{int(step):09}_{self.score}{value:.6g}.ckpt"


def name_score(cfg: TrainConfig) -> tuple[str, bool]:
    """Return the name of the number that validations are compared by, and whether it is best when it is highest."""
    if cfg.keep == "best_segmentation" and cfg.validate_segmentation is not None:
        return f"segmentation_{cfg.validate_segmentation.criterion}", cfg.validate_segmentation.criterion == "nerl"
    return (DICE, True) if cfg.keep == "best_dice" else ("validate_loss", False)
