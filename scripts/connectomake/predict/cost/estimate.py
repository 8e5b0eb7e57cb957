"""Say how much memory and time a prediction will take, before any of it is taken, and choose blocks that fit.

What is held at the peak is known from how a job works (`steps`, `sums`, `pipeline`): raw voxels of this block and of
the next one, sums of this block and of the rows that windows reach beyond it, values of this block and of the one that
is being written, encoded, and the activations of one call of the network (`network_cost`). Measured against the peak
of jobs on a CPU, of 0.7 to 2.6 GB, with six networks, windows of 64 and 96, and blocks of 128^3 to 256 x 512 x 512
voxels, it is 0.97 to 1.32 times the peak: less where many small blocks riddle the heap, more where MONAI is not loaded.
The constants were chosen on some of the same jobs.

Time is that of the windows alone, since reading and writing go on beside, at rates that were measured for them. One
thread of a Xeon with AMX (torch 2.13) runs a U-Net at 90 GFLOP/s in float32 and 150 to 190 in bfloat16, MedNeXt at 18
and 11: most of their time goes into moving values. 100 and 400 GFLOP/s, and 5 GB/s besides, give 0.7 to 1.5 times the
time of BasicUNet, MedNeXt-S, rsunet and Swin-UNETR with windows of 64 and 96 voxels, to which they were fitted; beside
other jobs, windows took up to five times as long as that. Those of a GPU are a guess.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from connectomake.config.settings.jobs import GOOD_MIN, LONGEST_MIN, SHORTEST_MIN, divide
from connectomake.errors import ConfigError
from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.predict.cost.network import NetworkCost
from connectomake.predict.windows.grid import WindowGrid
from connectomake.volumes.prediction_needs import PredictionNeeds

log = logging.getLogger(__name__)

MB = 10**6
LIBRARIES_BYTES = {"cpu": 600 * MB, "cuda": 3000 * MB}
"""torch, MONAI, zarr, oneDNN's kernels and the holes of small heaps (measured); with CUDA's libraries (a guess)."""
COMPILER_BYTES = 1000 * MB  # of torch.compile: 0.1 GB here, and the compilers that it starts (a guess)
MEMORY_MARGIN = 1.05

FLOPS_PER_S = {"float32": 100e9, "bfloat16": 400e9, "float16": 100e9}  # of a CPU thread
BYTES_PER_S = 5e9  # likewise
GPU_FLOPS_PER_S, GPU_BYTES_PER_S = 8e12, 150e9  # a T4's in float32, and half its memory's bandwidth (data sheet)
SAFETY = 3.0  # processors differ, and others compute beside
STARTS_MIN, COMPILES_MIN = 5, 15


@dataclass(frozen=True)
class Task:
    """All that decides what a prediction takes, apart from the blocks.

    Parameters
    ----------
    windows
        On the working volume.
    box
        What of it the store covers.
    networks
        The cost of a window in each of the networks.
    channels
        That are stored.
    raw_bytes
        Per voxel of the working volume, all its channels, as torch holds them (`sliding.as_torch_can`).
    dtype
        Of the stored values: ``uint8`` or ``float16``.
    precision
        The type that convolutions compute in, such as ``bfloat16``.
    device
        ``cpu`` or ``cuda``. On a GPU, activations take none of the memory that is estimated.
    symmetries
        In how many orientations each window is predicted.
    batch
        Windows at once.
    compiled
        Whether networks are compiled first.
    """

    windows: WindowGrid
    box: Box
    networks: tuple[NetworkCost, ...]
    channels: int
    raw_bytes: int
    dtype: str = "uint8"
    precision: str = "float32"
    device: str = "cpu"
    symmetries: int = 1
    batch: int = 1
    compiled: bool = False


def estimate_needs(
    task: Task, block_zyx: Sequence[int], *, windows: int, computed: int, threads: int = 1
) -> PredictionNeeds:
    """Estimate what a prediction takes: memory of each of its jobs, whatever their number, and time of all together.

    Parameters
    ----------
    task
        What is to be done.
    block_zyx
        In blocks of this size.
    windows, computed
        How many windows there are, and how many are computed, some of them more than once.
    threads
        Of each job.
    """
    parts = estimate_memory(task, block_zyx)
    evaluations = computed * task.symmetries
    minutes = evaluations * seconds_of_window(task, threads) / 60
    return PredictionNeeds(
        memory_bytes=parts,
        mem_mb=ceil(_sum(parts) / MB),
        windows=windows,
        windows_computed=computed,
        flops=evaluations * sum(cost.flops for cost in task.networks),
        minutes=minutes,
        most_minutes=SAFETY * minutes,
        start_minutes=STARTS_MIN + COMPILES_MIN * task.compiled,
    )


def estimate_memory(task: Task, block_zyx: Sequence[int]) -> dict[str, int]:
    """Estimate what a job takes at its peak, in bytes of the host's memory.

    Returns
    -------
    dict
        ``libraries``; ``weights`` of all networks, once more in half the precision; ``activations`` of one call;
        ``raw``, of this block and the next, with what surrounds them; ``sums`` of this block and of the rows beyond it,
        these twice; ``output``, of this block and the last; ``encoding`` of the last.
    """
    core, reads, rows = _largest(task, block_zyx)
    stored = task.channels * prod(core) * np.dtype(task.dtype).itemsize
    window = prod(task.windows.window_zyx) * task.batch
    others = (task.symmetries > 1) + (len(task.networks) > 1)
    is_cpu = task.device == "cpu"
    return {
        "libraries": LIBRARIES_BYTES[task.device] + COMPILER_BYTES * task.compiled,
        "weights": int(1.5 * sum(cost.weight_bytes for cost in task.networks)),
        "activations": is_cpu * task.batch * max(cost.peak_bytes for cost in task.networks)
        + 4 * task.channels * window * (1 + others),
        "raw": 2 * prod(reads) * task.raw_bytes,
        "sums": 4 * (task.channels + 1) * prod((core[0] + 2 * rows, *core[1:])),
        "output": 2 * stored,
        "encoding": stored,
    }


def choose_block(task: Task, block_zyx: Sequence[int], chunk_zyx: Sequence[int], memory_gb: float) -> Triple:
    """Halve blocks, along their longest side and in whole chunks, until a job's memory suffices.

    Parameters
    ----------
    task
        What is to be done.
    block_zyx, chunk_zyx
        The block to begin with, a multiple of the chunk.
    memory_gb
        What a job may take (GB).

    Raises
    ------
    ConfigError
        Not even blocks of one chunk fit; the message says what takes most.
    """
    block = to_triple(block_zyx)
    while (needed := _sum(parts := estimate_memory(task, block))) > memory_gb * 1e9:
        chunks = [side // c for side, c in zip(block, chunk_zyx, strict=True)]
        if max(chunks) == 1:
            raise ConfigError(
                "predict.memory_gb does not suffice for a block of one chunk",
                expected=f"at least {needed / 1e9:.1f} GB ({_describe(parts)})",
                got=f"{memory_gb:g} GB",
                hint=f"raise predict.memory_gb, or {_ADVICE[max(parts, key=parts.__getitem__)]}",
            )
        sides = [side if n > 1 else 0 for side, n in zip(block, chunks, strict=True)]
        longest = sides.index(max(sides))
        block = to_triple(
            [ceil(n / 2) * c if a == longest else n * c for a, (n, c) in enumerate(zip(chunks, chunk_zyx, strict=True))]
        )
    if block != to_triple(block_zyx):
        log.warning(
            "blocks of %s voxels, not %s: those would take more than predict.memory_gb: %g",
            block,
            tuple(block_zyx),
            memory_gb,
        )
    return block


def log_needs(needs: PredictionNeeds, box: Box, blocks: int) -> None:
    """Write an estimate to the log, and which `predict.jobs` suits it.

    Parameters
    ----------
    needs
        See `estimate_needs`.
    box
        What is predicted.
    blocks
        In how many blocks.
    """
    log.info(
        "each job needs about %.2f GB of memory (%s); %d windows, %.2f times the work of computing each once, %.3g "
        "flops in all",
        needs.mem_mb / 1000,
        _describe(needs.memory_bytes),
        needs.windows,
        needs.windows_computed / max(1, needs.windows),
        needs.flops,
    )
    minutes, suits = max(needs.minutes, 1e-9), divide(needs.minutes, GOOD_MIN, blocks)
    log.info(
        "roughly %.3g min of computing in all: predict.jobs: %d makes jobs of %.3g min; %d would take 4 hours each, %d "
        "3 minutes. With predict.jobs: auto, predict.mvoxel_per_job: %.3g makes jobs of %d min",
        minutes,
        suits,
        minutes / suits,
        ceil(minutes / LONGEST_MIN),
        max(1, minutes // SHORTEST_MIN),
        box.size / 1e6 / minutes * GOOD_MIN,
        GOOD_MIN,
    )


def warn_of_length(needs: PredictionNeeds, blocks: int, job: int, jobs: int) -> None:
    """Log which `predict.jobs` to set where a job is too short to be worth its start, or long enough to be at risk.

    Parameters
    ----------
    needs
        See `estimate_needs`; of an older plan, which does not say it, nothing is said.
    blocks
        How many there are.
    job, jobs
        The first of them speaks for all.
    """
    minutes = needs.minutes / jobs
    is_short = jobs > 1 and minutes < SHORTEST_MIN
    if job == 0 and minutes and (is_short or minutes > LONGEST_MIN):
        log.warning(
            "each of %d jobs will last roughly %.2g min; predict.jobs: %d suits this volume better (%d to %d min)",
            jobs,
            minutes,
            divide(jobs * minutes, GOOD_MIN, blocks),
            SHORTEST_MIN,
            LONGEST_MIN,
        )


_ADVICE = {
    "libraries": "predict without torch.compile (predict.compile: no)",
    "weights": "average fewer checkpoints (predict.checkpoints)",
    "activations": "use a smaller predict.window_zyx_vx, or fewer windows at once (predict.batch)",
    "raw": "use a smaller predict.chunk_zyx_vx or predict.window_zyx_vx",
    "sums": "use a smaller predict.chunk_zyx_vx, or store fewer channels (predict.channels)",
    "output": "use a smaller predict.chunk_zyx_vx, or store fewer channels (predict.channels)",
    "encoding": "use a smaller predict.chunk_zyx_vx, or store fewer channels (predict.channels)",
}


def _largest(task: Task, block_zyx: Sequence[int]) -> tuple[Triple, Triple, int]:
    """Return the largest core of a block, what is read for one, and the rows beyond a core that windows reach."""
    blocks = BlockGrid(task.box.shape_zyx, to_triple(block_zyx))
    cores, reads, rows = blocks[0].shape_zyx, [0, 0, 0], 0
    for axis in range(3):
        for core in _along(blocks, axis, task.box):
            hull = task.windows.hull(core)
            reads[axis] = max(reads[axis], hull.shape_zyx[axis])
            if axis == 0:
                rows = max(rows, min(hull.stop_zyx[0], task.box.stop_zyx[0]) - core.stop_zyx[0])
    return cores, to_triple(reads), rows


def _along(blocks: BlockGrid, axis: int, box: Box) -> Iterator[Box]:
    """Return the first row of blocks along an axis, in voxels of the working volume."""
    step = prod(blocks.counts_zyx[axis + 1 :])
    return (blocks[number * step].shift(box.start_zyx) for number in range(blocks.counts_zyx[axis]))


def seconds_of_window(task: Task, threads: int) -> float:
    """Return the time of one window in all networks, once through, on a GPU or on so many threads of a CPU."""
    flops, moved = (sum(getattr(cost, key) for cost in task.networks) for key in ("flops", "moved_bytes"))
    if task.device == "cuda":
        return flops / GPU_FLOPS_PER_S + moved / GPU_BYTES_PER_S
    return (flops / FLOPS_PER_S[task.precision] + moved / BYTES_PER_S) / threads


def _sum(parts: dict[str, int]) -> float:
    return MEMORY_MARGIN * sum(parts.values())


def _describe(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size / 1e9:.2f}" for name, size in parts.items())
