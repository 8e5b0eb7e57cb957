"""Processes that make patches: what they may use, and what is said when something goes wrong in one of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset

from connectomake.errors import ConnectomakeError


@dataclass
class Carried:
    """An error on its way from a worker, which would otherwise reach the user as a traceback."""

    error: ConnectomakeError


class Caught(Dataset[Any]):
    """Patches by number; in place of one that cannot be made, the error that says why."""

    def __init__(self, patches: Any) -> None:
        self.patches = patches

    def __getitem__(self, number: int) -> Any:
        """Make a patch, or carry the error."""
        try:
            return self.patches[number]
        except ConnectomakeError as error:
            return Carried(error)


def share_cores(workers: int, local_rank: int = 0, local_world: int = 1) -> list[int]:
    """Choose a core for each worker of this process, others for those of the node's other processes.

    Parameters
    ----------
    workers
        Workers of each process.
    local_rank, local_world
        Number of this process on its node, and how many train there.

    Returns
    -------
    list of int
        One core for each worker, of those that the job was given; none where the operating system cannot bind, or
        where not one core would be left for each process that trains.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    if (workers + 1) * local_world > len(cores):
        return []
    first = local_world + local_rank * workers
    return cores[first : first + workers]


@contextmanager
def shield_new_processes() -> Iterator[None]:
    """Keep SIGTERM away from processes that are started here until `prepare_worker` has set them up.

    They inherit that it is blocked; else one that it reaches before would die of it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare_worker(cores: Sequence[int], worker: int) -> None:
    """Set up a worker: one thread, one core where there are enough (`share_cores`), and no ear for strangers."""
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_at_parents_word, daemon=True).start()
    torch.set_num_threads(1)
    if cores:
        with suppress(OSError):  # the cores of a job may have changed since; unbound is as right
            os.sched_setaffinity(0, {cores[worker]})


def _end_at_parents_word() -> None:
    """End this process at SIGTERM from the one that started it only.

    A scheduler sends it to all processes of a job, and the step that the training still makes needs its patches.
    """
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


@contextmanager
def explain_dead_workers() -> Iterator[None]:
    """Return what to do when a worker was killed; torch only tells that it was.

    torch may raise its error wherever the main process happens to be: a training puts all of itself into this context.

    Raises
    ------
    ConnectomakeError
        Instead of torch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ConnectomakeError(
            f"a process that makes training patches died ({str(error).splitlines()[0]})",
            hint="most often memory has run out: give the job more, or set train.workers or train.memory_gb lower; in "
            "a container /dev/shm may be too small (docker run --shm-size)",
        ) from error
