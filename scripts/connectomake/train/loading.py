"""Batches, made while the network computes: in a thread of this process, or in processes of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from connectomake.train.patches import Sample, TrainingPatches, ValidationPatches

Batch = dict[str, torch.Tensor]
AHEAD = 2


class PatchData(pl.LightningDataModule):
    """Training batches from the step that was reached, and validation batches.

    Parameters
    ----------
    training, validation
        Patches by number.
    batch
        Patches per step.
    steps
        How many steps there are.
    workers
        Processes that make patches; 0 = one thread.
    """

    def __init__(
        self, training: TrainingPatches, validation: ValidationPatches, batch: int, steps: int, workers: int
    ) -> None:
        super().__init__()
        self.training, self.validation = training, validation
        self.batch, self.steps, self.workers = batch, steps, workers

    def train_dataloader(self) -> Batches:
        """Step s sees the patches s * batch to (s + 1) * batch - 1, in every run."""
        return Batches(self.training, self._first_step, self.steps, self.batch, self.workers)

    def val_dataloader(self) -> Batches:
        """All validation patches, in order; the last batch may be smaller."""
        steps = -(-len(self.validation) // self.batch)
        return Batches(self.validation, lambda: 0, steps, self.batch, 0, len(self.validation))

    def _first_step(self) -> int:
        return self.trainer.global_step if self.trainer is not None else 0


class Batches:
    """The batches of steps `first()` to `steps`, as an iterable that can be started again.

    Parameters
    ----------
    patches
        Patches by number.
    first
        Asked for the first step each time that iteration starts.
    steps, batch, workers
        As for `PatchData`.
    count
        How many patches there are; None = endless.
    """

    def __init__(
        self,
        patches: TrainingPatches | ValidationPatches,
        first: Callable[[], int],
        steps: int,
        batch: int,
        workers: int,
        count: int | None = None,
    ) -> None:
        self.patches, self.first, self.steps, self.batch = patches, first, steps, batch
        self.workers, self.count = workers, count

    def __iter__(self) -> Iterator[Batch]:
        numbers = [self._numbers(step) for step in range(self.first(), self.steps)]
        if self.workers == 0:
            return self._in_thread(numbers)
        loader: DataLoader[Any] = DataLoader(
            self.patches,  # type: ignore[arg-type]
            batch_sampler=numbers,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=AHEAD,
            generator=torch.Generator(),  # else each start draws from the generator that dropout draws from
        )
        return iter(loader)

    def _numbers(self, step: int) -> list[int]:
        stop = (step + 1) * self.batch
        return list(range(step * self.batch, stop if self.count is None else min(stop, self.count)))

    def _in_thread(self, numbers: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """Make the next batches in one thread; its kernels release the interpreter and do not hold up the network."""
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1, "patches") as pool:
            try:
                for wanted in numbers:
                    waiting.append(pool.submit(self._make, wanted))
                    if len(waiting) > AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _make(self, numbers: Sequence[int]) -> Batch:
        return collate([self.patches[number] for number in numbers])


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack patches: ``raw`` (N, C, Z, Y, X) float32, ``values`` uint8 and ``mask`` bool (N, C', Z, Y, X)."""
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
