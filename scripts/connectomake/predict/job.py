"""One job's share of the blocks of a volume.

A window at the border of a block is computed by every block that it touches: with an overlap of one half, a block of
n strides takes (n + 1) / n as many windows on each axis, which is +42 % at 512 voxels and windows of 128, +20 % at
1024. That is the price of jobs that need nothing from one another; the log says how much it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from connectomake.blocks import Ledger, job_name
from connectomake.config.predict import PredictConfig
from connectomake.errors import ConnectomakeError, ModelError
from connectomake.geometry import Box
from connectomake.log import progress
from connectomake.models.arithmetic import choose_device, choose_dtype
from connectomake.models.checkpoint import CheckpointMeta, load_checkpoint
from connectomake.pipeline import run_overlapped
from connectomake.predict.memory import estimate_memory, log_memory
from connectomake.predict.plan import Plan, plan_prediction
from connectomake.predict.sliding import SlidingWindow
from connectomake.predict.windows import reflect_pad
from connectomake.volumes.files import explain_write_failure, write_json
from connectomake.volumes.ingest import open_raw
from connectomake.volumes.store import create_store
from connectomake.volumes.volume import Volume

if TYPE_CHECKING:
    import zarr

log = logging.getLogger(__name__)


def predict_blocks(
    volume_json: Path,
    checkpoint: Path,
    store: Path,
    cfg: PredictConfig,
    *,
    job: int = 0,
    jobs: int = 1,
    threads: int = 1,
    marker: Path | None = None,
) -> None:
    """Predict the blocks job, job + jobs, job + 2 jobs, ... of a volume that are not in the store's ledger yet.

    Parameters
    ----------
    volume_json
        The volume, as ingest describes it.
    checkpoint
        The trained network, with all that is needed to use it.
    store
        Where the (C, Z, Y, X) uint8 values of `SlidingWindow.predict` go; made if need be, shared by all jobs. Its
        ledger lies in ``store/ledger``.
    cfg
        The settings of the stage.
    job, jobs
        Which job this is, from 0, and how many there are.
    threads
        Threads of the network on a CPU; reading and writing take little more. The last bits of a network's output
        depend on it.
    marker
        A small file that says the job is done; written last.

    Raises
    ------
    ResumeMismatchError
        The store was begun with other settings.
    ModelError
        The checkpoint cannot be used, or its network gives NaN.
    DataError
        The volume cannot be read, or the store not be written.
    """
    started = time.monotonic()
    torch.set_num_threads(threads)
    device = choose_device(cfg.device)
    volume = open_raw(volume_json)
    network, meta = load_checkpoint(checkpoint, device=str(device))
    plan = plan_prediction(volume, meta, cfg)
    mine = plan.blocks.of_job(job, jobs)
    ledger = Ledger(store / "ledger", plan.settings)
    array = create_store(
        store,
        shape=(len(plan.recipe.channels), *volume.shape_zyx),
        dtype=np.uint8,
        chunk_zyx=cfg.chunk_zyx_vx,
        shard_zyx=cfg.block_zyx_vx,
        voxel_size_zyx_nm=volume.voxel_size_zyx_nm,
        offset_zyx_nm=volume.offset_zyx_nm,
    )
    todo = sorted(set(mine) - ledger.done())
    dtype = choose_dtype(cfg.precision, device, network)
    batch = cfg.batch if device.type == "cuda" else 1
    log.info("this job has %d blocks, %d finished before; network in %s", len(mine), len(mine) - len(todo), dtype)
    log_plan(plan, volume, estimate_width(network, meta), dtype, batch)
    sliding = SlidingWindow(network, plan.windows, plan.recipe, device=device, dtype=dtype, batch=batch)
    BlockWork(checkpoint, volume, plan, sliding, ledger, array, job_name(job, jobs)).run(todo)
    if marker is not None:
        seconds = round(time.monotonic() - started, 1)
        counts = {"blocks": len(mine), "computed": len(todo), "seconds": seconds}
        value = {"job": job, "jobs": jobs, "settings_hash": ledger.settings_hash, **counts}
        write_json(marker, {**value, "device": str(device), "dtype": str(dtype)})


@dataclass
class BlockWork:
    """Reads, computes and writes blocks, each step in a thread of its own."""

    checkpoint: Path
    volume: Volume
    plan: Plan
    sliding: SlidingWindow
    ledger: Ledger
    array: zarr.Array
    name: str
    _ticks: Iterator[int] = field(default_factory=lambda: iter(()))

    def run(self, todo: list[int]) -> None:
        """Do these blocks, in this order."""
        if not todo:
            log.info("nothing is left to do for this job")
            return
        windows = sum(self.plan.windows.count_touching(self.plan.blocks[block]) for block in todo)
        self._ticks = progress(range(windows), what="windows")
        self._tick()
        run_overlapped(todo, self.read, self.compute, self.write)

    def read(self, block: int) -> np.ndarray:
        """Give the raw voxels, (C, Z, Y, X), of all windows that reach into a block."""
        hull = self.plan.windows.hull(self.plan.blocks[block])
        inside = hull.intersect(Box.of_shape(self.volume.shape_zyx))
        raw = self.volume.read(inside)
        return reflect_pad(raw if raw.ndim == 4 else raw[None], inside, hull)

    def compute(self, block: int, raw: np.ndarray) -> np.ndarray:
        """Give the (C, Z, Y, X) uint8 values of a block."""
        core = self.plan.blocks[block]
        where = f"block {block} (from {core.start_zyx} to {core.stop_zyx}, z, y, x) of {self.volume.source}"
        try:
            result = self.sliding.predict(raw, self.plan.windows.hull(core), core, self._tick)
        except ModelError as error:
            raise ModelError(f"{self.checkpoint}, {where}: {error}") from error
        except torch.OutOfMemoryError as error:
            raise ConnectomakeError(
                f"the GPU's memory does not suffice for {where} and one window",
                hint="use a smaller predict.block_zyx_vx, precision: bfloat16, or a GPU with more memory",
            ) from error
        if not result.any() and raw.min() != raw.max():
            log.warning("%s is predicted as nothing but zeros, though its raw voxels differ", where)
        return result

    def write(self, block: int, result: np.ndarray) -> None:
        """Put a block into the store, and then into the ledger."""
        with explain_write_failure(self.ledger.folder.parent):
            self.array[:, *self.plan.blocks[block].slices] = result
        self.ledger.mark(block, self.name)

    def _tick(self) -> None:
        """Count a window as done."""
        next(self._ticks, None)


def log_plan(plan: Plan, volume: Volume, width: float, dtype: torch.dtype, batch: int) -> None:
    """Say what will be computed, how much of it twice, and how much memory that takes."""
    once, touched = len(plan.windows), sum(plan.windows.count_touching(block) for block in plan.blocks)
    log.info(
        "%d windows of %s voxels for %s in %d blocks; those at borders are computed again: %.2f times the work",
        once,
        plan.windows.window_zyx,
        volume.source,
        len(plan.blocks),
        touched / once,
    )
    estimate = estimate_memory(
        plan.windows,
        plan.blocks,
        channels=len(plan.recipe.channels),
        raw_bytes=volume.dtype.itemsize * volume.channels,
        width=width,
        batch=batch,
        itemsize=dtype.itemsize,
    )
    log_memory(estimate)


def estimate_width(network: nn.Module, meta: CheckpointMeta) -> float:
    """Give the channels of a network's first layer per voxel of its input, which sets the size of its activations."""
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv3d)), None)
    return (first.out_channels if first is not None else 1) / meta.model.stem_factor**3
