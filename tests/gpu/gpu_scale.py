"""How large the checks are: on a GPU as large as real work, elsewhere as small as it gets."""

import os
from dataclasses import dataclass, field
from typing import Any

import torch

from connectomake.geometry import Triple

MOST_WORKERS = 14


def count_workers() -> int:
    """Return the processes that make patches: all cores but two, which are for the training and for the rest."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores - 2))


@dataclass(frozen=True)
class Scale:
    """Sizes, durations and thresholds of the checks; those of a GPU by default.

    Parameters
    ----------
    device, precisions
        Where networks run, and what trainings are compared in, the first with the others; the second is that of the
        other checks.
    train
        Settings that change those of config/train/banis.yaml.
    steps, warmup
        Steps of a training, and those of them that are not timed.
    workers
        Processes that make patches.
    volumes
        Sides of the volumes to predict, each with that of its blocks (voxels).
    predict_in
        The precision of prediction.
    windows_at_once, too_many
        Windows that the network sees at once, and so many that memory does not suffice.
    fit_s
        Time for the trials of autoconfig (seconds).
    minutes, fit, generator
        Time for each training of the generator; settings that change those of all three, and whole sections.
    slower_by_loader, blocks_to_bare
        How much longer a step with the loader may take than one without, and the least speed of prediction in blocks
        as a share of the bare network's.
    """

    device: str = "cuda"
    precisions: tuple[str, ...] = ("float32", "bfloat16", "float16")
    train: dict[str, Any] = field(default_factory=lambda: {"patch_zyx_vx": (128, 128, 128), "batch": 2})
    steps: int = 16
    warmup: int = 6
    workers: int = field(default_factory=count_workers)
    volumes: tuple[tuple[int, int], ...] = ((256, 128), (512, 256))
    predict_in: str = "auto"
    windows_at_once: int = 4
    too_many: int = 16
    fit_s: float = 50.0
    minutes: float = 1 / 3
    fit: dict[str, Any] = field(default_factory=dict)
    generator: dict[str, Any] = field(default_factory=dict)
    slower_by_loader: float = 1.05
    blocks_to_bare: float = 0.95

    @property
    def where(self) -> torch.device:
        """The device, by its number."""
        return torch.device(self.device, 0)

    @property
    def patch_zyx(self) -> Triple:
        """A patch's sides."""
        return self.train["patch_zyx_vx"]
