"""A minute of a generator: both trainings of the autoencoder, latents, diffusion, and a volume made by all of them."""

import csv
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from connectomake.config.engine.compose import Presets
from connectomake.config.engine.fill_generated import GeneratedVolume
from connectomake.config.settings.synth import SynthConfig
from connectomake.files import write_json
from connectomake.geometry import Box
from connectomake.synth.autoencoder_training import train_stage1, train_stage2
from connectomake.synth.diffusion_training import train_diffusion
from connectomake.synth.encode import encode_latents
from connectomake.synth.examples import Example, read_map, read_table, write_table
from connectomake.synth.generator import Generator
from connectomake.volumes.store import write_store

PROJECT = Path(__file__).parents[2]
CUBE_VX = 8  # side of the objects in made-up examples
VOXEL_NM = (8.0, 8.0, 8.0)
EXAMPLES = 3  # of each shape, of which one is held out
STATE_STEPS = 10**6  # no states between: they are the business of other tests


def em_small(device: str, minutes: float, fit: Mapping[str, Any] | None = None, **changes: Any) -> SynthConfig:
    """Return the settings of config/synth/em_small.yaml, cut down to some minutes for each of its three trainings.

    The discriminator begins at once, and each training validates: so all of it is run, however short it is. `fit`
    changes all three trainings, `changes` whole sections.
    """
    plain = Presets(PROJECT).get("synth", "em_small", "tests/gpu").settings.model_dump()
    short = {"max_minutes": minutes, "device": device, "checkpoint_every_steps": STATE_STEPS}
    for stage in ("stage1", "stage2", "diffusion"):
        plain[stage] |= short | {"validate_every_steps": 20, "validate_volumes": 1}
        plain[stage] |= fit or {}
    plain["stage1"]["adversary_from_step"] = 5
    plain["latents"]["turns"] = 2
    plain["diffusion"]["ema"]["every_steps"] = 1
    plain["generate"] |= {"device": device, "steps": 20}
    return SynthConfig.model_validate(plain | changes)


def write_examples(folder: Path, cfg: SynthConfig) -> Path:
    """Write volumes of cubes, each of a brightness of its own, with labels, and the table of them."""
    examples = []
    for shape in cfg.examples.shapes_zyx_vx:
        for number in range(EXAMPLES):
            name = f"{'x'.join(map(str, shape))}_{number}"
            role = "hold" if number == EXAMPLES - 1 else "learn"
            rng, counts = np.random.default_rng(number), [-(-side // CUBE_VX) for side in shape]
            cubes = np.kron(rng.integers(0, 9, counts, np.uint32), np.ones((CUBE_VX,) * 3, np.uint32))
            labels = np.ascontiguousarray(cubes[tuple(map(slice, shape))])
            raw = (labels * 20 + rng.integers(0, 40, shape)).astype(np.uint8)
            file, box = write_labelled(folder / name, raw, labels), Box.of_shape(shape)
            examples.append(Example(name, name, "all", role, file, box, shape, VOXEL_NM, (0.0, 255.0), "uint8"))
    write_table(folder / "examples.tsv", examples)
    return folder / "examples.tsv"


def write_labelled(folder: Path, raw: np.ndarray, labels: np.ndarray) -> Path:
    """Write grey values and labels as an ingested volume, and return its volume.json."""
    place, entries = {"voxel_size_zyx_nm": VOXEL_NM, "offset_zyx_nm": (0.0, 0.0, 0.0)}, {}
    for part, array in (("raw", raw), ("labels", labels)):
        write_store(folder / f"{part}.zarr", array, **place, attributes={})
        box = [[0, 0, 0], list(array.shape)]
        entries[part] = {"source": f"{part}.zarr", "axes": "zyx", "box_zyx_vx": box, "dtype": array.dtype.name}
    common = {"name": folder.name, "role": "train", "weight": 1.0, "shape_zyx": raw.shape, "settings": {}}
    write_json(folder / "volume.json", {**common, **place, **entries})
    return folder / "volume.json"


@dataclass
class Made:
    """What was made: numbers of each stage, the columns of each training by its steps, and the volume."""

    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    columns: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    volume: np.ndarray | None = None


def run_generator(cfg: SynthConfig, folder: Path) -> Made:
    """Train all of a generator and make one volume of its first shape, by what the stages' scripts call."""
    made, examples = Made(), write_examples(folder, cfg)
    paths = {stage: folder / stage / "model.ckpt" for stage in ("stage1", "stage2", "diffusion")}

    def train(stage: str, call: Callable[..., bool], *inputs: Path) -> None:
        run = folder / stage
        run.mkdir()
        seconds, peak = timed(cfg, lambda: call(examples, *inputs, paths[stage], run / "metrics.csv", run / "run", cfg))
        columns = read_columns(run / "metrics.csv")
        made.columns[stage], steps = columns, columns["step"][-1]
        made.numbers[stage] = {"steps": steps, "steps_per_s": steps / seconds, "seconds": seconds, "peak_gb": peak}

    with board_or_none():
        train("stage1", train_stage1)
        train("stage2", train_stage2, paths["stage1"])
        latents, device = folder / "latents", cfg.diffusion.device
        marker = folder / "latents.json"
        seconds, _ = timed(
            cfg, lambda: encode_latents(examples, paths["stage2"], cfg, latents, 0, 1, marker, device=device)
        )
        made.numbers["latents"] = {"seconds": seconds}
        train("diffusion", train_diffusion, paths["stage2"], latents)
    seconds, peak = timed(cfg, lambda: setattr(made, "volume", make_volume(cfg, paths, folder)))
    made.numbers["generate"] = {"seconds": seconds, "peak_gb": peak}
    return made


def find_faults(made: Made, cfg: SynthConfig) -> list[str]:
    """Name what is wrong with what was made; nothing where all is finite and the autoencoder has begun to learn."""
    faults = []
    for stage, columns in made.columns.items():
        faults += [f"{stage}: {name}" for name, values in columns.items() if not np.isfinite(values).all()]
        if not any(name.startswith("validate_") and values for name, values in columns.items()):
            faults.append(f"{stage}: was not validated")
    l1 = made.columns["stage1"]["train_l1"]
    if not min(l1[1:], default=np.inf) < l1[0]:
        faults.append(f"stage1: L1 went from {l1[0]} to {l1[-1]}")
    if made.volume is None or made.volume.shape[1:] != cfg.examples.shapes_zyx_vx[0] or not np.ptp(made.volume) > 0:
        faults.append("generate: no volume")
    return faults


def make_volume(cfg: SynthConfig, paths: dict[str, Path], folder: Path) -> np.ndarray:
    """Make a volume of the first shape, for the labels of its first example where labels are given."""
    generator = Generator(paths["stage2"], paths["diffusion"], cfg)
    first = read_table(folder / "examples.tsv")[0]
    condition = read_map(first, cfg)[0] if cfg.labels.kind == "conditional" else None
    return generator.make(GeneratedVolume("made", generator.classes[0], first.shape_zyx_vx, 0), 0, condition)


def timed(cfg: SynthConfig, work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that some work takes, and the peak of the GPU's memory in GB; 0 on a CPU."""
    on_gpu = cfg.diffusion.device == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    work()
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return seconds, torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0


def read_columns(path: Path) -> dict[str, list[float]]:
    """Read the columns of a metrics.csv, each without its empty cells."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


@contextmanager
def board_or_none() -> Iterator[None]:
    """Let trainings write their history without TensorBoard, where that is not installed: metrics.csv says the same."""
    if find_spec("tensorboard") is not None:
        yield
        return
    with patch.dict(sys.modules, {"torch.utils.tensorboard": SimpleNamespace(SummaryWriter=NoBoard)}):
        yield


class NoBoard:
    """A board that nothing is written on."""

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step = folder, purge_step

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""
