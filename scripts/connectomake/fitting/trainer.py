"""Lightning's trainer, told what it would otherwise guess, and with nothing that this package does itself."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from connectomake.errors import ConfigError
from connectomake.fitting.processes import Machine, first_does, gather, world
from connectomake.fitting.states import Interrupted, TimeUp
from connectomake.fitting.time_limit import TimeLimit
from connectomake.fitting.workers import explain_dead_workers
from connectomake.models.device import choose_device

log = logging.getLogger(__name__)

# Warnings that nobody here can act on: Lightning 2.6 with torch 2.13, its wish for a worker per core, and for srun
# wherever Slurm is installed; that parts of a network are frozen.
LIGHTNINGS_OWN = (
    *(".*LeafSpec.*", ".*does not have many workers.*", ".*`srun` command is available.*"),
    r".*module\(s\) in eval mode.*",
)
PRECISIONS: dict[torch.dtype, Any] = {
    torch.float32: "32-true",
    torch.bfloat16: "bf16-mixed",
    torch.float16: "16-mixed",
}


class Course(Machine, Protocol):
    """What a training's settings say of its steps; see `TrainConfig`."""

    @property
    def precision(self) -> str:
        """What convolutions compute in."""

    @property
    def max_steps(self) -> int:
        """Steps in all."""

    @property
    def accumulate(self) -> int:
        """Batches of a step."""

    @property
    def validate_every_steps(self) -> int:
        """Validate every so often (steps)."""


def choose_arithmetic(cfg: Course, choose: Callable[[str, torch.device], torch.dtype]) -> torch.dtype:
    """Choose what the network computes in, the same in all processes, and set up the device for it.

    Parameters
    ----------
    cfg
        Settings.
    choose
        Returns the type for a precision and a device, such as `choose_for_training`. The first process asks it before
        the others do, which then find its answer kept; where the CPUs of several nodes differ, float32 is what all can.

    Raises
    ------
    ConfigError
        The device of a process cannot compute in that.
    """
    device = choose_device(cfg.device)
    if world() > 1:
        first_does(lambda: choose(cfg.precision, device))
    try:
        answer: torch.dtype | ConfigError = choose(cfg.precision, device)
    except ConfigError as error:
        answer = error
    dtypes = []
    for found in gather(answer):
        if isinstance(found, ConfigError):
            raise found
        dtypes.append(found)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    if len(set(dtypes)) > 1:
        log.info("computing in float32: not all nodes compute rightly in fewer bits")
        return torch.float32
    return dtypes[0]


def make_trainer(
    cfg: Course,
    dtype: torch.dtype,
    environment: ClusterEnvironment,
    validates: bool,
    callbacks: Sequence[pl.Callback],
    strategy: DDPStrategy | None = None,
) -> pl.Trainer:
    """Make the trainer.

    Parameters
    ----------
    cfg
        Settings.
    dtype
        What convolutions compute in.
    environment
        Who started this process.
    validates
        Whether there is anything to validate on.
    callbacks
        In the order in which they are called.
    strategy
        How several processes train together; None = their gradients are averaged while they are being computed.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its tips and tables
    on_gpu = choose_device(cfg.device).type == "cuda"
    return pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=cfg.devices,
        num_nodes=cfg.nodes,
        strategy=strategy or _make_strategy() if cfg.processes > 1 else "auto",
        plugins=[environment],
        precision=PRECISIONS[dtype],
        max_steps=cfg.max_steps,
        max_epochs=-1,
        accumulate_grad_batches=cfg.accumulate,
        val_check_interval=cfg.validate_every_steps * cfg.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validates else 0,
        benchmark=on_gpu,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train_on(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, state: Path | None, limit: TimeLimit
) -> bool:
    """Train from a state, or from the beginning, to the end.

    Parameters
    ----------
    trainer, module, data
        The training.
    state
        The file to go on from; None = begin.
    limit
        When the job ends: it is queued again if that is why the training stops.

    Returns
    -------
    bool
        Whether the end was reached; False where a signal or the time limit came before.
    """
    try:
        with quiet_lightning(), explain_dead_workers():
            trainer.fit(module, datamodule=data, ckpt_path=state, weights_only=True)
    except Interrupted as stop:
        log.warning("interrupted by %s; the same command goes on from there", stop)
        if isinstance(stop, TimeUp):
            first_does(limit.requeue)
        return False
    return True


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep warnings back that nobody here can act on."""
    with warnings.catch_warnings():
        for message in LIGHTNINGS_OWN:
            warnings.filterwarnings("ignore", message=message)
        yield


def _make_strategy() -> DDPStrategy:
    """Average gradients, while they are still being computed; buffers are averaged by `average_buffers`."""
    known = signature(DistributedDataParallel).parameters  # torch 2.11 and older say it in other words
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    buffers: dict[str, Any] = {name: False}
    return DDPStrategy(**buffers, gradient_as_bucket_view=True)
