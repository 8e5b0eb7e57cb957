"""Write the labels of a volume block by block, with the ids that stitching found."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode.blocks.job import run_block_job
from connectomake.decode.blocks.layout import Plan, plan_blocks
from connectomake.decode.blocks.stitched import Stitched
from connectomake.decode.filling.fill import fill_gaps
from connectomake.decode.whole import describe_labels, read_channels
from connectomake.errors import DataError
from connectomake.files import explain_write_failure
from connectomake.geometry import Box
from connectomake.ledger import Ledger
from connectomake.volumes.store import create_store
from connectomake.volumes.volume import Volume, open_volume

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


def relabel_blocks(
    affinities: Path,
    labels: Path,
    stitched: Path,
    cfg: DecodeConfig,
    *,
    job: int = 0,
    jobs: int = 1,
    marker: Path | None = None,
    code: str = "",
) -> None:
    """Write the final labels of the blocks job, job + jobs, job + 2 jobs, ... that are not written yet.

    With `fill: grow` a block is read with a halo of `fill_distance_vx`, so that it grows as the whole volume would.

    Parameters
    ----------
    affinities, labels, cfg, code
        As label_blocks got them.
    stitched
        What stitch_blocks wrote.
    job, jobs
        Which job this is, from 0, and how many there are.
    marker
        A small file that says the job is done; written last.

    Raises
    ------
    ResumeMismatchError
        The store was begun with other settings.
    DataError
        What label_blocks and stitch_blocks made is not there, or the disk refuses.
    """
    plan = plan_blocks(affinities, labels, cfg, code=code)
    table = IdTable(plan, Stitched.read(stitched))
    ledger = Ledger(plan.labels / "ledger", plan.settings)
    array = create_store(plan.labels, dtype=table.dtype, **plan.layout)
    parts = open_part_labels(plan)
    fills = cfg.fill != "none"
    halo_vx = cfg.fill_distance_vx if fills else 0

    def read(block: int) -> tuple[np.ndarray, np.ndarray | None]:
        box = plan.around(block, halo_vx)
        return parts.read(box), read_channels(plan.affinities, plan.indices, box) if fills else None

    def compute(block: int, loaded: tuple[np.ndarray, np.ndarray | None]) -> np.ndarray:
        box = plan.around(block, halo_vx)
        found = table.apply(loaded[0], box)
        if loaded[1] is not None:
            fill_gaps(found, loaded[1], cfg, plan.channels)
        return found[plan.blocks[block].within(box).slices]

    def write(block: int, found: np.ndarray) -> None:
        with explain_write_failure(plan.labels):
            array[plan.blocks[block].slices] = found

    run_block_job(ledger, plan.blocks, job, jobs, read, compute, write, marker)


def open_part_labels(plan: Plan) -> Volume:
    """Open the ids that label_blocks wrote.

    Raises
    ------
    DataError
        They are gone.
    """
    if not plan.part_labels.exists():
        raise DataError(f"{plan.part_labels} is not there", hint="run label_blocks and stitch_blocks again")
    return open_volume(
        f"{plan.part_labels}::s0",
        axes="zyx",
        voxel_size_zyx_nm=plan.affinities.voxel_size_zyx_nm,
        offset_zyx_nm=plan.affinities.offset_zyx_nm,
    )


class IdTable:
    """The new ids of every block's own ids.

    Parameters
    ----------
    plan
        The grid of blocks.
    stitched
        What stitch_blocks wrote.
    """

    def __init__(self, plan: Plan, stitched: Stitched) -> None:
        self.blocks = plan.blocks
        self.base = stitched.base
        self.dtype = stitched.dtype
        path = plan.parts / stitched.table
        if not path.is_file():
            raise DataError(f"{path} is not there", hint="run label_blocks and stitch_blocks again")
        self._ids = np.load(path, mmap_mode="r")

    def of_block(self, block: int) -> NDArray:
        """Return the new id of each of a block's ids 0..n."""
        ids = np.zeros(self.base[block + 1] - self.base[block] + 1, self.dtype)
        ids[1:] = self._ids[self.base[block] + 1 : self.base[block + 1] + 1]
        return ids

    def apply(self, labels: NDArray[np.uint32], box: Box) -> NDArray:
        """Turn the ids of blocks in a box of voxels (Z, Y, X) into new ones."""
        found = labels if self.dtype == labels.dtype else np.empty(labels.shape, self.dtype)
        for block in self.blocks.touching(box):
            inside = self.blocks[block].intersect(box).within(box).slices
            replace_ids(labels[inside], self.of_block(block), found[inside])
        return found


@njit(cache=True, nogil=True)
def replace_ids(labels, new_id, out):  # type: ignore[no-untyped-def]
    """Write `new_id[labels]` (Z, Y, X) into `out`, which may be `labels` itself."""
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                out[z, y, x] = new_id[labels[z, y, x]]
