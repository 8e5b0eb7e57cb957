"""Which network is kept, and when to stop because none gets better."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
import torch

log = logging.getLogger(__name__)


class Selection(pl.Callback):
    """Remembers the network of the lowest validation loss.

    Parameters
    ----------
    keep_best
        Whether its weights are kept as well.
    patience
        Training stops after so many validations without a lower loss; None = never.
    """

    def __init__(self, keep_best: bool, patience: int | None) -> None:
        self.keep_best, self.patience = keep_best, patience
        self.best_loss, self.best_step, self.waited = float("inf"), 0, 0
        self.weights: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Give what goes on after an interruption."""
        return {"loss": self.best_loss, "step": self.best_step, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.best_loss, self.best_step = state_dict["loss"], state_dict["step"]
        self.waited, self.weights = state_dict["waited"], state_dict["weights"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Compare the validation with the best one so far."""
        loss = pl_module.validated["validate_loss"]
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.waited = loss, trainer.global_step, 0
            if self.keep_best:
                self.weights = {name: v.detach().cpu().clone() for name, v in pl_module.result.state_dict().items()}
            return
        self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            log.info("no lower validation loss than that of step %d: training stops", self.best_step)
            trainer.should_stop = True
