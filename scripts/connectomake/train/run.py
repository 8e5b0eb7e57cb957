"""Train a model from a split to a checkpoint, or go on where the last attempt stopped."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment

from connectomake.blocks import SETTINGS_FILE, fix_settings
from connectomake.config.augment import AugmentConfig
from connectomake.config.train import TrainConfig
from connectomake.errors import ConfigError, DataError
from connectomake.geometry import to_triple
from connectomake.models import build_model
from connectomake.models.arithmetic import choose_device, choose_dtype
from connectomake.models.checkpoint import CheckpointMeta, describe_architecture, save_checkpoint
from connectomake.split.table import SplitRow, read_split
from connectomake.targets.registry import Targets
from connectomake.train.history import History, Progress
from connectomake.train.loading import PatchData
from connectomake.train.module import Training
from connectomake.train.patches import (
    Normalisation,
    TrainingPatches,
    ValidationPatches,
    check_sizes,
    measure_grey_values,
)
from connectomake.train.selection import Selection
from connectomake.train.states import Interrupted, KeepState, Signals, list_states, read_newest_state
from connectomake.train.volumes import LabelledBox, open_boxes
from connectomake.volumes.files import replacing

log = logging.getLogger(__name__)

STATES = "states"
# They change how long a training takes, or where it ends, but no step of it.
FREE = frozenset(
    {"max_minutes", "device", "precision", "workers", "memory_gb", "checkpoint_every_steps", "checkpoint_every_min"}
)
# Warnings that nobody here can act on: Lightning 2.6 with torch 2.13, and its wish for a worker per core.
LIGHTNINGS_OWN = (".*LeafSpec.*", ".*does not have many workers.*")
PRECISIONS = {torch.float32: "32-true", torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed"}


def train_model(
    split: Path,
    checkpoint: Path,
    metrics: Path,
    run_folder: Path,
    cfg: TrainConfig,
    augment: AugmentConfig,
    threads: int = 1,
) -> bool:
    """Train a model; the same call after an interruption goes on from the last state.

    Parameters
    ----------
    split
        The table of boxes and roles.
    checkpoint, metrics
        The files to write when the training is finished.
    run_folder
        States, history and settings of the training, kept between attempts.
    cfg, augment
        Settings.
    threads
        Cores to compute with.

    Returns
    -------
    bool
        Whether the training is finished; False where a signal (SIGTERM, SIGUSR1) interrupted it, and the outputs are
        not written.

    Raises
    ------
    ResumeMismatchError
        `run_folder` holds a training with other settings or data.
    DataError
        The volumes cannot be trained on: too small, of different kinds, without contrast.
    ModelError
        The training diverged.
    """
    torch.set_num_threads(threads)
    rows = read_split(split)
    boxes, validation = (open_boxes(rows, role, cfg.memory_gb) for role in ("train", "validate"))
    _check(boxes, validation, cfg)
    normalisation, targets = measure_grey_values(boxes, cfg), Targets(cfg.targets)
    training = TrainingPatches(boxes, cfg, augment, targets, normalisation)
    data = PatchData(
        training, ValidationPatches(validation, cfg, targets, normalisation), cfg.batch, cfg.max_steps, cfg.workers
    )
    module, precision = _build(cfg, boxes[0].channels, len(targets.channels))
    _claim(run_folder, _settings_of(rows, cfg, augment))
    with Signals() as signals:
        selection = _fit(module, data, cfg, precision, run_folder, signals)
    if selection is None:
        return False
    if cfg.keep == "best":
        module.result.load_state_dict(selection.weights)
    meta = _describe(cfg, augment, rows, boxes[0], targets, normalisation, selection)
    save_checkpoint(checkpoint, module.result, meta)
    with replacing(metrics) as temporary:
        shutil.copyfile(run_folder / "metrics.csv", temporary)
    return True


def _claim(run_folder: Path, settings: dict[str, Any]) -> None:
    """Record the settings in the run folder, or check that a training begun there had the same."""
    if not list_states(run_folder / STATES):  # an attempt that came to nothing binds nobody
        (run_folder / SETTINGS_FILE).unlink(missing_ok=True)
    fix_settings(run_folder, settings, results=run_folder)


def _fit(
    module: Training, data: PatchData, cfg: TrainConfig, precision: str, run_folder: Path, signals: Signals
) -> Selection | None:
    """Train from the newest state to the end; None where a signal came before that."""
    states = run_folder / STATES
    keep = KeepState(states, cfg.checkpoint_every_steps, cfg.checkpoint_every_min, cfg.max_minutes, signals)
    selection = Selection(cfg.keep == "best", cfg.patience)
    module.time_share = lambda: keep.time_share
    found = read_newest_state(states)
    if found is not None and found[1]["callbacks"][keep.state_key]["finished"]:
        module.load_state_dict(found[1]["state_dict"])
        selection.load_state_dict(found[1]["callbacks"][selection.state_key])
        return selection
    if found is not None:
        log.info("training goes on from %s", found[0])
    callbacks = [selection, History(run_folder, keep), Progress(), keep]
    trainer = _make_trainer(cfg, precision, len(data.validation) > 0, callbacks)
    try:
        with warnings.catch_warnings():
            for message in LIGHTNINGS_OWN:
                warnings.filterwarnings("ignore", message=message)
            trainer.fit(module, datamodule=data, ckpt_path=found[0] if found else None, weights_only=True)
    except Interrupted as stop:
        log.warning("interrupted by %s; the same command goes on from there", stop)
        return None
    return selection


def _make_trainer(cfg: TrainConfig, precision: str, validates: bool, callbacks: list[pl.Callback]) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its tips and tables
    device = choose_device(cfg.device)
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        # Told, not guessed: in a Slurm job Lightning would take over signals and requeueing, which are the workflow's.
        plugins=[LightningEnvironment()],
        precision=precision,  # type: ignore[arg-type]
        max_steps=cfg.max_steps,
        max_epochs=-1,
        val_check_interval=cfg.validate_every_steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validates else 0,
        benchmark=device.type == "cuda",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _build(cfg: TrainConfig, in_channels: int, out_channels: int) -> tuple[Training, str]:
    """Build the network with the weights that the seed gives, and choose its arithmetic."""
    torch.manual_seed(cfg.seed)
    network = build_model(cfg.model, in_channels, out_channels)
    device = choose_device(cfg.device)
    dtype = choose_dtype(cfg.precision, device, network)
    if dtype == torch.float16 and device.type == "cpu":
        raise ConfigError("train.precision float16 needs a GPU", hint="use auto, bfloat16 or float32")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    count = sum(p.numel() for p in network.parameters())
    log.info("%s: %s parameters, %s on %s", cfg.model.architecture, f"{count:,}", PRECISIONS[dtype], device.type)
    return Training(network, cfg, fused=dtype != torch.float16), PRECISIONS[dtype]


def _check(boxes: Sequence[LabelledBox], validation: Sequence[LabelledBox], cfg: TrainConfig) -> None:
    if not boxes:
        raise DataError("the split has no box to train on", hint="give a volume the role train")
    if not validation and (cfg.keep == "best" or cfg.patience is not None):
        raise ConfigError(
            "train.keep: best and train.patience need a volume to validate on",
            hint="set split.method to slab or blocks",
        )
    if validation and validation[0].channels != boxes[0].channels:
        raise DataError(
            f"volume {validation[0].name} cannot validate",
            expected=f"{boxes[0].channels} channels",
            got=validation[0].channels,
        )
    if not validation:
        log.warning("no volume to validate on: nothing will tell whether the network only learns by heart")
    check_sizes(boxes, cfg)


def _settings_of(rows: Sequence[SplitRow], cfg: TrainConfig, augment: AugmentConfig) -> dict[str, Any]:
    """Give what must not change between two attempts of one training."""
    used = [row for row in rows if row.role in ("train", "validate")]
    return {
        "train": cfg.model_dump(mode="json", exclude=set(FREE)),
        "augment": augment.model_dump(mode="json"),
        "split": [[row.volume, row.role, row.box.start_zyx, row.box.stop_zyx, row.weight] for row in used],
    }


def _describe(
    cfg: TrainConfig,
    augment: AugmentConfig,
    rows: Sequence[SplitRow],
    box: LabelledBox,
    targets: Targets,
    normalisation: Normalisation,
    selection: Selection,
) -> CheckpointMeta:
    """Say what the network is; nothing in it depends on time or place, so equal trainings have equal hashes."""
    return CheckpointMeta(
        architecture=describe_architecture(cfg.model),
        in_channels=box.channels,
        channels=[channel.as_dict() for channel in targets.channels],
        normalisation={"mean": normalisation.mean, "std": normalisation.std},
        voxel_size_zyx_nm=box.voxel_size_zyx_nm,
        window_zyx=to_triple(cfg.patch_zyx_vx),
        divisor_zyx=to_triple(cfg.model.divisor_zyx),
        provenance={
            **_settings_of(rows, cfg, augment),
            "best_step": selection.best_step,
            "best_validate_loss": selection.best_loss if selection.best_step else None,
        },
    )
