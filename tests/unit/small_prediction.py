"""A small volume and a small network, and how they are predicted from plan to store; shared by several tests."""

from pathlib import Path

import numpy as np
import torch
import zarr
from small_volume import write_description

from connectomake.config.settings.predict import PredictConfig
from connectomake.config.settings.train_architectures import UnetConfig
from connectomake.geometry import BlockGrid
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, save_checkpoint
from connectomake.models.registry import build_model
from connectomake.predict.job import predict_blocks
from connectomake.predict.plan import plan_prediction
from connectomake.predict.plan_file import write_plan
from connectomake.predict.windows.steps import blocks_of_job
from connectomake.volumes.store import write_store

SHAPE = (20, 40, 36)
SIZE = (20.0, 9.0, 9.0)
NAMES = ("z1", "y1", "x1", "z9")
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (-9, 0, 0))
CHANNELS = [
    {"name": name, "target": "affinity", "offset_zyx_vx": list(offset), "activation": "sigmoid"}
    for name, offset in zip(NAMES, OFFSETS, strict=True)
]
UNET = UnetConfig(filters=(4, 8), strides_zyx=((2, 2, 2),), residual_units=0)
CFG = PredictConfig(block_zyx_vx=(16, 16, 16), chunk_zyx_vx=(8, 8, 8), precision="float32", device="cpu")


def change(cfg=CFG, **values):
    return PredictConfig.model_validate({**cfg.model_dump(), **values})


def draw_raw(shape=SHAPE, seed=2):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def write_volume(folder, raw):
    folder.mkdir(parents=True, exist_ok=True)
    write_store(folder / "raw.zarr", raw, voxel_size_zyx_nm=SIZE, offset_zyx_nm=(5, 6, 7), chunk_zyx=(16, 16, 16))
    description = {
        "name": "small",
        "voxel_size_zyx_nm": SIZE,
        "offset_zyx_nm": [5, 6, 7],
        "shape_zyx": list(raw.shape),
        "raw": {"source": "raw.zarr", "axes": "zyx", "box_zyx_vx": [[0, 0, 0], list(raw.shape)], "dtype": "uint8"},
        "labels": None,
    }
    return write_description(folder / "volume.json", description)


def make_meta(channels=CHANNELS, **options):
    given = {
        "architecture": describe_architecture(UNET),
        "in_channels": 1,
        "channels": list(channels),
        "normalisation": {"mean": 120.0, "std": 60.0, "each": "together"},
        "voxel_size_zyx_nm": SIZE,
        "window_zyx": (8, 16, 16),
        "divisor_zyx": (2, 2, 2),
    }
    return CheckpointMeta(**given | options)


def write_checkpoint(path, seed=0, **options):
    meta = make_meta(**options)
    torch.manual_seed(seed)
    network = build_model(UNET, meta.in_channels, len(meta.channels))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)  # lest an untrained network say nothing
    save_checkpoint(path, network, meta)
    return path


def plan(volume, checkpoints, store, cfg=CFG, name="small"):
    path = store.with_name(f"{store.stem}-plan.json")
    decided = plan_prediction(volume, checkpoints, cfg, name=name, folder=str(volume.parent), store=store)
    write_plan(decided, path)
    return path


def predict(volume, checkpoints, store, cfg=CFG, jobs=1, order=None, name="small"):
    """Plan, and do these of the jobs; gives the markers of all."""
    planned = plan(volume, checkpoints, store, cfg, name)
    return run_jobs(planned, volume, checkpoints, store, cfg, jobs, order)


def run_jobs(planned, volume, checkpoints, store, cfg=CFG, jobs=1, order=None):
    markers = [store.parent / f"{store.stem}-{k}-of-{jobs}.json" for k in range(jobs)]
    for k in order or range(jobs):
        predict_blocks(planned, volume, checkpoints, store, cfg, job=k, jobs=jobs, marker=markers[k])
    return markers


def read(store):
    return zarr.open_array(store / "s0", mode="r")[:]


def read_files(store):
    """Return all files of a store but the ledger's jobs and what a killed writer left."""
    files = (path for path in Path(store).rglob("*") if path.is_file() and "partial" not in path.name)
    return {str(path.relative_to(store)): path.read_bytes() for path in files if path.parent.name != "ledger"}


def blocks_of(job, jobs, block_zyx=CFG.block_zyx_vx, shape=SHAPE):
    return blocks_of_job(BlockGrid(shape, block_zyx), job, jobs)
