"""Measure how a training runs on a machine, and find the settings that follow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isnan, nan
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from connectomake.autoconfig.child import Child
from connectomake.autoconfig.machine import Machine
from connectomake.autoconfig.search import divisors, patch_sizes
from connectomake.autoconfig.trials import Size, Trials, Tried, choose_precision, choose_size
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.geometry import Triple, to_triple

GPU_SHARE = 0.9  # of a GPU's free memory; the rest is for fragments, and for what others take meanwhile
CPU_SHARE = 0.8  # of the memory at hand
DATA_SHARE = 0.25  # of the memory at hand, at most, for volumes
LOADER_S = 5.0  # of making patches; as long again, and more where kernels are compiled, to begin
LOADER_STARTS_S = 30.0
LOADER_GB = 2.0  # of volumes that are held in memory for that; more would take longer to read
LARGER_PATCH = 2.0
SPARE = 1.25  # the loader shall be so many times as fast as the steps
FEW_WORKERS = 8  # where the loader could not be measured


@dataclass(frozen=True)
class Found:
    """What was measured, and the settings that follow.

    Parameters
    ----------
    machine, gpus
        What there is; of each GPU its name, free and total bytes.
    parameters
        Of the network.
    size, precision, accumulate, devices, workers, memory_gb
        The settings.
    step_s
        Seconds of one batch on one device; measured, or, where `is_measured` is False, extrapolated.
    patches_per_s
        Of the loader, for one worker; NaN where it could not be measured.
    tried
        All trials.
    """

    machine: Machine
    gpus: list[tuple[str, int, int]]
    parameters: int
    size: Size
    precision: str
    accumulate: int
    devices: int
    workers: int
    memory_gb: float
    step_s: float
    is_measured: bool
    patches_per_s: float
    tried: list[Tried]

    @property
    def batch_s(self) -> float:
        """Seconds of one batch in training, where the loader may be slower than the network."""
        loader_s = 0.0 if isnan(self.patches_per_s) else self.size.batch / self.patches_per_s / max(1, self.workers)
        return max(self.step_s, loader_s)


def measure(
    cfg: TrainConfig,
    augment: AugmentConfig,
    machine: Machine,
    *,
    split: Path | None = None,
    search_patch: bool = False,
    budget_s: float = 120.0,
) -> Found:
    """Find settings for a machine, with the same network, targets and effective batch.

    Parameters
    ----------
    cfg, augment
        The preset, and the augmentation it is used with.
    machine
        What there is.
    split
        The split whose volumes the network is for, and the loader is measured on; None = a made-up grey volume.
    search_patch
        Look for the largest patch as well, of up to twice the preset's sides; by default the patch is made smaller
        where it does not fit, and never larger.
    budget_s
        All trials end within this time, and the loader's at most 30 s later (seconds).

    Raises
    ------
    ConnectomakeError
        The training does not work, or not even the smallest patch fits.
    """
    deadline = time.monotonic() + budget_s
    most_bytes = int(CPU_SHARE * machine.memory_bytes)
    memory_gb = min(cfg.memory_gb, floor(DATA_SHARE * machine.memory_bytes / 1e8) / 10)
    settings = {"split": split and str(split), "gpu_share": GPU_SHARE}
    effective = cfg.batch * cfg.accumulate * cfg.devices
    train = _plain(cfg, memory_gb=0)
    with Child(settings | {"train": train, "threads": machine.cores}, machine.cores, most_bytes) as child:
        said = child.start(deadline)
        room = None if said["gpus"] else most_bytes - int(memory_gb * 1e9)
        trials = Trials(child, said["base_bytes"], room, deadline - 2 * LOADER_S)
        devices = max(d for d in divisors(effective) if d <= max(1, len(said["gpus"])))
        size = _search(trials, cfg, said["precisions"], effective // devices, search_patch)
    train = _plain(cfg, memory_gb=min(memory_gb, LOADER_GB), patch_zyx_vx=size.patch_zyx, device="cpu")
    with Child(settings | {"train": train, "threads": 1}, 1, most_bytes) as child:
        request = {"augment": augment.model_dump(mode="json"), "seconds": LOADER_S}
        rate = child.ask(request, deadline + LOADER_STARTS_S).get("patches_per_s", nan)
    tried = trials.find(size, trials.precision)
    is_measured = tried is not None and not tried.failed
    step_s = tried.seconds if tried is not None and is_measured else trials.expect(size, trials.precision)[0]
    return Found(
        machine=machine,
        gpus=[(name, free, total) for name, free, total in said["gpus"]],
        parameters=said["parameters"],
        size=size,
        precision=trials.precision,
        accumulate=effective // devices // size.batch,
        devices=devices,
        workers=count_workers(size.batch / step_s / rate, machine.cores // devices) if said["gpus"] else 0,
        memory_gb=memory_gb,
        step_s=step_s,
        is_measured=is_measured,
        patches_per_s=rate,
        tried=trials.done,
    )


def _search(trials: Trials, cfg: TrainConfig, precisions: Sequence[str], effective: int, search_patch: bool) -> Size:
    """Choose the precision, which the trials then have, and the size of the batches that make up the effective one."""
    wanted, patches = to_triple(cfg.patch_zyx_vx), list_patches(cfg, LARGER_PATCH if search_patch else 1.0)
    possible = [cfg.precision] if cfg.precision in precisions else precisions
    trials.precision = choose_precision(trials, patches[: patches.index(wanted) + 1], possible)
    return choose_size(trials, patches, wanted, divisors(effective))


def _plain(cfg: TrainConfig, **changes: object) -> dict[str, Any]:
    """Return settings with some changed as plain data; a trial holds few volumes in memory, or none."""
    return cfg.model_copy(update=changes).model_dump(mode="json")


def list_patches(cfg: TrainConfig, largest: float) -> list[Triple]:
    """Return the patches that the network takes, ascending, the preset's among them; see `patch_sizes`."""

    def is_allowed(patch: Triple) -> bool:
        try:
            TrainConfig.model_validate(cfg.model_dump() | {"patch_zyx_vx": patch})
        except ValidationError:
            return False
        return True

    found = patch_sizes(cfg.patch_zyx_vx, cfg.model.divisor_zyx, largest)
    return [patch for patch in found if is_allowed(patch)]


def count_workers(busy: float, cores: int) -> int:
    """Return the workers that a loader needs.

    Parameters
    ----------
    busy
        How many would be busy all the time; NaN = unknown.
    cores
        For one device; one of them is left to the network's own process.
    """
    wanted = FEW_WORKERS if isnan(busy) else ceil(SPARE * busy)
    return max(1, min(wanted, cores - 1))
