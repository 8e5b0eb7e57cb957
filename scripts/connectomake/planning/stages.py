"""What each stage of a variant takes for each volume, by the estimates that the stages themselves go by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from connectomake.config.settings.jobs import list_boxes
from connectomake.decode.whole import estimate_memory_bytes
from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.planning import rates
from connectomake.planning.networks import Networks, cost_of_training, measure_networks
from connectomake.planning.rates import Rates, choose_rate
from connectomake.planning.work import Extent, Work
from connectomake.predict.cost.estimate import Task, choose_block, estimate_needs, seconds_of_window
from connectomake.predict.cost.workload import count_windows
from connectomake.predict.network.symmetries import list_symmetries
from connectomake.predict.windows.grid import WindowGrid
from connectomake.predict.windows.sliding import as_torch_can
from connectomake.volumes.region import Region


@dataclass(frozen=True)
class Machine:
    """What there is to compute with.

    Parameters
    ----------
    gpus, cores
        At a time.
    """

    gpus: int
    cores: int


@dataclass(frozen=True)
class Row:
    """What one stage takes for one volume.

    Parameters
    ----------
    stage, name, volume
        The stage, the ids that its results lie under, and the volume, where there is one.
    jobs
        How many.
    gpu_hours, cpu_hours
        Of all jobs together; hours of a core.
    storage_gb
        Of the results, before compression.
    memory_gb
        Of a job, at its peak.
    wall_hours
        From the first job's start to the last one's end, alone on the machine.
    told_by
        What the numbers come from.
    """

    stage: str
    name: str
    volume: str
    jobs: int
    gpu_hours: float
    cpu_hours: float
    storage_gb: float
    memory_gb: float
    wall_hours: float
    told_by: str


def plan_stages(works: Iterable[Work], machine: Machine, measured: Rates | None = None) -> list[Row]:
    """Return what all variants take; what several of them share is there once.

    Parameters
    ----------
    works
        The variants.
    machine
        What they are planned for.
    measured
        Rates of earlier jobs (`measure_rates`); of what they lack, defaults.

    Raises
    ------
    ConfigError
        Blocks do not fit predict.memory_gb.
    MissingDataError, ModelError
        A network that is named cannot be used.
    """
    found: dict[tuple[str, str, str], Row] = {}
    for work in works:
        for row in _plan(work, machine, measured or {}):
            found.setdefault((row.stage, row.name, row.volume), row)
    order = ("ingest", "train", "predict", "decode", "submit", "measure")
    return sorted(found.values(), key=lambda row: order.index(row.stage))


def _plan(work: Work, machine: Machine, measured: Rates) -> Iterator[Row]:
    """Return the rows of one variant."""
    for volume, extent in work.extents.items():
        size, rate = prod(extent.shape_zyx), choose_rate("ingest", measured)
        stored = 0 if extent.is_linked else size * extent.channels * np.dtype(extent.dtype).itemsize
        told_by = f"{extent.source}; {rate.mvoxel_per_s:.3g} Mvoxel/s and core, {rate.origin}"
        place = ("ingest", work.chains["data"], volume)
        yield _on_cores(place, 1, 4, size / rate.mvoxel_per_s, stored, 5e9, told_by, machine)
    if work.is_trained:
        yield _plan_training(work, machine)
    for volume in work.segmented:
        on_gpu = work.predict.device != "cpu" and (machine.gpus > 0 or work.predict.device == "cuda")
        networks = measure_networks(work, work.extents[volume].channels, on_gpu=on_gpu)
        boxes = [_scale(box, work, work.extents[volume]) for box in _boxes(work, volume)]
        yield _plan_prediction(work, volume, boxes, networks, machine, on_gpu=on_gpu)
        yield from _plan_labels(work, volume, boxes, networks, machine, measured)


def _boxes(work: Work, volume: str) -> list[list[int]]:
    extent = work.extents[volume]
    return list_boxes(work.predict.regions.get(volume), extent.shape_zyx, extent.voxel_size_zyx_nm)


def _scale(box_zyx: list[int], work: Work, extent: Extent) -> Triple:
    """Return a box in voxels of the size that the network is trained with."""
    trained = work.voxel_size_trained_nm or extent.voxel_size_zyx_nm
    return to_triple(
        [max(1, round(n * own / size)) for n, own, size in zip(box_zyx, extent.voxel_size_zyx_nm, trained, strict=True)]
    )


def _plan_training(work: Work, machine: Machine) -> Row:
    """Return what a training takes at most, validation aside: it may stop earlier by max_minutes or patience."""
    cfg = work.train
    on_gpu = cfg.device != "cpu" and (machine.gpus > 0 or cfg.device == "cuda")
    precision = cfg.precision if cfg.precision != "auto" else "bfloat16" if on_gpu else "float32"
    channels = next((extent.channels for extent in work.extents.values()), 1)
    patch = to_triple(cfg.patch_zyx_vx)
    cost = cost_of_training(work, channels, patch, precision)
    task = Task(
        windows=WindowGrid(patch, patch, 0),
        box=Box.of_shape(patch),
        networks=(cost,),
        channels=len(cfg.targets.channels),
        raw_bytes=4,
        precision=precision,
        device="cuda" if on_gpu else "cpu",
    )
    processes = cfg.devices * cfg.nodes
    patches = cfg.max_steps * cfg.batch * cfg.accumulate
    hours = rates.TRAINING_PASSES * patches * seconds_of_window(task, 1) / 3600  # of each process
    threads = 1 if on_gpu else min(machine.cores, rates.TRAINING_THREADS)
    flops = rates.TRAINING_PASSES * processes * patches * cost.flops
    return Row(
        stage="train",
        name=work.chains["train"],
        volume="",
        jobs=1,
        gpu_hours=hours * processes * on_gpu,
        cpu_hours=hours * processes * (not on_gpu),
        storage_gb=rates.TRAINING_COPIES * cost.weight_bytes / 1e9,
        memory_gb=cfg.memory_gb,
        wall_hours=hours / threads,
        told_by=f"{cfg.max_steps} steps, {flops:.2g} flops; rates of predict.estimate",
    )


def _plan_prediction(
    work: Work, volume: str, boxes: list[Triple], networks: Networks, machine: Machine, *, on_gpu: bool
) -> Row:
    """Return what predicting the parts of a volume takes."""
    cfg, extent, jobs = work.predict, work.extents[volume], work.jobs[volume]["predict"]
    raw_bytes = as_torch_can(np.empty(1, extent.dtype)).itemsize * extent.channels
    threads = min(cfg.threads, machine.cores)
    minutes, memory_mb, windows, flops = 0.0, 0, 0, 0.0
    for box in boxes:
        task = Task(
            windows=WindowGrid(box, networks.window_zyx, cfg.overlap, cfg.margin_zyx_vx),
            box=Box.of_shape(box),
            networks=networks.costs,
            channels=networks.channels,
            raw_bytes=raw_bytes,
            dtype=cfg.dtype,
            precision=networks.precision,
            device="cuda" if on_gpu else "cpu",
            symmetries=len(list_symmetries(cfg.tta, networks.window_zyx)),
            batch=cfg.batch if on_gpu else 1,
            compiled=cfg.compile != "no",
        )
        block = choose_block(task, cfg.block_zyx_vx, cfg.chunk_zyx_vx, cfg.memory_gb)
        load = count_windows(task.windows, Region(task.box), BlockGrid(box, block), ceil(jobs / len(boxes)))
        needs = estimate_needs(
            task, block, windows=load.windows, computed=load.computed, threads=1 if on_gpu else threads
        )
        minutes, memory_mb = minutes + needs.minutes, max(memory_mb, needs.mem_mb)
        windows, flops = windows + load.computed, flops + needs.flops
    at_once = max(1, machine.gpus if on_gpu else machine.cores // threads)
    stored = networks.channels * np.dtype(cfg.dtype).itemsize * (rates.PYRAMID if cfg.pyramid else 1)
    return Row(
        stage="predict",
        name=work.chains["predict"],
        volume=volume,
        jobs=jobs,
        gpu_hours=minutes / 60 * on_gpu,
        cpu_hours=minutes / 60 * threads * (not on_gpu),
        storage_gb=stored * sum(map(prod, boxes)) / 1e9,
        memory_gb=memory_mb / 1e3,
        wall_hours=ceil(jobs / at_once) * (minutes / jobs + rates.START_MIN) / 60,
        told_by=f"{extent.source}; {windows:.3g} windows, {flops:.2g} flops; rates of predict.estimate",
    )


def _plan_labels(
    work: Work, volume: str, boxes: list[Triple], networks: Networks, machine: Machine, measured: Rates
) -> Iterator[Row]:
    """Return what making and measuring labels takes."""
    size, source = sum(map(prod, boxes)), work.extents[volume].source
    if work.is_challenge:
        rate, voxels = choose_rate("submit", measured), size * networks.channels
        told_by = f"{source}; {rate.mvoxel_per_s:.3g} Mvoxel/s, class and core, {rate.origin}"
        place = ("submit", work.chains["submit"], volume)
        yield _on_cores(place, 1, 2, voxels / rate.mvoxel_per_s, voxels, 4e9, told_by, machine)
        return
    cfg = work.decode
    rate = choose_rate(f"decode {cfg.decoder}", measured)
    is_blocked = cfg.block_zyx_vx is not None
    memory = (
        cfg.block_memory_mb * 1e6
        if is_blocked
        else max(estimate_memory_bytes(box, np.dtype(work.predict.dtype), cfg, networks.channels) for box in boxes)
    )
    jobs = work.jobs[volume]["decode"]
    stored = size * rates.LABEL_BYTES * (1 + is_blocked)  # what lies between is removed in the end
    told_by = f"{source}; {rate.mvoxel_per_s:.3g} Mvoxel/s and core ({cfg.decoder}), {rate.origin}"
    place = ("decode", work.chains["decode"], volume)
    count = 2 * jobs + 2 if is_blocked else 1
    yield _on_cores(place, count, 2, size / rate.mvoxel_per_s, stored, memory, told_by, machine)
    if volume in work.measured:
        rate = choose_rate("measure", measured)
        told_by = f"{source}; {rate.mvoxel_per_s:.3g} Mvoxel/s and core, {rate.origin}"
        place = ("measure", work.chains["measure"], volume)
        yield _on_cores(place, 1, 4, size / rate.mvoxel_per_s, 0, 2e9, told_by, machine)


def _on_cores(
    place: tuple[str, str, str],
    jobs: int,
    threads: int,
    core_us: float,
    stored_bytes: float,
    memory_bytes: float,
    told_by: str,
    machine: Machine,
) -> Row:
    """Return a row of jobs that need no GPU, each with some threads; `core_us` are microseconds of one."""
    hours, used = core_us / 1e6 / 3600, min(threads, machine.cores)
    waves = ceil(jobs / (machine.cores // used))
    return Row(
        stage=place[0],
        name=place[1],
        volume=place[2],
        jobs=jobs,
        gpu_hours=0.0,
        cpu_hours=hours,
        storage_gb=stored_bytes / 1e9,
        memory_gb=memory_bytes / 1e9,
        wall_hours=waves * (hours / jobs / used + rates.START_MIN / 60),
        told_by=told_by,
    )
