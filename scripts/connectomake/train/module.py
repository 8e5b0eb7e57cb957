"""The network, its loss, its optimizer and its averages, as Lightning wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from connectomake.channels import Channel
from connectomake.config.settings.train import TrainConfig
from connectomake.fitting.averages import ema_share, has_batch_norm, measure_batch_norm, move_average
from connectomake.fitting.finite import Watch
from connectomake.fitting.loading import Batch
from connectomake.fitting.optimizer import make_optimizer
from connectomake.fitting.processes import average_buffers, first_does, rank, world
from connectomake.fitting.schedule import Plateau, learning_rate
from connectomake.fitting.scores import Scores
from connectomake.losses import Losses

NORM_PATCHES = 64  # that the batch norms of a plain average are measured on

Segment = Callable[[nn.Module], dict[str, float]]


class Training(pl.LightningModule):
    """A network that learns.

    A step is `accumulate` batches in each process. What the network draws at random (dropout) is, as its patches are, a
    function of the number of the batch alone.

    Parameters
    ----------
    network
        From (N, C, Z, Y, X) to logits.
    cfg
        Settings.
    channels
        Of the output.
    fused
        Whether the optimizer updates all weights in one kernel (not together with gradient scaling).
    watch
        Looks whether loss and gradient are finite.
    segment
        Measures the segmentation of a network; None = that is not asked for, or not of this process.
    """

    def __init__(
        self,
        network: nn.Module,
        cfg: TrainConfig,
        channels: Sequence[Channel],
        fused: bool,
        watch: Watch,
        segment: Segment | None = None,
    ) -> None:
        super().__init__()
        self.cfg, self.channels, self.fused, self.watch, self.segment = cfg, channels, fused, watch, segment
        self.losses = Losses(cfg.losses, channels, cfg.scale_weights)
        self.network = network  # not channels last: measured on a CPU with AMX, that makes training no faster
        averages = bool(cfg.ema_decay) or cfg.swa_start is not None
        self.average = deepcopy(network).requires_grad_(False) if averages else None
        if cfg.compile:
            network.compile()  # in place: the names of its weights stay
        self.averaged = 0
        self.plateau = Plateau(cfg.schedule.patience)
        self.time_share: Callable[[], float] = lambda: 0.0  # set by whoever keeps the time
        self.trained: dict[str, torch.Tensor] = {}
        self.validated: dict[str, float] = {}
        self.validated_channels: dict[str, float] = {}

    @property
    def loss_names(self) -> list[str]:
        """The loss, and where it is a sum of several its parts."""
        return ["loss", *(f"loss {label}" for label in self.losses.labels if len(self.losses.labels) > 1)]

    @property
    def result(self) -> nn.Module:
        """The network that is validated and saved."""
        return self.average if self.average is not None and self.averaged else self.network

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """Map (N, C, Z, Y, X) to logits, with the network that is saved in the end."""
        logits: torch.Tensor = self.result(raw)
        return logits

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what goes on after an interruption, besides weights and optimizer."""
        checkpoint["training"] = {"averaged": self.averaged, "plateau": self.plateau.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from what `on_save_checkpoint` added."""
        self.averaged = checkpoint["training"]["averaged"]
        self.plateau.load_state_dict(checkpoint["training"]["plateau"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer."""
        return make_optimizer(self.network, self.cfg.optimizer, self.fused)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of this step, and the random numbers of this batch."""
        step = self.trainer.global_step
        peak, falls = self.cfg.optimizer.learning_rate, self.plateau.reductions
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = learning_rate(self._progress(step + 0.5), step, self.cfg.schedule, peak, falls)
        self.seed_batch(step, batch_idx % self.cfg.accumulate)

    def seed_batch(self, step: int, part: int) -> None:
        """Seed what the network draws while it sees one of the batches of a step."""
        number = (step * self.cfg.accumulate + part) * world() + rank()
        (seed,) = np.random.SeedSequence((self.cfg.seed, number)).generate_state(1, np.uint64)
        torch.manual_seed(int(seed))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Compute the loss of a batch."""
        loss = self.losses(self.network(batch["raw"]), batch["values"], batch["mask"])
        self.trained = self._name_losses(loss.detach())
        self.watch.see(loss.detach(), first=batch_idx % self.cfg.accumulate == 0)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Shorten a gradient that is too long (Lightning would refuse to, for a fused optimizer); see `Watch`."""
        weights = list(self.network.parameters())
        norm = nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
        self.watch.check(self, optimizer, norm)
        if self.cfg.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(weights, self.cfg.gradient_clip, norm)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """After a step, move the average."""
        if (batch_idx + 1) % self.cfg.accumulate:
            return
        average_buffers(self.network)
        step = self.trainer.global_step
        if self.cfg.ema_decay:
            self._move_average(ema_share(step, self.cfg.ema_decay))
        elif self._is_averaged(step):
            self._move_average(1 / (self.averaged + 1))
            self._measure_norms()

    def on_validation_epoch_start(self) -> None:
        """Forget the sums of the last validation."""
        self._scores = Scores(self.channels, self.loss_names, self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up the scores of a batch."""
        logits = self(batch["raw"])
        losses = self._name_losses(self.losses(logits, batch["values"], batch["mask"]))
        self._scores.add({k: float(v) for k, v in losses.items()}, logits, batch["values"], batch["mask"])

    def on_validation_epoch_end(self) -> None:
        """Log the scores, and segment where it is time."""
        self.validated, self.validated_channels = self._scores.result()
        self.plateau.update(self.validated["validate_loss"])
        if self._segments():
            self.validated |= first_does(lambda: self.segment(self.result) if self.segment else {})

    def _segments(self) -> bool:
        """Return whether this validation segments: each so many do, and the last."""
        if self.cfg.validate_segmentation is None:
            return False
        step, every = self.trainer.global_step, self.cfg.validate_every_steps
        last = self.trainer.should_stop or step + every > self.cfg.max_steps
        return last or step % (every * self.cfg.validate_segmentation.every_validations) == 0

    def _is_averaged(self, step: int) -> bool:
        """Return whether a plain average takes in the weights of this step."""
        start = self.cfg.swa_start
        return start is not None and step % self.cfg.validate_every_steps == 0 and self._progress(step) >= start

    def _progress(self, steps: float) -> float:
        """Return the share of the training that is over, by steps or by time, whichever is more."""
        return max(steps / self.cfg.max_steps, self.time_share())

    def _name_losses(self, loss: torch.Tensor) -> dict[str, torch.Tensor]:
        """Name the loss just computed, and where there are several its parts."""
        parts = self.losses.parts if len(self.losses.labels) > 1 else {}
        return {"loss": loss, **{f"loss {label}": part for label, part in parts.items()}}

    def _move_average(self, share: float) -> None:
        if self.average is not None:
            move_average(self.average, self.network, share)
            self.averaged += 1

    def _measure_norms(self) -> None:
        """Measure the batch norms of the average, always on the same patches."""
        if self.average is not None and has_batch_norm(self.average):
            training = self.trainer.datamodule.training  # type: ignore[attr-defined]
            numbers = range(NORM_PATCHES)
            batches = (torch.from_numpy(training[number]["raw"])[None].to(self.device) for number in numbers)
            with self.trainer.precision_plugin.forward_context():
                measure_batch_norm(self.average, batches)
