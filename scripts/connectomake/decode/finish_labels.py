"""Declare labels that were written block by block complete, once they are."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode.blocks.layout import plan_blocks
from connectomake.decode.blocks.stitched import Stitched
from connectomake.decode.whole import describe_labels
from connectomake.ledger import Ledger

log = logging.getLogger(__name__)


def finish_labels(affinities: Path, labels: Path, stitched: Path, cfg: DecodeConfig, *, code: str = "") -> None:
    """Check that every block is written, write the store's ``zarr.json``, and remove what lay between.

    Parameters
    ----------
    affinities, labels, cfg, code
        As label_blocks got them.
    stitched
        What stitch_blocks wrote.

    Raises
    ------
    MissingDataError
        Nothing was written.
    ResumeMismatchError
        The store was written with other settings.
    DataError
        Blocks are missing.
    """
    plan = plan_blocks(affinities, labels, cfg, code=code)
    Ledger.open(plan.labels / "ledger")
    Ledger(plan.labels / "ledger", plan.settings).require_all(len(plan.blocks), "relabel_blocks")
    n_objects = Stitched.read(stitched).n_objects
    describe_labels(cfg, n_objects, plan.prediction).write(plan.labels)
    shutil.rmtree(plan.parts.parent)
    log.info("%s is complete: %d objects in %d blocks", labels, n_objects, len(plan.blocks))
