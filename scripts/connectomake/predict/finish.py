"""Declare a prediction complete, once it is: its coarse levels are made, and its attributes written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.errors import DataError, ResumeMismatchError
from connectomake.files import read_json
from connectomake.geometry import BlockGrid
from connectomake.ledger import SETTINGS_FILE, Ledger
from connectomake.predict.windows.steps import job_of_block
from connectomake.volumes.prediction import AGAIN, Prediction
from connectomake.volumes.pyramid import create_pyramid
from connectomake.volumes.store import LEVEL, list_levels

log = logging.getLogger(__name__)


def finish_prediction(markers: Sequence[Path], store: Path, *, threads: int = 1) -> None:
    """Check that every block of a prediction is there, make its coarse levels, and write the store's ``zarr.json``.

    The store's attributes are the settings in its ledger: offsets, edge convention, activation, checkpoint hash,
    voxel size, window, overlap, blending and so on. It can be killed and run again at any time: until ``zarr.json`` is
    there, the store counts as not finished, and the levels get the same bytes.

    Parameters
    ----------
    markers
        The files that the jobs wrote when they were done.
    store
        The store that they wrote to.
    threads
        Threads that make the coarse levels, each with up to about 0.3 GB.

    Raises
    ------
    MissingDataError
        Nothing was predicted, or a marker is missing.
    ResumeMismatchError
        A job worked with other settings than the store was begun with.
    DataError
        Blocks are missing, or the disk refuses.
    """
    ledger = Ledger.open(store / "ledger")
    reports = [_read_marker(marker, ledger) for marker in markers]
    prediction = Prediction.of_plain(ledger.settings, str(ledger.folder / SETTINGS_FILE))
    layout = _read_layout(prediction)
    array = read_json(store / LEVEL / "zarr.json")
    blocks = BlockGrid(array["shape"][-3:], layout["shard_zyx"])
    ledger.require_all(len(blocks), "predict_affinities", job_of_block(blocks, len(markers)) if markers else None)
    pyramid = create_pyramid(
        store,
        shape=tuple(array["shape"]),
        dtype=array["data_type"],
        coarser=prediction.has_pyramid,  # stores that an older version began have one level
        **layout,
    )
    pyramid.fill_coarse(threads)
    prediction.write(store)
    _log_summary(store, array, len(blocks), reports)


def _read_layout(prediction: Prediction) -> dict[str, Any]:
    """Return how the store is cut into files and where it lies, as `create_pyramid` takes it."""
    layout = {
        "chunk_zyx": prediction.chunk_zyx_vx,
        "shard_zyx": prediction.block_zyx_vx,
        "voxel_size_zyx_nm": prediction.voxel_size_zyx_nm,
        "offset_zyx_nm": prediction.offset_zyx_nm,
    }
    missing = [key for key, value in layout.items() if value is None]
    if missing:
        raise DataError(
            f"{prediction.source} does not say how the store is laid out", expected=" and ".join(missing), hint=AGAIN
        )
    return layout


def _read_marker(marker: Path, ledger: Ledger) -> dict[str, Any]:
    report: dict[str, Any] = read_json(marker)
    if report.get("settings_hash") != ledger.settings_hash:
        store = ledger.folder.parent
        raise ResumeMismatchError(
            f"{marker} is of a prediction with other settings than {store}", hint="run its job again"
        )
    return report


def _log_summary(store: Path, array: Mapping[str, Any], blocks: int, reports: Sequence[Mapping[str, Any]]) -> None:
    """Describe what was predicted, what it takes on the disk, and how long that took."""
    shape, folders = array["shape"], list_levels(store)
    files = [file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file()]
    finest = sum(file.stat().st_size for file in folders[0].rglob("*") if file.is_file())
    log.info(
        "%s is complete: %s voxels (z, y, x), %d channels, %d levels; %.3f GB on disk, of it %.3f GB the finest, which "
        "is %.1f times as much in memory",
        store,
        " x ".join(map(str, shape[-3:])),
        shape[0],
        len(folders),
        sum(files) / 1e9,
        finest / 1e9,
        prod(shape) * np.dtype(array["data_type"]).itemsize / max(finest, 1),
    )
    seconds = sum(float(report.get("seconds", 0)) for report in reports)
    computed = sum(int(report.get("computed", 0)) for report in reports)
    if seconds and computed:
        rate = prod(shape[-3:]) * computed / blocks / seconds / 1e6
        log.info("%d of %d blocks in %.0f s of all jobs: %.3f Mvoxel/s for each", computed, blocks, seconds, rate)
