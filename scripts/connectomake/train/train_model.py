"""Train a model from a split to a checkpoint, or go on where the last attempt stopped."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import ClusterEnvironment
from torch import nn

from connectomake.channels import Channel
from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import ConfigError, DataError
from connectomake.files import replacing
from connectomake.fitting.finite import Watch
from connectomake.fitting.history import History, Progress, name_columns
from connectomake.fitting.loading import PatchData
from connectomake.fitting.processes import first_does, joined_processes, rank
from connectomake.fitting.states import STATES, KeepState, Signals, claim_folder, find_newest_state
from connectomake.fitting.time_limit import find_limit
from connectomake.fitting.trainer import PRECISIONS, choose_arithmetic, make_trainer, train_on
from connectomake.models import build_model
from connectomake.models.checkpoint import load_tensors
from connectomake.models.device import choose_device, keep_freed_memory
from connectomake.models.initial_weights import load_initial_weights
from connectomake.precision.choose import choose_for_training
from connectomake.predict.cost.network import list_costs
from connectomake.split.table import SplitRow, read_split
from connectomake.targets.registry import Targets
from connectomake.train.broken import explain
from connectomake.train.description import describe_training, save_network, settings_of
from connectomake.train.module import Segment, Training
from connectomake.train.normalisation import Normalisation, find_normalisation
from connectomake.train.patches import TrainingPatches, ValidationPatches, check_known
from connectomake.train.segmentation_score import SegmentationScore, read_skeletons
from connectomake.train.selection import Selection
from connectomake.train.volumes import LabelledBox, open_boxes, read_volumes
from connectomake.volumes.ingested import IngestedVolume

log = logging.getLogger(__name__)

BEST = "best"


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

    Where several processes train together, each makes this call; the first writes.

    Parameters
    ----------
    split
        The table of boxes and roles.
    checkpoint, metrics
        The files to write when the training is finished.
    run_folder
        States, history, best checkpoints and settings of the training, kept between attempts.
    cfg, augment
        Settings.
    threads
        Cores to compute with, of all processes of this node together.

    Returns
    -------
    bool
        Whether the training is finished; False where a signal (SIGTERM, SIGUSR1) or the time limit of its Slurm job
        interrupted it, and the outputs are not written.

    Raises
    ------
    ResumeMismatchError
        `run_folder` holds a training with other settings or data.
    ConfigError
        The settings do not fit the data, the machine, or how the training was started.
    DataError
        The volumes cannot be trained on: too small, of different kinds, without contrast.
    ModelError
        The training diverged.
    """
    torch.set_num_threads(max(1, threads // cfg.devices))
    if choose_device(cfg.device).type == "cpu":
        keep_freed_memory()
    cfg = _shorten(cfg) if cfg.fast_dev_run else cfg
    with joined_processes(cfg) as environment:
        if rank():
            logging.disable(logging.WARNING)  # the first tells
        return _train(split, checkpoint, metrics, run_folder, cfg, augment, environment)


def _train(
    split: Path,
    checkpoint: Path,
    metrics: Path,
    run_folder: Path,
    cfg: TrainConfig,
    augment: AugmentConfig,
    environment: ClusterEnvironment,
) -> bool:
    rows = read_split(split)
    # Of the validation volumes little is read, and seldom: all memory is for training.
    volumes = read_volumes(rows)
    boxes = open_boxes(rows, "train", cfg.memory_gb / cfg.devices, cfg.targets, volumes)
    validation = open_boxes(rows, "validate", 0, cfg.targets, volumes)
    _check(boxes, validation, cfg)
    normalisation = find_normalisation(boxes, cfg)
    targets = Targets(cfg.targets, boxes[0].voxel_size_zyx_nm, boxes[0].combinations)
    patches = TrainingPatches(boxes, cfg, augment, targets, normalisation)
    first_does(lambda: check_known(patches))
    data = PatchData(
        patches,
        ValidationPatches(validation, cfg, targets, normalisation),
        cfg.batch, cfg.max_steps, cfg.workers, cfg.accumulate,
    )  # fmt: skip
    meta = describe_training(cfg, augment, rows, boxes[0], targets.channels, normalisation)
    first_does(lambda: claim_folder(run_folder, settings_of(rows, cfg, augment)))
    state = first_does(lambda: find_newest_state(run_folder / STATES))
    network = _build(cfg, boxes[0].channels, targets.channels, fresh=state is None)
    meta = replace(meta, costs=list_costs(network, boxes[0].channels, cfg.patch_zyx_vx))
    dtype = choose_arithmetic(cfg, _choose(network, cfg, boxes[0].channels, len(data.validation)))
    count = sum(p.numel() for p in network.parameters())
    log.info("%s: %s parameters, %s", cfg.model.architecture, f"{count:,}", PRECISIONS[dtype])
    segment = _prepare_segmentation(rows, volumes, validation, cfg, normalisation, targets.channels)
    module = Training(network, cfg, targets.channels, dtype != torch.float16, Watch(run_folder, explain), segment)
    selection = Selection(cfg, run_folder / BEST, partial(save_network, meta=meta))
    if not _fit(module, data, selection, state, run_folder, partial(make_trainer, cfg, dtype, environment)):
        return False
    if rank() == 0:
        if selection.weights:
            module.result.load_state_dict(selection.weights)
        elif cfg.keep != "last":
            log.warning("no validation gave a %s: the last network is saved, not the best one", selection.score)
        save_network(checkpoint, module.result, selection.found, meta=meta)
        with replacing(metrics) as temporary:
            shutil.copyfile(run_folder / "metrics.csv", temporary)
    return True


def _shorten(cfg: TrainConfig) -> TrainConfig:
    """Return the settings of a trial: one step and one validation."""
    return cfg.model_copy(update={"max_steps": 1, "validate_every_steps": 1, "patience": None})


def _fit(
    module: Training,
    data: PatchData,
    selection: Selection,
    state: Path | None,
    run_folder: Path,
    make: Callable[[bool, Sequence[pl.Callback]], pl.Trainer],
) -> bool:
    """Train from a state to the end, and tell whether it was reached: a signal or the time limit may come before."""
    with Signals() as signals:
        limit = first_does(find_limit)
        keep = KeepState(run_folder / STATES, module.cfg, signals, limit)
        module.time_share = lambda: keep.time_share
        if state is not None:
            found = load_tensors(state)
            if found["callbacks"][keep.state_key]["finished"]:
                module.on_load_checkpoint(found)
                module.load_state_dict(found["state_dict"])
                selection.load_state_dict(found["callbacks"][selection.state_key])
                return True
            log.info("training goes on from %s", state)
        history = History(run_folder, keep, name_columns(module.cfg, module.loss_names))
        trainer = make(len(data.validation) > 0, [selection, history, Progress(), keep])
        return train_on(trainer, module, data, state, limit)


def _build(cfg: TrainConfig, in_channels: int, channels: Sequence[Channel], fresh: bool) -> nn.Module:
    """Build the network with the weights that the seed gives, or those asked for."""
    torch.manual_seed(cfg.seed)
    network = build_model(cfg.model, in_channels, len(channels), [channel.target for channel in channels])
    if fresh and cfg.initial_weights is not None:
        load_initial_weights(network, cfg.initial_weights)
    return network


def _choose(
    network: nn.Module, cfg: TrainConfig, in_channels: int, validated: int
) -> Callable[[str, torch.device], torch.dtype]:
    """Return what chooses the arithmetic of a training that validates on so many patches."""
    shape = (cfg.batch, in_channels, *cfg.patch_zyx_vx)
    seen = {1, cfg.batch, validated % cfg.batch} - {0}
    return lambda precision, device: choose_for_training(precision, device, network, shape, seen)


def _prepare_segmentation(
    rows: Sequence[SplitRow],
    volumes: Mapping[Path, IngestedVolume],
    boxes: Sequence[LabelledBox],
    cfg: TrainConfig,
    normalisation: Normalisation,
    channels: Sequence[Channel],
) -> Segment | None:
    """Make what segments the validation volumes; in the first process only, which measures for all."""
    if cfg.validate_segmentation is None:
        return None
    shown = [row for row in rows if row.role == "validate" and row.share != 0]
    skeletons = [read_skeletons(row, volumes[row.volume_json]) for row in shown]
    made: list[SegmentationScore] = []
    first_does(lambda: made.append(SegmentationScore(boxes, cfg, normalisation, channels, skeletons)))
    return made[0].score if made else None


def _check(boxes: Sequence[LabelledBox], validation: Sequence[LabelledBox], cfg: TrainConfig) -> None:
    if not boxes:
        raise DataError("the split has no box to train on", hint="give a volume the role train")
    asked = {
        f"keep: {cfg.keep}": cfg.keep != "last",
        "keep_best": cfg.keep_best > 0,
        "patience": cfg.patience is not None,
        "schedule.shape: plateau": cfg.schedule.shape == "plateau",
        "validate_segmentation": cfg.validate_segmentation is not None,
    }
    needed = [f"train.{key}" for key, wanted in asked.items() if wanted]
    if needed and not validation:
        raise ConfigError(
            f"{' and '.join(needed)}: there is no volume to validate on",
            hint="give a volume the role validate, or set split.method to slab or blocks",
        )
    if validation and validation[0].channels != boxes[0].channels:
        raise DataError(
            f"volume {validation[0].name} cannot validate",
            expected=f"{boxes[0].channels} channels",
            got=validation[0].channels,
        )
    if not validation:
        log.warning("no volume to validate on: nothing will tell whether the network only learns by heart")
