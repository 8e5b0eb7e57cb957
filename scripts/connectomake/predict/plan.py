"""Decide once what a prediction does, refuse what it cannot do, and write it down for all jobs."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from connectomake.config.settings.predict import PredictConfig
from connectomake.models.ensemble import VOXEL_SIZE_TOLERANCE, check_ensemble
from connectomake.predict.cost.estimate import choose_block
from connectomake.predict.cost.needs import describe_task, find_begun_block, find_needs
from connectomake.predict.network.members import (
    Member,
    check_input,
    check_room,
    choose_channels,
    choose_window,
    hash_members,
    open_members,
)
from connectomake.predict.network.normalise import find_normalisations
from connectomake.predict.network.recipe import Recipe
from connectomake.predict.network.symmetries import check_symmetries
from connectomake.predict.plan_file import Plan, PredictionSettings
from connectomake.regions.choose import choose_region
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.prediction import WorkingLevel
from connectomake.volumes.scale import choose_scale, open_working
from connectomake.volumes.volume import Readable, fingerprint

log = logging.getLogger(__name__)

COPIED = (
    "overlap",
    "margin_zyx_vx",
    "blending",
    "activation",
    "precision",
    "compile",
    "dtype",
    "pyramid",
    "chunk_zyx_vx",
)
"""Settings that decide the result as they are."""


def plan_prediction(
    volume_json: Path,
    checkpoints: Sequence[Path],
    cfg: PredictConfig,
    *,
    name: str = "",
    folder: str = "",
    store: Path | None = None,
    threads_per_job: int = 1,
) -> Plan:
    """Decide what is predicted and how, refuse what cannot be, and say what it takes.

    Parameters
    ----------
    volume_json
        The volume, as ingest describes it.
    checkpoints
        The network, or several whose predictions are averaged.
    cfg
        The settings of the stage.
    name
        The volume's name, by which ``cfg.regions`` has its region.
    folder
        The folder of the data, where relative paths start.
    store
        Where the prediction will lie; where one was begun, its blocks are kept. None = nowhere yet.
    threads_per_job
        Threads that a job will have, for the estimate of its time.

    Raises
    ------
    ConfigError
        The window or an orientation does not suit the network; a channel is asked for that it does not have; the
        volume has no voxels of the size that it was trained with; or not even one chunk fits the memory.
    DataError
        The volume, its region or its grey values do not suit the network.
    ModelError
        The checkpoints cannot be used, or not together.
    ResumeMismatchError
        The store was begun with other settings.
    """
    members = open_members(checkpoints)
    check_ensemble({member.path: member.meta for member in members})
    size = members[0].meta.voxel_size_zyx_nm
    volume = IngestedVolume.read(volume_json)
    level, resample_to = choose_scale(volume, size, cfg.scale, VOXEL_SIZE_TOLERANCE)
    working = open_working(volume, level, resample_to)
    check_input(working, members[0], VOXEL_SIZE_TOLERANCE)
    window_zyx, channels = choose_window(members, cfg), choose_channels(members[0], cfg)
    check_room(working, window_zyx, cfg.margin_zyx_vx)
    check_symmetries(cfg.tta, window_zyx, working.voxel_size_zyx_nm, members[0].outputs)
    region = choose_region(cfg.regions.get(name), volume.open_raw(), working, name=name, folder=folder)
    recipes = [
        Recipe(mean, std, channels, cfg.activation, cfg.blending, member.outputs, cfg.dtype)
        for member, (mean, std) in zip(members, find_normalisations(working, members), strict=True)
    ]
    settings = {
        "volume": {
            "fingerprint": fingerprint(open_working(volume, level)),
            "shape_zyx": working.shape_zyx,
            "dtype": working.dtype.name,
        },
        "source": WorkingLevel(level, resample_to is not None).as_plain(),
        "region": region.as_settings(),
        "voxel_size_zyx_nm": region.voxel_size_zyx_nm,
        "offset_zyx_nm": region.offset_zyx_nm,
        "checkpoint_hash": hash_members(members),
        "edge_convention": members[0].meta.edge_convention,
        "window_zyx_vx": window_zyx,
        "block_zyx_vx": cfg.block_zyx_vx,
        "tta": cfg.tta.model_dump(mode="json"),
        **_describe_recipes(recipes),
        **{key: getattr(cfg, key) for key in COPIED},
    }
    plain = json.loads(json.dumps(settings))  # as jobs read it: with lists for tuples
    draft = Plan.of_settings(PredictionSettings.of_plain(plain, working.source), recipes)
    return _fit(draft, members, working, cfg, store, threads_per_job)


def _fit(
    draft: Plan, members: Sequence[Member], working: Readable, cfg: PredictConfig, store: Path | None, threads: int
) -> Plan:
    """Return a plan blocks that fit the memory, or those that its store was begun with, and say what it takes."""
    begun = find_begun_block(draft.settings, store)
    task = describe_task(members, working, draft.windows, draft.region, len(draft.recipes[0].channels), cfg)
    block_zyx = begun or choose_block(task, cfg.block_zyx_vx, cfg.chunk_zyx_vx, cfg.memory_gb)
    plan = Plan.of_settings(draft.settings.with_blocks(block_zyx), draft.recipes)
    _log_plan(plan, working)
    return replace(plan, needs=find_needs(task, plan.region, plan.blocks, cfg, threads))


def _describe_recipes(recipes: Sequence[Recipe]) -> dict[str, Any]:
    """Return what readers of the result want to know of them."""
    kept = recipes[0].kept
    normalisations = [{"mean": recipe.mean, "std": recipe.std} for recipe in recipes]
    return {
        "channels": [channel.name for channel in kept],
        "offsets_zyx_vx": [channel.offset_zyx_vx for channel in kept],
        "activations": recipes[0].activations,
        "normalisation": normalisations[0] if len(recipes) == 1 else normalisations,
    }


def _log_plan(plan: Plan, working: Readable) -> None:
    """Describe what will be computed."""
    box, crops = plan.region.box, len(plan.region.crops)
    parts = [f"{crops} crops"] * bool(crops) + ["a mask"] * (plan.region.stencil is not None)
    log.info(
        "%s%s, voxels of %s nm: %s of %s voxels%s; %d channels%s, in %d blocks of %s voxels",
        working.source,
        " resampled" if plan.settings.level.is_resampled else "",
        plan.region.voxel_size_zyx_nm,
        box.shape_zyx,
        plan.windows.shape_zyx,
        f" ({' and '.join(parts)} in them)" if parts else "",
        len(plan.recipes[0].channels),
        f", the mean of {len(plan.recipes)} networks" if len(plan.recipes) > 1 else "",
        len(plan.blocks),
        plan.blocks.block_zyx,
    )
