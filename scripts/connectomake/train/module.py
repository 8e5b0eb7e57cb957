"""The network, its loss, its optimizer and its moving average, as Lightning wants them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from connectomake.config.train import TrainConfig
from connectomake.losses import Losses
from connectomake.train.loading import Batch
from connectomake.train.schedule import learning_rate, update_average

SPACE = (0, 2, 3, 4)


class Training(pl.LightningModule):
    """A network that learns.

    Parameters
    ----------
    network
        From (N, C, Z, Y, X) to logits.
    cfg
        Settings.
    fused
        Whether the optimizer updates all weights in one kernel (not together with gradient scaling).
    """

    def __init__(self, network: nn.Module, cfg: TrainConfig, fused: bool) -> None:
        super().__init__()
        self.cfg, self.losses, self.fused = cfg, Losses(cfg.losses), fused
        self.network = network  # not channels last: measured on a CPU with AMX, that makes training no faster
        self.average = deepcopy(self.network).requires_grad_(False) if cfg.ema_decay else None
        self.time_share: Callable[[], float] = lambda: 0.0  # set by whoever keeps the time
        self.last_loss = torch.tensor(float("nan"))
        self.validated: dict[str, float] = {}

    @property
    def result(self) -> nn.Module:
        """The network that is validated and saved."""
        return self.network if self.average is None else self.average

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to logits, with the network that is saved in the end."""
        return self.result(raw)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make AdamW (Loshchilov & Hutter 2019); biases and norms do not decay."""
        weights = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": weights, "weight_decay": self.cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.cfg.learning_rate, fused=self.fused)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of this step."""
        progress = max((self.trainer.global_step + 0.5) / self.cfg.max_steps, self.time_share())
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = learning_rate(progress, self.cfg.learning_rate, self.cfg.warmup)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Compute the loss of a batch."""
        return self.losses(self.network(batch["raw"]), batch["values"], batch["mask"])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Shorten a gradient that is too long (Lightning would refuse to, for a fused optimizer)."""
        if self.cfg.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.cfg.gradient_clip)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average, and keep the loss for the callbacks."""
        if self.average is not None:
            update_average(self.average, self.network, self.trainer.global_step, self.cfg.ema_decay)
        self.last_loss = outputs["loss"].detach()

    def on_validation_epoch_start(self) -> None:
        """Forget the sums of the last validation."""
        self._loss, self._patches, self._counts = 0.0, 0, torch.zeros(4, 1, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up loss and hits of a batch."""
        logits, values, known = self(batch["raw"]), batch["values"].bool(), batch["mask"].bool()
        self._loss += float(self.losses(logits, values, known)) * len(logits)
        self._patches += len(logits)
        said = logits > 0
        kinds = (said & values & known, ~said & values & known, ~said & ~values & known, said & ~values & known)
        self._counts = self._counts + torch.stack([kind.sum(SPACE) for kind in kinds])

    def on_validation_epoch_end(self) -> None:
        """Give loss and balanced accuracy: the share of voxels told right, averaged over channels and classes."""
        hits, misses, rejections, alarms = self._counts.double()
        right = torch.cat([hits / (hits + misses), rejections / (rejections + alarms)])
        self.validated = {
            "validate_loss": self._loss / self._patches,
            "validate_accuracy": float(right.nanmean()),
        }
