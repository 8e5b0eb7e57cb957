"""Copy a volume once into the store that everything else reads fast, block by block, checking its values on the way."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.errors import ResumeMismatchError
from connectomake.files import explain_write_failure
from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.ingest.content import BLOCK_ZYX, can_be_wrong, check_labels_block, check_not_empty, check_raw_block
from connectomake.ledger import Ledger, job_name
from connectomake.log import progress
from connectomake.sources import is_remote, make_absolute
from connectomake.volumes.store import CHUNK_ZYX, LEVEL, create_store, finish_store, fit_shard
from connectomake.volumes.volume import Volume

log = logging.getLogger(__name__)

BLOCK_BYTES = 2**29


@dataclass(frozen=True)
class Kind:
    """What raw data and labels are called, and what their values are checked for."""

    name: str
    check_block: Callable[[np.ndarray, Volume, Box], None]


RAW = Kind("raw data", check_raw_block)
LABELS = Kind("labels", check_labels_block)


def check_values(volume: Volume, kind: Kind, threads: int) -> None:
    """Check all values of a volume that is not copied; small unsigned ones can only be empty.

    Raises
    ------
    DataError
        See `connectomake.ingest.content`.
    """
    check_not_empty(volume, kind.name)
    if not can_be_wrong(volume.dtype):
        return

    def check(box: Box) -> None:
        kind.check_block(volume.read(box), volume, box)

    _run_all(check, list(BlockGrid(volume.shape_zyx, BLOCK_ZYX)), threads)


def convert(volume: Volume, store: Path, kind: Kind, threads: int) -> None:
    """Copy a volume into a sharded OME-Zarr store, checking its values on the way.

    A conversion that was stopped goes on where it stopped; one of other settings, or of a file that has changed
    since, is done anew. The store is finished (its ``zarr.json`` written) only after the last block.

    Parameters
    ----------
    volume
        What to copy.
    store
        The store's folder.
    kind
        What to check.
    threads
        Blocks at a time; memory is up to twice `BLOCK_BYTES` for each.

    Raises
    ------
    DataError
        The values are wrong, or the disk refuses.
    """
    check_not_empty(volume, kind.name)
    shard_zyx = choose_shard(volume)
    grid = BlockGrid(volume.shape_zyx, choose_block(volume, shard_zyx))
    settings = _settings_of(volume, grid, shard_zyx)
    ledger = _open_ledger(store, settings)
    (store / "zarr.json").unlink(missing_ok=True)
    array = create_store(
        store,
        shape=volume.shape,
        dtype=volume.dtype,
        shard_zyx=shard_zyx,
        voxel_size_zyx_nm=volume.voxel_size_zyx_nm,
        offset_zyx_nm=volume.offset_zyx_nm,
    )

    def copy(number: int) -> int:
        box = grid[number]
        block = volume.read(box)
        kind.check_block(block, volume, box)
        array[(..., *box.slices)] = block
        return number

    done = ledger.done()
    todo = [number for number in range(len(grid)) if number not in done]
    _run_all(copy, todo, threads, lambda number: ledger.mark(number, job_name(0, 1)))
    finish_store(store, attributes={"converted_from": settings})


def choose_shard(volume: Volume) -> Triple:
    """Return the store's shard: one chunk thick where the file holds slices of which more would not fit into memory."""
    shard = fit_shard(volume.shape, volume.dtype)
    together = volume.file_chunks_zyx
    _, height, width = volume.shape_zyx
    slab_bytes = shard[0] * height * width * volume.dtype.itemsize * volume.channels
    if together is not None and together[0] < CHUNK_ZYX[0] and slab_bytes > BLOCK_BYTES:
        return (CHUNK_ZYX[0], shard[1], shard[2])
    return shard


def choose_block(volume: Volume, shard_zyx: Sequence[int]) -> Triple:
    """Return the block of a conversion: whole shards, and as much of what the file decodes as one as memory allows.

    A slice of a picture stack is decoded once if 512 MiB hold as many slices as a shard is thick; beyond that, once
    for each block across it. A ``.nii.gz`` is decompressed once up to 512 MiB, beyond that once for each block.

    Parameters
    ----------
    volume
        The volume to convert.
    shard_zyx
        The shard of the store, in voxels.
    """
    block = list(shard_zyx)
    together = volume.file_chunks_zyx or (1, 1, 1)
    voxel_bytes = volume.dtype.itemsize * volume.channels
    for axis in (2, 1, 0):
        shard = shard_zyx[axis]
        wanted = -(-min(together[axis], volume.shape_zyx[axis]) // shard) * shard
        fitting = BLOCK_BYTES // (prod(block) // block[axis] * voxel_bytes) // shard * shard
        block[axis] = max(shard, min(fitting, wanted))
    return to_triple(block)


def _run_all(
    work: Callable[[Any], Any], items: Sequence[Any], threads: int, note: Callable[[Any], None] = lambda _: None
) -> None:
    """Do all items in threads, and note each result in this one; after an error nothing more is begun."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        tasks = [pool.submit(work, item) for item in items]
        try:
            for task in progress(as_completed(tasks), len(tasks)):
                note(task.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _open_ledger(store: Path, settings: dict[str, Any]) -> Ledger:
    """Open the ledger of a conversion; where it does not belong to what lies there, start from nothing."""
    with explain_write_failure(store):
        if store.exists() and not (store / LEVEL / "zarr.json").is_file():
            shutil.rmtree(store)
        try:
            return Ledger(store / "ledger", settings)
        except ResumeMismatchError as error:
            log.warning("%s is converted anew: %s", store, error)
            shutil.rmtree(store)
        return Ledger(store / "ledger", settings)


def _settings_of(volume: Volume, grid: BlockGrid, shard_zyx: Triple) -> dict[str, Any]:
    """Return all that decides what a converted store holds; of a file, also when it was last changed."""
    file = volume.source.partition("::")[0]
    return {
        "source": make_absolute(volume.source),
        "changed": None if is_remote(file) else Path(file).stat().st_mtime,
        "axes": volume.axes,
        "box_zyx_vx": [list(volume.box.start_zyx), list(volume.box.stop_zyx)],
        "voxel_size_zyx_nm": list(volume.voxel_size_zyx_nm),
        "offset_zyx_nm": list(volume.offset_zyx_nm),
        "dtype": volume.dtype.name,
        "block_zyx": list(grid.block_zyx),
        "shard_zyx": list(shard_zyx),
    }
