"""What a training is checked for on a GPU, as functions of settings, so that a CPU can run them small.

All of them train by the package's own `Training` and trainer, on patches that numpy alone makes; only `make_patches`
wants the loader, and says why where it cannot be had.
"""

import gc
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import nn

from connectomake.config.engine.compose import Presets
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import ModelError
from connectomake.fitting import processes
from connectomake.fitting.finite import Watch
from connectomake.fitting.loading import PatchData
from connectomake.fitting.time_limit import TimeLimit
from connectomake.fitting.trainer import choose_arithmetic, make_trainer, train_on
from connectomake.models import build_model
from connectomake.precision.choose import choose_for_training
from connectomake.train.broken import explain
from connectomake.train.module import Training

PROJECT = Path(__file__).parents[2]
CUBE_VX = 16  # side of the objects in made-up patches
FIRST_SCALE = 2.0**16  # of torch's gradient scaler
BUSY_CYCLES = 10**9  # that a GPU is kept busy with: some half a second

# What `exchange` gives.
EXCHANGED = {
    "first_does": "done",
    "gather": [{"rank": 0}, None],  # there is no second
    "largest": 3.0,
    "largest_in_place": 1.0,
    "sum_in_place": [0.0, 1.0, 2.0],
    "gradient": [2.0, 2.0, 2.0],
    "running_var": [0.5, 0.5],
}

Batch = dict[str, torch.Tensor]


class Joined(TrainConfig):
    """Settings of one process that trains as if there were others: Lightning is given its strategy for several."""

    @property
    def processes(self) -> int:
        """More than there are."""
        return 2


def banis(kind: type[TrainConfig] = TrainConfig, **changes: Any) -> TrainConfig:
    """Return the settings of config/train/banis.yaml with changes; patches come from a thread unless they say more."""
    settings = Presets(PROJECT).get("train", "banis", "tests/gpu").settings
    return kind.model_validate(settings.model_dump() | {"workers": 0, "memory_gb": 0} | changes)


class CubePatches:
    """Patches of cubes, each of a brightness of its own, with noise and affinities; made by numpy alone."""

    def __init__(self, cfg: TrainConfig) -> None:
        self.cfg = cfg

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        rng, shape = np.random.default_rng((self.cfg.seed, number)), self.cfg.patch_zyx_vx
        cubes = rng.permutation(math.prod(-(-side // CUBE_VX) for side in shape)) + 1
        cubes = cubes.reshape([-(-side // CUBE_VX) for side in shape])
        labels = np.kron(cubes, np.ones((CUBE_VX,) * 3, int))[tuple(map(slice, shape))]
        raw = labels * 7 % 10 / 10 + 0.05 * rng.standard_normal(shape)
        found = [compare_neighbours(labels, channel.offset_zyx_vx) for channel in self.cfg.targets.channels]
        values, mask = (np.stack(parts) for parts in zip(*found, strict=True))
        return {"raw": raw[None].astype(np.float32), "values": values, "mask": mask}

    def volume_of(self, number: int) -> str:
        """Name the volume that a patch is from."""
        return "cubes"


def compare_neighbours(labels: np.ndarray, offset_zyx: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the affinities of one offset, and the mask of those whose other end lies in the patch."""
    sides = list(zip(labels.shape, offset_zyx, strict=True))
    here = tuple(slice(max(0, -o), n - max(0, o)) for n, o in sides)
    there = tuple(slice(max(0, o), n - max(0, -o)) for n, o in sides)
    values, mask = np.zeros(labels.shape, np.uint8), np.zeros(labels.shape, bool)
    values[here], mask[here] = labels[here] == labels[there], True
    return values, mask


class BrokenPatches(CubePatches):
    """Patches of which one holds an infinite grey value."""

    def __init__(self, cfg: TrainConfig, broken: int) -> None:
        super().__init__(cfg)
        self.broken = broken

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        sample = super().__getitem__(number)
        if number == self.broken:
            sample["raw"][0, 0, 0, 0] = np.inf
        return sample


class OneBatch(PatchData):
    """The same batch of random tensors at every step, which lies on the device already: nothing waits for a loader."""

    def __init__(self, cfg: TrainConfig, like: dict[str, np.ndarray]) -> None:
        super().__init__(CubePatches(cfg), [], cfg.batch, cfg.max_steps, 0)
        shapes = {name: (cfg.batch, *value.shape) for name, value in like.items()}
        values = torch.randint(0, 2, shapes["values"], dtype=torch.from_numpy(like["values"]).dtype)
        made = {"raw": torch.randn(shapes["raw"]), "values": values, "mask": torch.ones(shapes["mask"], dtype=bool)}
        self.one = {name: value.to(cfg.device) for name, value in made.items()}

    def train_dataloader(self) -> Any:
        """Return it so many times; not in a list, which Lightning takes for several loaders."""
        return Repeated(self.one, self.steps)


@dataclass
class Repeated:
    """A batch, so many times."""

    batch: Batch
    times: int

    def __iter__(self) -> Iterator[Batch]:
        return repeat(self.batch, self.times)


@dataclass
class Run:
    """What a training said: losses of all steps, seconds until the first was made and of one after the warm-up."""

    losses: list[float]
    start_s: float
    step_s: float
    peak_gb: float
    scale: float

    @property
    def skipped(self) -> int:
        """Steps that gradient scaling left out, since a gradient overflowed."""
        return round(math.log2(FIRST_SCALE / self.scale))

    @property
    def numbers(self) -> dict[str, float]:
        """What is told of it."""
        return {"loss": self.losses[-1], "start_s": self.start_s, "step_s": self.step_s, "peak_gb": self.peak_gb}


class Clock(pl.Callback):
    """Notes losses, and times the steps after some; waits for the GPU at the ends of what it times, only."""

    def __init__(self, warmup: int) -> None:
        self.warmup, self.losses, self.scale = warmup, [], FIRST_SCALE
        self.began = self.first = self.warm = self.ended = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.began = now(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(pl_module.trained["loss"])
        if len(self.losses) == 1:
            self.first = now(pl_module.device)
        if len(self.losses) == self.warmup:
            self.warm = now(pl_module.device)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.ended = now(pl_module.device)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.scale = FIRST_SCALE if scaler is None else scaler.get_scale()


def now(device: torch.device) -> float:
    """Return the time at which a device has done all that it was asked for (s)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def forget_memory(cfg: TrainConfig) -> None:
    """Release what no tensor needs, and count the peak of the GPU's memory anew."""
    gc.collect()
    if cfg.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def train(
    cfg: TrainConfig,
    patches: Any,
    folder: Path,
    *,
    data: PatchData | None = None,
    warmup: int = 1,
    callbacks: Sequence[pl.Callback] = (),
) -> Run:
    """Train a new network for all steps of its settings, and return what was measured; the GPU's peak is 0 on a CPU."""
    forget_memory(cfg)
    torch.manual_seed(cfg.seed)
    channels = cfg.targets.channels
    network = build_model(cfg.model, 1, len(channels), [channel.target for channel in channels])
    shape, clock = (cfg.batch, 1, *cfg.patch_zyx_vx), Clock(warmup)
    dtype = choose_arithmetic(cfg, lambda precision, where: choose_for_training(precision, where, network, shape))
    module = Training(network, cfg, channels, dtype != torch.float16, Watch(folder, explain))
    trainer = make_trainer(cfg, dtype, LightningEnvironment(), False, [clock, *callbacks])
    data = data or PatchData(patches, [], cfg.batch, cfg.max_steps, cfg.workers, cfg.accumulate)
    assert train_on(trainer, module, data, None, TimeLimit())
    module.watch.settle(module)
    steps = max(1, cfg.max_steps - warmup)
    peak = torch.cuda.max_memory_allocated() if cfg.device == "cuda" else 0
    losses = [float(loss) for loss in clock.losses]
    return Run(losses, clock.first - clock.began, (clock.ended - clock.warm) / steps, peak / 1e9, clock.scale)


def differ(run: Run, other: Run, steps: slice) -> float:
    """Return by how much the mean losses of some steps differ, as a share."""
    mine, others = np.mean(run.losses[steps]), np.mean(other.losses[steps])
    return float(abs(mine - others) / others)


def make_patches(cfg: TrainConfig, augment: str) -> tuple[Any, str]:
    """Return patches as the loader makes them of a made-up volume, and how; or `CubePatches`, and why."""
    try:
        from connectomake.autoconfig.trial import make_up
        from connectomake.targets.registry import Targets
        from connectomake.train.normalisation import find_normalisation
        from connectomake.train.patches import TrainingPatches
    except ImportError as error:
        return CubePatches(cfg), f"patches by numpy alone: {error}"
    boxes = [make_up(cfg)]
    settings = Presets(PROJECT).get("augment", augment, "tests/gpu").settings
    assert isinstance(settings, AugmentConfig)
    targets = Targets(cfg.targets, boxes[0].voxel_size_zyx_nm)
    return TrainingPatches(boxes, cfg, settings, targets, find_normalisation(boxes, cfg)), f"augment: {augment}"


def compare_loader(cfg: TrainConfig, patches: Any, folder: Path, warmup: int) -> dict[str, float]:
    """Time steps with a loader, and before and after it those with one batch of random tensors on the device."""
    like = patches[0]  # also compiles the kernels
    before = train(cfg, patches, folder, data=OneBatch(cfg, like), warmup=warmup)
    loaded = train(cfg, patches, folder, warmup=warmup)
    after = train(cfg, patches, folder, data=OneBatch(cfg, like), warmup=warmup)
    cached_s = (before.step_s + after.step_s) / 2
    return {
        "cached_step_s": cached_s,
        "loaded_step_s": loaded.step_s,
        "ratio": loaded.step_s / cached_s,
        "workers": cfg.workers,
        "patches_per_s": cfg.batch / loaded.step_s,
    }


@contextmanager
def group_of_one(device: torch.device, folder: Path) -> Iterator[str]:
    """Open a group of processes with this one alone, by nccl on a GPU and by gloo on a CPU, as a training does."""
    on_gpu = device.type == "cuda"
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(
        backend,
        init_method=f"file://{folder / 'group'}",
        rank=0,
        world_size=1,
        device_id=device if on_gpu else None,
    )
    try:
        yield backend
    finally:
        dist.destroy_process_group()


def exchange(device: torch.device) -> dict[str, Any]:
    """Let the only process of a group exchange all that those of a training do, as if there were two."""
    weight = nn.Parameter(torch.zeros(3, device=device))
    weight.grad = torch.full((3,), 4.0, device=device)
    network = nn.BatchNorm3d(2).to(device)
    with patch.object(processes, "world", lambda: 2):
        processes.average_gradients([weight])
        processes.average_buffers(network)
        return {
            "first_does": processes.first_does(lambda: "done"),
            "gather": processes.gather({"rank": 0}),
            "largest": processes.largest(3.0, device),
            "largest_in_place": processes.largest_in_place(torch.ones((), device=device)).item(),
            "sum_in_place": processes.sum_in_place(torch.arange(3.0, device=device)).tolist(),
            "gradient": weight.grad.tolist(),
            "running_var": network.running_var.tolist(),
        }


class Weights(pl.Callback):
    """Keeps a copy of the first weights after every step."""

    def __init__(self) -> None:
        self.after: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.after.append(next(pl_module.network.parameters()).detach().clone())


def break_off(cfg: TrainConfig, broken: int, folder: Path) -> tuple[str, list[bool]]:
    """Train on patches of which one is broken; return the error, and after each step whether it changed the weights."""
    weights = Weights()
    try:
        train(cfg, BrokenPatches(cfg, broken), folder, callbacks=[weights])
    except ModelError as error:
        changed = [not torch.equal(a, b) for a, b in zip(weights.after, weights.after[1:], strict=False)]
        return str(error), changed
    raise AssertionError("the training went on with an infinite loss")


def list_lacking_compilers() -> list[str]:
    """Name what torch.compile needs on a GPU and does not find."""
    has_c = any(shutil.which(name) for name in ("gcc", "clang", "cc")) or "CC" in os.environ
    return ["Triton"] * (find_spec("triton") is None) + ["a C compiler"] * (not has_c)


def looks_without_waiting(device: torch.device) -> bool:
    """Return whether a step is looked at before the GPU has done what it was asked for earlier."""
    watch, optimizer = Watch(Path(), explain), SimpleNamespace()
    module: Any = SimpleNamespace(trainer=SimpleNamespace(precision_plugin=None, global_step=0))
    ahead = False
    for cycles in (1, BUSY_CYCLES):  # the first time, memory that is pinned for the answer may be waited for
        one, done = torch.ones((), device=device), torch.cuda.Event()
        torch.cuda.synchronize()
        torch.cuda._sleep(cycles)
        watch.see(one, first=True)
        watch.check(module, optimizer, one)  # type: ignore[arg-type]
        done.record()
        ahead = not done.query()
        torch.cuda.synchronize()
        watch.settle(module)
    return ahead
