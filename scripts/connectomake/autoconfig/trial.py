"""What a trial does, in a process of its own: real steps of training on made-up patches, and patches from the loader.

Reads JSON from standard input, a line of settings and then a line for each trial, and answers each by a line of JSON on
standard output. `Child` starts it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import ConfigError, ConnectomakeError
from connectomake.fitting.averages import move_average
from connectomake.fitting.optimizer import make_optimizer
from connectomake.geometry import Triple, to_triple
from connectomake.losses import Losses
from connectomake.models import build_model
from connectomake.models.device import DTYPES, choose_device, is_want_of_memory, keep_freed_memory
from connectomake.precision.choose import choose_for_training, explain_float32
from connectomake.precision.cpu import describe_cpu
from connectomake.split.table import read_split
from connectomake.targets.combinations import Combinations
from connectomake.train.volumes import LabelledBox, open_boxes

LONG_ENOUGH_S = 1.0
MOST_STEPS = 10
MADE_UP_NM = (10.0, 10.0, 10.0)
LARGER_VX = 64  # how much made-up volumes are larger than a patch
OBJECT_VX = 16  # side of the objects in made-up labels


class Trainer:
    """A network, and steps of its training on noise: time and memory do not depend on what is in a patch.

    Parameters
    ----------
    train
        Settings of the training, as plain data.
    split
        The split whose training volumes it is for; None = a made-up grey volume.
    gpu_share
        The share of a GPU's free memory that may be used; of several, of the one with the least.
    threads
        Cores to compute with.
    """

    def __init__(self, train: dict[str, Any], split: str | None, gpu_share: float, threads: int) -> None:
        torch.set_num_threads(threads)
        self.cfg = TrainConfig.model_validate(train)
        self.device = choose_device(self.cfg.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        rows = [] if split is None else read_split(Path(split))
        self.boxes = open_boxes(rows, "train", self.cfg.memory_gb, self.cfg.targets) or [make_up(self.cfg)]
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
            gpus = [torch.cuda.mem_get_info(i) for i in range(torch.cuda.device_count())]
            torch.cuda.set_per_process_memory_fraction(gpu_share * min(free for free, _ in gpus) / gpus[0][1])
        channels = self.cfg.targets.channels
        named = [channel.target for channel in channels]
        self.network = build_model(self.cfg.model, self.boxes[0].channels, len(channels), named).to(self.device)
        is_averaged = self.cfg.ema_decay or self.cfg.swa_start is not None
        self.average = deepcopy(self.network).requires_grad_(False) if is_averaged else None
        self.losses = Losses(self.cfg.losses, channels, self.cfg.scale_weights)
        self.optimizer = make_optimizer(self.network, self.cfg.optimizer, fused=True)

    def describe(self) -> dict[str, Any]:
        """Return what there is: GPUs with free and total bytes; precisions, those with the larger range first."""
        gpus, precisions = [], ["float32"]
        if self.device.type == "cpu" and not explain_float32("train", describe_cpu(), self.network):
            precisions.append("bfloat16")
        if self.device.type == "cuda":
            count = torch.cuda.device_count()
            gpus = [[torch.cuda.get_device_name(i), *torch.cuda.mem_get_info(i)] for i in range(count)]
            emulated = not torch.cuda.is_bf16_supported(including_emulation=False)
            precisions = ["float32", "float16"] if emulated else ["float32", "bfloat16", "float16"]
        parameters = sum(p.numel() for p in self.network.parameters())
        return {"gpus": gpus, "precisions": precisions, "parameters": parameters, "base_bytes": peak_bytes()}

    def measure(self, patch_zyx: Sequence[int], batch: int, precision: str) -> dict[str, Any]:
        """Make steps for about a second, two at least; give seconds of one, and the peak of memory in bytes."""
        try:
            shape = (batch, self.boxes[0].channels, *patch_zyx)
            choose_for_training(precision, self.device, self.network, shape)
        except ConfigError:
            return {"failed": "arithmetic"}
        self._forget_peak()
        try:
            step = self._prepare(to_triple(patch_zyx), batch, DTYPES[precision])
            step()  # the first one also chooses algorithms and makes the optimizer's state
            seconds: list[float] = []
            while not seconds or (sum(seconds) < LONG_ENOUGH_S and len(seconds) < MOST_STEPS):
                started = time.perf_counter()
                step()
                seconds.append(time.perf_counter() - started)
        except (MemoryError, RuntimeError) as error:
            if not is_want_of_memory(error):
                raise
            self.optimizer.zero_grad()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            return {"failed": "memory"}
        return {"seconds": float(np.median(seconds)), "peak_bytes": self._peak_bytes()}

    def _prepare(self, patch_zyx: Triple, batch: int, dtype: torch.dtype) -> Callable[[], None]:
        """Return a function that makes one step, as the training does."""
        channels = self.cfg.targets.channels
        shape = (batch, len(channels), *patch_zyx)
        binary = all(channel.binary for channel in channels)
        raw = torch.randn(batch, self.boxes[0].channels, *patch_zyx, device=self.device)
        values = torch.randint(0, 2, shape, device=self.device, dtype=torch.uint8 if binary else torch.float32)
        mask = torch.ones(shape, device=self.device, dtype=torch.bool)
        scaler = torch.amp.GradScaler(self.device.type, init_scale=1.0, enabled=dtype == torch.float16)

        def step() -> None:
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                loss = self.losses(self.network(raw), values, mask)
            scaler.scale(loss).backward()
            scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.cfg.gradient_clip or float("inf"))
            scaler.step(self.optimizer)
            scaler.update()
            self.optimizer.zero_grad()
            if self.average is not None:
                move_average(self.average, self.network, 0.001)
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        return step

    def load(self, augment: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Make training patches for some time, one after another, after a first one; give how many a second."""
        # Steps need no kernels: numba is loaded, and has to be there, only where patches are made.
        from connectomake.targets.registry import Targets
        from connectomake.train.normalisation import find_normalisation
        from connectomake.train.patches import TrainingPatches

        cfg, box = self.cfg, self.boxes[0]
        targets = Targets(cfg.targets, box.voxel_size_zyx_nm, box.combinations)
        normalisation = find_normalisation(self.boxes, cfg)
        patches = TrainingPatches(self.boxes, cfg, AugmentConfig.model_validate(augment), targets, normalisation)
        patches[0]  # the first one compiles
        count, started = 0, time.perf_counter()
        while count == 0 or time.perf_counter() - started < seconds:
            count += 1
            patches[count]
        return {"patches_per_s": count / (time.perf_counter() - started)}

    def _forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        else:
            forget_peak()

    def _peak_bytes(self) -> int:
        return torch.cuda.max_memory_reserved() if self.device.type == "cuda" else peak_bytes()


def forget_peak() -> None:
    """Make the system count the peak of this process's memory anew (Linux)."""
    with suppress(OSError):  # then the peak is that of all trials so far: too high, and never too low
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Return the most memory that this process held since `forget_peak`.

    Not `ru_maxrss`: in a child that includes what its parent held when it was started.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes where there is no /proc, on macOS
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def make_up(cfg: TrainConfig) -> LabelledBox:
    """Return a volume somewhat larger than a patch: noise, with cubes as objects or, where learnt, as classes."""
    rng = np.random.default_rng(cfg.seed)
    shape = to_triple([side + min(side, LARGER_VX) for side in cfg.patch_zyx_vx])
    combinations: Combinations | None = None
    groups: Iterable[Iterable[int]] = [range(1, 1000)]
    if cfg.targets.classes and cfg.targets.classes.named:
        named = cfg.targets.classes.named
        combinations = Combinations.of(named, np.eye(len(named)))
        groups = [combinations.having(name) for name in named]
    elif cfg.targets.classes:
        groups = cfg.targets.classes.labels.values()
    values = np.array([0, *(value for group in groups for value in group)], np.int32)
    cubes = values[np.arange(np.prod([-(-side // OBJECT_VX) for side in shape])) % len(values)]
    labels = np.kron(
        rng.permutation(cubes).reshape([-(-side // OBJECT_VX) for side in shape]),
        np.ones((OBJECT_VX,) * 3, np.int32),
    )
    raw = rng.integers(0, 256, (1, *shape), np.uint8)
    labels = labels[tuple(map(slice, shape))].copy()
    return LabelledBox("made up", raw, labels, 1, shape, MADE_UP_NM, 1.0, combinations=combinations)


def main() -> None:
    """Answer requests until there are none left; an error that the user can act on is an answer too."""
    said = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    trainer: Trainer | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if trainer is None:
                trainer = Trainer(**request)
                answer = trainer.describe()
            else:
                answer = trainer.load(**request) if "augment" in request else trainer.measure(**request)
        except ConnectomakeError as error:
            answer = {"error": str(error)}
        said.write(json.dumps(answer) + "\n")
        said.flush()


if __name__ == "__main__":
    main()
