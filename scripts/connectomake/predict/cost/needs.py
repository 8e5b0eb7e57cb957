"""Choose the blocks of a prediction, and say what it takes in them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from connectomake.config.settings.jobs import AUTO
from connectomake.config.settings.predict import PredictConfig
from connectomake.geometry import BlockGrid, Triple
from connectomake.ledger import SETTINGS_FILE, Ledger
from connectomake.models.device import DTYPES
from connectomake.precision.choose import guess_dtype
from connectomake.predict.cost.estimate import Task, estimate_needs, log_needs
from connectomake.predict.cost.network import find_cost, measure_network
from connectomake.predict.cost.workload import count_windows
from connectomake.predict.network.members import Member
from connectomake.predict.network.symmetries import list_symmetries
from connectomake.predict.plan_file import PredictionSettings
from connectomake.predict.windows.grid import WindowGrid
from connectomake.predict.windows.sliding import as_torch_can
from connectomake.volumes.contract import Record
from connectomake.volumes.prediction_needs import PredictionNeeds
from connectomake.volumes.region import Region
from connectomake.volumes.volume import Readable

log = logging.getLogger(__name__)


def describe_task(
    members: Sequence[Member], working: Readable, windows: WindowGrid, region: Region, channels: int, cfg: PredictConfig
) -> Task:
    """Return what decides memory and time, apart from the blocks.

    With ``device: auto`` and ``precision: auto``, that of this machine is taken, where no GPU may be, though a job has
    one: then its memory suffices all the same.
    """
    device = "cpu" if cfg.device == "cpu" or (cfg.device == "auto" and not torch.cuda.is_available()) else "cuda"
    dtypes = [
        guess_dtype(cfg.precision, torch.device(device), partial(getattr, member, "network")) for member in members
    ]
    return Task(
        windows=windows,
        box=region.box,
        networks=tuple(
            find_cost(member.meta.costs, windows.window_zyx, dtype)
            or measure_network(member.network, member.meta.in_channels, windows.window_zyx, dtype)
            for member, dtype in zip(members, dtypes, strict=True)
        ),
        channels=channels,
        raw_bytes=as_torch_can(np.empty(1, working.dtype)).itemsize * working.channels,
        dtype=cfg.dtype,
        precision=next(name for name, dtype in DTYPES.items() if dtype == dtypes[0]),
        device=device,
        symmetries=len(list_symmetries(cfg.tta, windows.window_zyx)),
        batch=cfg.batch if device == "cuda" else 1,
        compiled=cfg.compile != "no",
    )


def find_begun_block(settings: PredictionSettings, store: Path | None) -> Triple | None:
    """Return the block of a store that was begun with these settings; None where none was.

    Raises
    ------
    ResumeMismatchError
        It was begun with others, apart from the block; names those that differ.
    """
    if store is None or not (store / "ledger" / SETTINGS_FILE).exists():
        return None
    ledger = Ledger.open(store / "ledger")
    recorded = Record(ledger.settings, str(ledger.folder / SETTINGS_FILE), f"delete {store} and predict again")
    begun = recorded.optional(recorded.triple, "block_zyx_vx") or settings.block_zyx_vx
    Ledger(store / "ledger", settings.with_blocks(begun).as_plain())
    log.info("%s was begun, in blocks of %s voxels: these are kept", store, begun)
    return begun


def find_needs(task: Task, region: Region, blocks: BlockGrid, cfg: PredictConfig, threads: int) -> PredictionNeeds:
    """Return what a prediction takes (see `estimate_needs`), and write it to the log."""
    jobs = 1 if cfg.jobs == AUTO else cfg.jobs  # Snakemake's plan is that of one: the number must not change it
    load = count_windows(task.windows, region, blocks, jobs)
    needs = estimate_needs(task, blocks.block_zyx, windows=load.windows, computed=load.computed, threads=threads)
    log_needs(needs, region.box, len(blocks))
    if needs.mem_mb > 1000 * cfg.memory_gb:
        log.warning("that is more than predict.memory_gb: %g; blocks that were begun stay as they are", cfg.memory_gb)
    return needs
