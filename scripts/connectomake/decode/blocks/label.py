"""Label blocks one by one: the first of three steps of decoding a volume that is larger than memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode.blocks.faces import BlockLabels, keep_core, label_block, save_faces
from connectomake.decode.blocks.job import run_block_job
from connectomake.decode.blocks.layout import Plan, plan_blocks
from connectomake.decode.registry import decode
from connectomake.decode.whole import read_channels, warn_if_outside
from connectomake.files import explain_write_failure
from connectomake.ledger import Ledger
from connectomake.volumes.store import create_store


def label_blocks(
    affinities: Path,
    labels: Path,
    cfg: DecodeConfig,
    *,
    job: int = 0,
    jobs: int = 1,
    threads: int = 1,
    marker: Path | None = None,
    code: str = "",
) -> None:
    """Label the blocks job, job + jobs, job + 2 jobs, ... of a volume that are not labelled yet, each by itself.

    Parameters
    ----------
    affinities
        A finished store of affinities.
    labels
        The store that relabel_blocks will write; what lies between is put beside it (see `decode.blocks.layout`).
    cfg
        The settings of the stage.
    job, jobs
        Which job this is, from 0, and how many there are.
    threads
        The labels do not depend on it.
    marker
        A small file that says the job is done; written last.
    code
        See `plan_blocks`.

    Raises
    ------
    ConfigError
        There are no blocks in the settings.
    DataError
        The affinities cannot be decoded, or the disk refuses.
    """
    plan = plan_blocks(affinities, labels, cfg, code=code)
    ledger = Ledger(plan.part_labels / "ledger", plan.settings)
    array = create_store(plan.part_labels, dtype=np.uint32, is_temporary=True, **plan.layout)

    def read(block: int) -> np.ndarray:
        return read_channels(plan.affinities, plan.indices, plan.around(block, cfg.block_halo_vx))

    def compute(block: int, values: np.ndarray) -> BlockLabels:
        return _label(plan, block, values, threads)

    def write(block: int, found: BlockLabels) -> None:
        with explain_write_failure(plan.part_labels):
            array[plan.blocks[block].slices] = found.labels
        save_faces(plan.faces(block), found)

    run_block_job(ledger, plan.blocks, job, jobs, read, compute, write, marker)


def _label(plan: Plan, block: int, values: np.ndarray, threads: int) -> BlockLabels:
    small_vx = plan.cfg.min_size_vx if plan.cfg.remove_small == "neighbor" else 0
    if not plan.is_exact:
        found = decode(values, _without_treatment(plan.cfg), channels=plan.channels, threads=threads)
        core = plan.blocks[block].within(plan.around(block, plan.cfg.block_halo_vx))
        return keep_core(found, core, small_vx=small_vx)
    box, whole = plan.blocks[block], plan.blocks.shape_zyx
    warn_if_outside(values, plan.cfg, f"block {block} of {plan.affinities.source}")
    low = [a > 0 for a in box.start_zyx]
    high = [a < b for a, b in zip(box.stop_zyx, whole, strict=True)]
    return label_block(
        values,
        plan.cfg.threshold,
        edge_offset=plan.edge_offset,
        open_low=(low[0], low[1], low[2]),
        open_high=(high[0], high[1], high[2]),
        small_vx=small_vx,
        threads=threads,
    )


def _without_treatment(cfg: DecodeConfig) -> DecodeConfig:
    """Return settings that leave small objects and gaps as they are: these are treated when objects are whole."""
    return cfg.model_copy(update={"min_size_vx": 0, "remove_small": "none", "fill": "none"})
