"""Batches: the right patches in the right order, however many threads, processes, ranks and accumulated batches."""

import os
import signal
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import get_worker_info

from connectomake.errors import ConnectomakeError, DataError
from connectomake.fitting.loading import Batches, PatchData, numbers_of_step
from connectomake.fitting.workers import explain_dead_workers, share_cores

FEW = st.integers(1, 5)


class Counting:
    """Patches that hold their own number and the process that made them."""

    def __init__(self, broken=-1, fatal=-1, length=0):
        self.broken, self.fatal, self.length = broken, fatal, length
        self.made = []

    def __len__(self):
        return self.length

    def __getitem__(self, number):
        if number == self.broken:
            raise DataError("chunk 7 is damaged", hint="copy the store again")
        if number == self.fatal and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        self.made.append(number)
        return {"raw": np.full((1, 2, 2, 2), number, np.float32), "process": np.array(os.getpid())}


def in_batches(numbers, size):
    return lambda: (numbers[start : start + size] for start in range(0, len(numbers), size))


def numbers_in(batches):
    return [batch["raw"][:, 0, 0, 0, 0].int().tolist() for batch in batches]


def data_of(patches, validation=None, trainer=None, **changes):
    values = {"batch": 2, "steps": 6, "workers": 0, "accumulate": 1} | changes
    data = PatchData(patches, validation, **values)
    data.trainer = trainer
    return data


def trainer_at(step=0, rank=0, world=1):
    return SimpleNamespace(global_step=step, global_rank=rank, world_size=world, local_rank=rank, num_devices=world)


@settings(deadline=None)
@given(FEW, FEW, FEW, FEW)
def test_every_patch_is_seen_once_and_in_the_step_it_belongs_to(steps, batch, accumulate, world):
    """Ranks and accumulated batches share a step: 2 processes see together what 1 sees that accumulates 2."""
    seen = [
        set(chain.from_iterable(chain(*(numbers_of_step(step, batch, accumulate, r, world) for r in range(world)))))
        for step in range(steps)
    ]
    size = batch * accumulate * world
    assert seen == [set(range(step * size, (step + 1) * size)) for step in range(steps)]
    alone = [chain(*numbers_of_step(step, batch, accumulate * world)) for step in range(steps)]
    assert [set(numbers) for numbers in alone] == seen


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_in_order(workers):
    batches = list(Batches(Counting(), in_batches(range(3, 17), 4), workers))
    assert numbers_in(batches) == [[3, 4, 5, 6], [7, 8, 9, 10], [11, 12, 13, 14], [15, 16]]
    processes = {int(p) for batch in batches[1:] for p in batch["process"]} - {os.getpid()}
    assert len(processes) == workers


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_to_make_is_no_batch(workers):
    assert list(Batches(Counting(), lambda: [], workers)) == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("step", "world", "accumulate"), [(0, 1, 1), (4, 1, 1), (0, 2, 1), (4, 1, 2), (5, 3, 2)])
def test_training_goes_on_at_the_step_it_reached(workers, step, world, accumulate):
    """What all ranks see from step s on is what an uninterrupted training of one process sees from there."""
    ranks = [
        numbers_in(
            data_of(
                Counting(), trainer=trainer_at(step, rank, world), workers=workers, accumulate=accumulate
            ).train_dataloader()
        )
        for rank in range(world)
    ]
    assert all(len(batches) == (6 - step) * accumulate for batches in ranks)
    size = 2 * accumulate * world
    together = sorted(chain.from_iterable(chain.from_iterable(ranks)))
    assert together == list(range(step * size, 6 * size))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_validation_patches_are_seen_by_one_rank_each(world):
    validation = Counting(length=5)
    ranks = [
        list(chain.from_iterable(numbers_in(data_of(None, validation, trainer_at(0, rank, world)).val_dataloader())))
        for rank in range(world)
    ]
    assert sorted(chain.from_iterable(ranks)) == list(range(5))
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1


def test_last_validation_batch_is_smaller():
    assert numbers_in(data_of(None, Counting(length=3)).val_dataloader()) == [[0, 1], [2]]


@pytest.mark.parametrize("workers", [0, 2])
def test_error_reaches_the_training_as_it_is(workers):
    stream = iter(Batches(Counting(broken=5), in_batches(range(8), 2), workers))
    assert numbers_in([next(stream), next(stream)]) == [[0, 1], [2, 3]]
    with pytest.raises(DataError, match=r"^chunk 7 is damaged; copy the store again$"):
        list(stream)


def test_dead_worker_is_explained():
    with explain_dead_workers(), pytest.raises(ConnectomakeError, match=r"died .*train.workers or train.memory_gb"):
        for _ in Batches(Counting(fatal=5), in_batches(range(100), 2), 2):
            pass


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="shapes"), explain_dead_workers():
        raise RuntimeError("shapes do not fit")


def test_batches_that_nobody_wants_are_not_made():
    patches = Counting()
    stream = iter(Batches(patches, in_batches(range(1000), 1)))
    next(stream)
    stream.close()
    assert len(patches.made) <= 4


@pytest.fixture
def six_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3, 5, 7, 11, 13}, raising=False)


@pytest.mark.parametrize(
    ("workers", "world", "cores"),
    [(2, 1, [[3, 5]]), (5, 1, [[3, 5, 7, 11, 13]]), (6, 1, [[]]), (2, 2, [[5, 7], [11, 13]]), (3, 2, [[], []])],
)
def test_workers_share_the_cores_of_the_job(six_cores, workers, world, cores):
    """Each has a core of its own, and one is left for every process that trains; else none is bound."""
    assert [share_cores(workers, rank, world) for rank in range(world)] == cores


class Bound(Counting):
    def __getitem__(self, number):
        return {"core": np.array(sorted(os.sched_getaffinity(0)))}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind processes to cores")
def test_worker_runs_on_its_core():
    core = max(os.sched_getaffinity(0))
    batches = list(Batches(Bound(), in_batches(range(4), 1), 1, [core]))
    assert [batch["core"][0].tolist() for batch in batches[1:]] == [[core]] * 3
