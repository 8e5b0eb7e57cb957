"""Batches, made while the network computes: in a thread of this process, or in processes of their own.

Worker processes are forked: they share the volumes in memory with this process, and its compiled kernels. Measured
with two workers and 280 MB of volumes on two busy cores: the first batch is there after 0.1 s; where workers are
started afresh, each with a copy of the volumes, after 15 to 20 s. Nothing that runs in them uses threads of OpenMP or
the GPU, which do not survive a fork; zarr makes its own thread anew.
"""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, default_collate

from connectomake.fitting.workers import (
    Carried,
    Caught,
    explain_dead_workers,
    prepare_worker,
    share_cores,
    shield_new_processes,
)

Sample = dict[str, Any]
"""Arrays by name: one patch."""
Batch = dict[str, torch.Tensor]
AHEAD = 2


class Patches(Protocol):
    """Patches by number: arrays by name."""

    def __getitem__(self, number: int) -> dict[str, Any]: ...


class CountedPatches(Patches, Protocol):
    """So many of them."""

    def __len__(self) -> int: ...


class PatchData(pl.LightningDataModule):
    """Training batches from the step that was reached, and validation batches: this process's share of both.

    Parameters
    ----------
    training, validation
        Patches by number.
    batch
        Patches that the network sees at once.
    steps
        How many steps there are.
    workers
        Processes that make patches; 0 = one thread.
    accumulate
        Batches per step, for each process that trains.
    """

    def __init__(
        self,
        training: Patches,
        validation: CountedPatches,
        batch: int,
        steps: int,
        workers: int,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.training, self.validation = training, validation
        self.batch, self.steps, self.workers, self.accumulate = batch, steps, workers, accumulate

    def train_dataloader(self) -> Batches:
        """Load for each step the patches that `numbers_of_step` says, however many processes there are."""

        def numbers() -> Iterator[Sequence[int]]:
            rank, world = self._place()
            for step in range(self.trainer.global_step if self.trainer is not None else 0, self.steps):
                yield from self.numbers_of(step, rank, world)

        local_rank = self.trainer.local_rank if self.trainer is not None else 0
        local_world = self.trainer.num_devices if self.trainer is not None else 1
        cores = share_cores(self.workers, local_rank, local_world)
        return Batches(self.training, numbers, self.workers, cores)

    def val_dataloader(self) -> Batches:
        """Load every validation patch to one process, in order; the last batch of each may be smaller, or none."""

        def numbers() -> Iterator[range]:
            rank, world = self._place()
            mine = range(rank, len(self.validation), world)
            return (mine[start : start + self.batch] for start in range(0, len(mine), self.batch))

        return Batches(self.validation, numbers)

    def numbers_of(self, step: int, rank: int, world: int) -> Sequence[Sequence[int]]:
        """Return the numbers of the patches that one of several processes takes in a step, batch by batch."""
        return numbers_of_step(step, self.batch, self.accumulate, rank, world)

    def _place(self) -> tuple[int, int]:
        """Return the number of this process, and how many train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)


def numbers_of_step(step: int, batch: int, accumulate: int = 1, rank: int = 0, world: int = 1) -> list[range]:
    """Return the numbers of the patches that one of several processes takes in a step, batch by batch.

    Patch b of batch m of process r in step s has the number ((s * accumulate + m) * world + r) * batch + b. So each
    number comes once, and `world` processes see together in a step what one process sees that accumulates as many
    batches.

    Examples
    --------
    >>> [numbers_of_step(3, batch=2, world=2, rank=rank) for rank in range(2)]
    [[range(12, 14)], [range(14, 16)]]
    >>> numbers_of_step(3, batch=2, accumulate=2)
    [range(12, 14), range(14, 16)]
    """
    firsts = [((step * accumulate + m) * world + rank) * batch for m in range(accumulate)]
    return [range(first, first + batch) for first in firsts]


class Batches:
    """Batches of the patches with certain numbers, as an iterable that can be started again.

    Parameters
    ----------
    patches
        Patches by number.
    numbers
        Gives the numbers of each batch; asked each time that iteration starts.
    workers
        Processes that make patches; 0 = one thread.
    cores
        For each worker the core that it is bound to; none = any.
    """

    def __init__(
        self,
        patches: Patches,
        numbers: Callable[[], Iterable[Sequence[int]]],
        workers: int = 0,
        cores: Sequence[int] = (),
    ) -> None:
        self.patches, self.numbers, self.workers, self.cores = patches, numbers, workers, cores

    def __iter__(self) -> Iterator[Batch]:
        return self._in_processes() if self.workers else self._in_thread()

    def _in_processes(self) -> Iterator[Batch]:
        """Make the next batches in processes that live until the iteration ends, also while the network validates."""
        first, rest = self._first()
        if first is None:
            return
        loader: DataLoader[Sample | Carried] = DataLoader(
            Caught(self.patches),
            batch_sampler=rest,  # type: ignore[arg-type]
            num_workers=self.workers,
            collate_fn=collate_or_carry,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=AHEAD,
            multiprocessing_context="fork" if sys.platform == "linux" else None,
            worker_init_fn=partial(prepare_worker, tuple(self.cores)),
            generator=torch.Generator(),  # else each start draws from the generator that dropout draws from
        )
        with explain_dead_workers():
            with (
                shield_new_processes(),
                warnings.catch_warnings(),
            ):  # Python 3.12 warns of threads; those that there are hold no locks here
                warnings.filterwarnings("ignore", ".*multi-threaded, use of fork.*", DeprecationWarning)
                batches = iter(loader)
            yield first
            for batch in batches:
                if isinstance(batch, Carried):
                    raise batch.error
                yield batch

    def _first(self) -> tuple[Batch | None, Iterator[Sequence[int]]]:
        """Make the first batch here, before there are workers: they inherit the kernels that this compiles."""
        numbers = iter(self.numbers())
        wanted = next(numbers, None)
        return (None if wanted is None else self._make(wanted)), numbers

    def _in_thread(self) -> Iterator[Batch]:
        """Make the next batches in one thread; its kernels release the interpreter and do not hold up the network."""
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1, "patches") as pool:
            try:
                for wanted in self.numbers():
                    waiting.append(pool.submit(self._make, wanted))
                    if len(waiting) > AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _make(self, numbers: Sequence[int]) -> Batch:
        return default_collate([self.patches[number] for number in numbers])


def collate_or_carry(samples: Sequence[Sample | Carried]) -> Batch | Carried:
    """Stack patches: ``raw`` float32, ``values``, ``mask`` (N, C, Z, Y, X); or hand on the first error among them."""
    return next((sample for sample in samples if isinstance(sample, Carried)), None) or default_collate(list(samples))
