"""Several processes that train one network: who starts them, who is who, and what they tell each other.

Each has a copy of the network and sees patches of its own; their gradients are averaged (DistributedDataParallel).
Only the first writes. Whatever decides how the training goes on is agreed upon, so that all do the same step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch import nn

from connectomake.errors import ConfigError, ConnectomakeError
from connectomake.models.device import choose_device

T = TypeVar("T")

# While the first segments validation volumes, or traces skeletons, the others wait.
TIMEOUT = timedelta(hours=2)


class Machine(Protocol):
    """What a training's settings say of the processes that train together; see `TrainConfig`."""

    @property
    def device(self) -> str:
        """``auto``, ``cpu`` or ``cuda``."""

    @property
    def devices(self) -> int:
        """GPUs, or processes on a CPU, of each node."""

    @property
    def nodes(self) -> int:
        """Nodes that train together."""

    @property
    def processes(self) -> int:
        """Processes that train together."""


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; 0 is the first."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def joined_processes(cfg: Machine) -> Iterator[ClusterEnvironment]:
    """Meet the other processes of a training, if it has any.

    Yields
    ------
    ClusterEnvironment
        Who started this process; for Lightning.

    Raises
    ------
    ConfigError
        There are not as many processes as the settings say, or not as many GPUs.
    """
    environment = find_environment(cfg)
    if cfg.processes == 1:
        yield environment
        return
    device = choose_device(cfg.device)
    if device.type == "cuda":
        if torch.cuda.device_count() < cfg.devices:
            raise ConfigError(
                "train.devices: more than this node has", expected=f"{cfg.devices} GPUs", got=torch.cuda.device_count()
            )
        device = torch.device("cuda", environment.local_rank())
        torch.cuda.set_device(device)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        rank=environment.global_rank(),
        world_size=environment.world_size(),
        timeout=TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )
    yield environment
    dist.destroy_process_group()  # not after an error: others may wait for this process, which ends now


def find_environment(cfg: Machine) -> ClusterEnvironment:
    """Return who started this process: torchrun, srun, or nobody who starts several.

    Told, not left to Lightning to guess: in a Slurm job it would take over signals and requeueing, which are the
    workflow's.

    Raises
    ------
    ConfigError
        There are not as many processes as the settings say.
    """
    environment: ClusterEnvironment = LightningEnvironment()
    if TorchElasticEnvironment.detect():
        environment = TorchElasticEnvironment()
    elif cfg.processes > 1 and int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        environment = SLURMEnvironment(auto_requeue=False)
    found = environment.world_size() if environment.creates_processes_externally else 1
    if found != cfg.processes:
        nodes = f"--nnodes {cfg.nodes} " if cfg.nodes > 1 else ""
        raise ConfigError(
            "train.devices and train.nodes do not fit how the training was started",
            expected=f"{cfg.devices} processes on {cfg.nodes} nodes",
            got=f"{found} processes",
            hint=f"start it by the workflow, or by torchrun {nodes}--nproc-per-node {cfg.devices}",
        )
    return environment


def first_does(task: Callable[[], T]) -> T:
    """Let the first process do something and tell all others what came of it; where it fails, all fail alike."""
    if world() == 1:
        return task()
    told: list[Any] = [None, None]
    if rank() == 0:
        try:
            told[0] = task()
        except ConnectomakeError as error:
            told[1] = error
    dist.broadcast_object_list(told)
    if told[1] is not None:
        raise told[1]
    result: T = told[0]
    return result


def gather(value: T) -> list[T]:
    """Return what each process has, in their order."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def largest(value: float, device: torch.device) -> float:
    """Return the largest value that any process has."""
    if world() == 1:
        return value
    return float(largest_in_place(torch.tensor(value, dtype=torch.float64, device=device)))


def largest_in_place(values: torch.Tensor) -> torch.Tensor:
    """Make values the largest of all processes, without waiting for a GPU."""
    if world() > 1:
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def sum_in_place(values: torch.Tensor) -> torch.Tensor:
    """Make values the sum over all processes, without waiting for a GPU."""
    if world() > 1:
        dist.all_reduce(values)
    return values


def average_gradients(weights: Iterable[nn.Parameter]) -> None:
    """Average the gradients of weights over the processes, all in one message; none is there, or in every process."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if world() == 1 or not gradients:
        return
    message = sum_in_place(torch.cat([gradient.flatten() for gradient in gradients])).div_(world())
    for gradient, part in zip(gradients, message.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def average_buffers(network: nn.Module) -> None:
    """Average the running statistics of batch norms over the processes, each of which has seen patches of its own."""
    if world() == 1:
        return
    for buffer in network.buffers():
        if buffer.dtype.is_floating_point:
            sum_in_place(buffer).div_(world())
