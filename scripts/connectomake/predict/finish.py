"""Declare a prediction complete, once it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from connectomake.blocks import Ledger
from connectomake.errors import DataError, ResumeMismatchError
from connectomake.geometry import BlockGrid
from connectomake.volumes.files import read_json
from connectomake.volumes.store import finish_store

log = logging.getLogger(__name__)

NAMED_BLOCKS = 10  # of those missing, in the error


def finish_prediction(markers: Sequence[Path], store: Path) -> None:
    """Check that every block of a prediction is there, and write the store's ``zarr.json``.

    The store's attributes are the settings in its ledger: offsets, edge convention, activation, checkpoint hash,
    voxel size, window, overlap, blending and so on.

    Parameters
    ----------
    markers
        The files that the jobs wrote when they were done.
    store
        The store that they wrote to.

    Raises
    ------
    MissingDataError
        Nothing was predicted, or a marker is missing.
    ResumeMismatchError
        A job worked with other settings than the store was begun with.
    DataError
        Blocks are missing.
    """
    ledger = Ledger.open(store / "ledger")
    for marker in markers:
        if read_json(marker).get("settings_hash") != ledger.settings_hash:
            raise ResumeMismatchError(
                f"{marker} is of a prediction with other settings than {store}", hint="run its job again"
            )
    settings = ledger.settings
    blocks = BlockGrid(settings["volume"]["shape_zyx"], settings["block_zyx_vx"])
    missing = sorted(set(range(len(blocks))) - ledger.done())
    if missing:
        named = ", ".join(map(str, missing[:NAMED_BLOCKS])) + (", ..." if len(missing) > NAMED_BLOCKS else "")
        raise DataError(
            f"{store} lacks {len(missing)} of {len(blocks)} blocks ({named})",
            hint=f"run predict_affinities again for the jobs of these blocks: with {len(markers)} jobs, "
            f"{', '.join(str(job) for job in sorted({block % len(markers) for block in missing})[:NAMED_BLOCKS])}"
            if markers
            else "run predict_affinities again",
        )
    finish_store(
        store,
        attributes=settings,
        voxel_size_zyx_nm=settings["voxel_size_zyx_nm"],
        offset_zyx_nm=settings["offset_zyx_nm"],
    )
    log.info("%s is complete: %d blocks", store, len(blocks))
