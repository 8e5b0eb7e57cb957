"""Declare a prediction complete, once it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from connectomake.blocks import Ledger
from connectomake.errors import ResumeMismatchError
from connectomake.geometry import BlockGrid
from connectomake.volumes.files import read_json
from connectomake.volumes.store import finish_store

log = logging.getLogger(__name__)


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
    ledger.require_all(len(blocks), "predict_affinities", jobs=len(markers))
    finish_store(
        store,
        attributes=settings,
        voxel_size_zyx_nm=settings["voxel_size_zyx_nm"],
        offset_zyx_nm=settings["offset_zyx_nm"],
    )
    log.info("%s is complete: %d blocks", store, len(blocks))
