"""Volumes and networks to predict with, and the ways that others do it."""

import json
import time
from pathlib import Path

import numpy as np
import torch

from connectomake.config.settings.predict import PredictConfig
from connectomake.files import read_json
from connectomake.geometry import BlockGrid
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, load_checkpoint, save_checkpoint
from connectomake.models.device import choose_memory_format, keep_freed_memory
from connectomake.models.registry import build_model
from connectomake.precision.choose import guess_dtype
from connectomake.predict.job import predict_blocks
from connectomake.predict.plan import plan_prediction
from connectomake.predict.plan_file import write_plan
from connectomake.predict.windows.grid import WindowGrid, blending_weights
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.store import create_store, finish_store

VOXEL_SIZE = (9.0, 9.0, 9.0)
MEAN, STD = 128.0, 74.0
CHANNELS = 3
SHARD = (128, 256, 256)
CPU = torch.device("cpu")


def write_volume(folder, shape_zyx):
    """Write noise, which compresses as badly as anything, as an ingested volume."""
    folder = Path(folder)
    shard = [min(a, -(-n // 64) * 64) for a, n in zip(SHARD, shape_zyx, strict=True)]
    place = {"voxel_size_zyx_nm": VOXEL_SIZE, "offset_zyx_nm": (0, 0, 0)}
    array = create_store(folder / "raw.zarr", shape=tuple(shape_zyx), dtype=np.uint8, shard_zyx=shard, **place)
    rng = np.random.default_rng(0)
    for box in BlockGrid(tuple(shape_zyx), tuple(shard)):
        array[box.slices] = rng.integers(0, 256, box.shape_zyx, dtype=np.uint8)
    finish_store(folder / "raw.zarr", attributes={})
    described = {"name": "noise", "role": "test", "weight": 1.0, "shape_zyx": list(shape_zyx), "settings": {}}
    raw = {"source": "raw.zarr::s0", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], list(shape_zyx)], "dtype": "uint8"}
    (folder / "volume.json").write_text(json.dumps({**described, **place, "raw": raw}))


def write_checkpoint(path, settings, window_zyx, channels=CHANNELS):
    """Write an untrained network whose outputs are the nearest affinities."""
    torch.manual_seed(0)
    offsets = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]] * channels
    meta = CheckpointMeta(
        architecture=describe_architecture(settings),
        in_channels=1,
        channels=[
            {"name": str(c), "offset_zyx_vx": [n * (1 + c // 3) for n in offset], "activation": "sigmoid"}
            for c, offset in enumerate(offsets[:channels])
        ],
        normalisation={"mean": MEAN, "std": STD},
        voxel_size_zyx_nm=VOXEL_SIZE,
        window_zyx=tuple(window_zyx),
        divisor_zyx=settings.divisor_zyx,
    )
    save_checkpoint(Path(path), build_model(settings, 1, channels), meta)


def plan(folder, name, threads, **options):
    """Plan a prediction of the volume in a folder by its network; give what it needs."""
    folder = Path(folder)
    cfg = PredictConfig(device="cpu", **options)
    made = plan_prediction(folder / "volume.json", [folder / "model.ckpt"], cfg, threads_per_job=threads)
    write_plan(made, folder / f"{name}.json")
    return made.needs


def predict(folder, name, threads, store="store", **options):
    """Predict as planned into a store, and give what the job says of its speed."""
    folder = Path(folder)
    marker = folder / f"{store}.json"
    predict_blocks(
        folder / f"{name}.json",
        folder / "volume.json",
        [folder / "model.ckpt"],
        folder / f"{store}.zarr",
        PredictConfig(device="cpu", **options),
        threads=threads,
        marker=marker,
    )
    return read_json(marker)


def load_network(folder, precision):
    """Return the network as it predicts, its type and its layout."""
    network, _ = load_checkpoint(Path(folder) / "model.ckpt")
    layout = choose_memory_format(network)
    return network.to(memory_format=layout), guess_dtype(precision, CPU, lambda: network), layout


def run_bare(folder, window_zyx, count, threads, keep_memory=False, precision="auto"):
    """Run the network alone over windows that are normalised and laid out beforehand; give seconds."""
    torch.set_num_threads(threads)
    if keep_memory:
        keep_freed_memory()
    prepare_bare(folder, window_zyx, 1, precision)()
    run = prepare_bare(folder, window_zyx, count, precision)
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def prepare_bare(folder, window_zyx, count, precision="auto"):
    """Load the network, make so many windows, and give what runs it over them."""
    network, dtype, layout = load_network(folder, precision)
    rng = np.random.default_rng(0)
    windows = [
        torch.from_numpy(rng.standard_normal((1, 1, *window_zyx), np.float32)).contiguous(memory_format=layout)
        for _ in range(count)
    ]

    def run():
        # The outer context keeps the weights that the inner ones turn into bfloat16.
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            for window in windows:
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    network(window)

    return run


def run_monai(folder, window_zyx, overlap, threads, out=None):
    """Predict by MONAI's sliding windows, all in memory; give seconds, reading and writing aside.

    The network has the layout that ours has, is followed by a sigmoid before blending, and windows are weighted by our
    Gaussian: MONAI's is the same but for weights below 0.001, which it raises to that.
    """
    from monai.inferers import SlidingWindowInferer

    torch.set_num_threads(threads)
    network, _, layout = load_network(folder, "float32")
    raw = torch.from_numpy(IngestedVolume.read(Path(folder) / "volume.json").open_raw().read())[None, None]
    inferer = SlidingWindowInferer(window_zyx, sw_batch_size=1, overlap=overlap, mode="gaussian")
    inferer.roi_weight_map = torch.from_numpy(blending_weights(window_zyx, "gaussian"))
    with torch.inference_mode():
        network(torch.zeros(1, 1, *window_zyx).contiguous(memory_format=layout))
        started = time.perf_counter()
        values = inferer(
            raw.float().sub_(MEAN).div_(STD), lambda x: network(x.contiguous(memory_format=layout)).sigmoid_()
        )
        stored = values[0].mul_(255).round_().to(torch.uint8).numpy()
        seconds = time.perf_counter() - started
    if out is not None:
        np.save(out, stored)
    return seconds


def count_windows(shape_zyx, window_zyx, overlap):
    return len(WindowGrid(tuple(shape_zyx), tuple(window_zyx), overlap))
