"""What prediction is checked for on a GPU, as functions of a device and of sizes, so that a CPU can run them small."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from connectomake.config.settings.train_architectures import ModelConfig
from connectomake.geometry import BlockGrid, Box, Triple
from connectomake.models import build_model
from connectomake.models.device import choose_memory_format
from connectomake.pipeline import run_overlapped
from connectomake.precision.choose import choose_for_prediction
from connectomake.predict.network.evaluate import Ensemble, build_ensemble
from connectomake.predict.network.recipe import Recipe
from connectomake.predict.windows.grid import WindowGrid, blending_weights
from connectomake.predict.windows.sliding import SlidingWindow
from connectomake.predict.windows.steps import Step, blocks_of_job, plan_steps
from connectomake.volumes.region import Region

MEAN, STD, CHANNELS = 128.0, 74.0, 6
OVERLAP = 0.5
ROOM = 3.5  # times what one window at once needs: what a GPU's memory is cut down to


@dataclass(frozen=True)
class Task:
    """A prediction: a network, where and in what it computes, and the windows that it sees.

    Parameters
    ----------
    model
        Settings of the network, whose weights are random.
    device, precision
        As in config/predict.
    window_zyx
        A window's sides.
    batch
        Windows at once.
    """

    model: ModelConfig
    device: torch.device
    precision: str
    window_zyx: Triple
    batch: int = 1

    def network(self) -> nn.Module:
        """Build the network, the same each time."""
        torch.manual_seed(0)
        return build_model(self.model, 1, CHANNELS, ["affinity"] * CHANNELS).to(self.device).eval()

    def ensemble(self, network: nn.Module | None = None, compile: str = "no") -> Ensemble:
        """Put what happens around a network, by default its own, around it."""
        recipe, network = Recipe(mean=MEAN, std=STD, channels=tuple(range(CHANNELS))), network or self.network()
        return build_ensemble(
            [network],
            [recipe],
            device=self.device,
            in_channels=1,
            window_zyx=self.window_zyx,
            precision=self.precision,
            compile=compile,
        )

    def bare(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the network alone, in the arithmetic and the layout that it predicts in."""
        network = self.network()
        layout = choose_memory_format(network)
        dtype = choose_for_prediction(self.precision, self.device, network, (1, 1, *self.window_zyx))
        network = network.to(memory_format=layout)

        def run(windows: torch.Tensor) -> torch.Tensor:
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                return network(windows.contiguous(memory_format=layout))

        return run

    @property
    def is_on_gpu(self) -> bool:
        """Whether memory of a GPU is counted."""
        return self.device.type == "cuda"


@dataclass
class Predicted:
    """What a prediction gave, (C, Z, Y, X) uint8, and what it took; the GPU's peak is 0 on a CPU."""

    values: np.ndarray
    seconds: float
    windows: int
    peak_gb: float

    @property
    def rate(self) -> float:
        """Million voxels of the volume in a second."""
        return self.values[0].size / 1e6 / self.seconds

    @property
    def window_s(self) -> float:
        """Seconds of a window: blocks compute some windows repeatedly."""
        return self.seconds / self.windows

    @property
    def numbers(self) -> dict[str, float]:
        """What is told of it."""
        return {"mvoxel_per_s": self.rate, "seconds": self.seconds, "windows": self.windows, "peak_gb": self.peak_gb}


def make_raw(side: int) -> np.ndarray:
    """Return a volume of noise, (1, Z, Y, X) uint8: neither noise nor random weights change how long anything takes."""
    return np.random.default_rng(0).integers(0, 256, (1, side, side, side), np.uint8)


def measure(task: Task, work: Callable[[], tuple[np.ndarray, int]]) -> Predicted:
    """Time a prediction, and measure the peak of the GPU's memory."""
    gc.collect()
    if task.is_on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    values, windows = work()
    if task.is_on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return Predicted(values, seconds, windows, torch.cuda.max_memory_allocated() / 1e9 if task.is_on_gpu else 0.0)


def warm_up(task: Task, run: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Run a batch of windows twice, which chooses algorithms and compiles; return the seconds of the first time."""
    windows, seconds = torch.zeros((task.batch, 1, *task.window_zyx), device=task.device), []
    with torch.inference_mode():
        for _ in range(2):
            started = time.perf_counter()
            run(windows).sum().item()
            seconds.append(time.perf_counter() - started)
    return seconds[0]


def predict_in_blocks(task: Task, ensemble: Ensemble, raw: np.ndarray, block: int) -> Predicted:
    """Predict a volume in memory block by block, as the blocks' job does: read, compute and write in three threads."""
    shape = raw.shape[1:]
    grid, blocks = WindowGrid(shape, task.window_zyx, OVERLAP), BlockGrid(shape, (block,) * 3)
    steps = plan_steps(grid, Region(Box.of_shape(shape)), blocks, blocks_of_job(blocks, 0, 1))
    sliding = SlidingWindow(ensemble, grid, batch=task.batch)
    values = np.empty((CHANNELS, *shape), np.uint8)
    left: list[Any] = [None]

    def read(step: Step) -> torch.Tensor | None:
        return None if step.reads is None else sliding.load(raw[:, *step.reads.slices])

    def compute(step: Step, source: torch.Tensor | None) -> np.ndarray:
        sums = sliding.open_sums(step.sums, left[0] if step.goes_on else None)
        left[0] = None
        if source is not None and step.reads is not None:
            sliding.add_windows(sums, source, step.reads, step.windows)
        bottom = step.core.stop_zyx[0]
        left[0] = sums.cut(Box((bottom, *sums.box.start_zyx[1:]), sums.box.stop_zyx))
        return sliding.finish(sums, step.core)

    def write(step: Step, result: np.ndarray) -> None:
        values[:, *step.core.slices] = result

    def work() -> tuple[np.ndarray, int]:
        run_overlapped(steps, read, compute, write)
        return values, sum(len(step.windows) for step in steps)

    return measure(task, work)


def predict_bare(task: Task, side: int) -> Predicted:
    """Run the network alone over as many windows as a volume has, which lie on the device, normalised; no values."""
    count, run = len(WindowGrid((side,) * 3, task.window_zyx, OVERLAP)), task.bare()
    windows = torch.randn((task.batch, 1, *task.window_zyx), device=task.device)
    warm_up(task, run)

    def work() -> tuple[np.ndarray, int]:
        # The outer context keeps the weights that the inner ones turn into half precision.
        with torch.inference_mode(), torch.autocast(task.device.type, enabled=False):
            for _ in range(-(-count // task.batch)):
                run(windows)
        return np.empty((1, side, side, side), np.uint8), count

    return measure(task, work)


def predict_by_monai(task: Task, raw: np.ndarray) -> Predicted:
    """Predict a volume by MONAI's sliding windows, all of it on the device, with the same weights of windows.

    MONAI's own Gaussian is the same, but for weights below 0.001, which it raises to that.
    """
    run = task.bare()
    inferer = SlidingWindowInferer(task.window_zyx, sw_batch_size=task.batch, overlap=OVERLAP, mode="gaussian")
    inferer.roi_weight_map = torch.from_numpy(blending_weights(task.window_zyx, "gaussian")).to(task.device)
    warm_up(task, run)

    def work() -> tuple[np.ndarray, int]:
        with torch.inference_mode(), torch.autocast(task.device.type, enabled=False):
            volume = torch.from_numpy(raw)[None].to(task.device).float().sub_(MEAN).div_(STD)
            values = inferer(volume, lambda windows: run(windows).float().sigmoid_())
            stored = values[0].mul_(255).round_().to(torch.uint8).cpu().numpy()
        return stored, len(WindowGrid(raw.shape[1:], task.window_zyx, OVERLAP))

    return measure(task, work)


def compare(found: Predicted, expected: Predicted) -> dict[str, float]:
    """Return the largest difference of stored values, and the share of values that differ at all."""
    largest, differing = 0, 0
    for mine, others in zip(found.values, expected.values, strict=True):
        difference = np.maximum(mine, others) - np.minimum(mine, others)
        largest, differing = max(largest, int(difference.max())), differing + np.count_nonzero(difference)
    return {"largest_difference": largest, "share_differing": differing / found.values.size}


class TooFew(nn.Module):
    """A network whose memory suffices for some windows at once, on a device that has no limit of its own."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Run the network, or refuse as CUDA does."""
        if len(windows) > self.most:
            raise torch.OutOfMemoryError("no room")
        return self.network(windows)


def predict_with_too_many(task: Task, raw: np.ndarray, batch: int) -> tuple[Predicted, Predicted, int]:
    """Predict with memory for some windows only and a batch that is larger; return the batch that it came down to, too.

    A GPU's memory is cut down for this process alone, to some times what one window needs.
    """
    grid, whole = WindowGrid(raw.shape[1:], task.window_zyx, OVERLAP), Box.of_shape(raw.shape[1:])

    def predict(ensemble: Ensemble, batch: int) -> tuple[Predicted, int]:
        sliding = SlidingWindow(ensemble, grid, batch=batch)
        return measure(task, lambda: (sliding.predict(raw, whole, whole), len(grid))), sliding.batch

    expected, _ = predict(task.ensemble(), 1)
    if not task.is_on_gpu:
        found, left = predict(task.ensemble(TooFew(task.network(), 3)), batch)
        return found, expected, left
    ensemble, total = task.ensemble(), torch.cuda.get_device_properties(task.device).total_memory
    weights = torch.cuda.memory_allocated()
    room = weights + ROOM * (1e9 * expected.peak_gb - weights)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, room / total))
    try:
        found, left = predict(ensemble, batch)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return found, expected, left
