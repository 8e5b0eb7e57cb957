"""The worst errors of a volume that has truth labels but no skeletons: how many voxels, and where to look.

What is lost is always an overlap: voxels of one truth object in one segment. The contingency table says how large
each is; the volumes are read once more for places.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box, position_of, to_triple
from connectomake.log import progress
from connectomake.measure.contingency import Contingency
from connectomake.measure.error_table import KINDS, Ranked, Table, error_table
from connectomake.measure.nearest import nearest_to_median
from connectomake.measure.voxel_samples import REACH_VX, UNUSED, Sample, extent_of, sample_parts
from connectomake.volumes.label_volumes import BLOCK_VX, reading_grid

if TYPE_CHECKING:
    from connectomake.volumes.volume import Readable


def find_voxel_errors(
    table: Contingency,
    truth: Readable,
    segmentation: Readable,
    *,
    worst: int,
    block_vx: int = BLOCK_VX,
    threads: int = 1,
) -> Table:
    """List the worst splits, the worst mergers and the worst missing parts of a segmentation, by the voxels they cost.

    Every segment belongs to the truth object that it shares most voxels with. A *split* is a segment that belongs to an
    object of which another segment holds more; it costs their overlap. A *merger* is a truth object that holds part of
    a segment that belongs to another; it costs their overlap, whether the object was swallowed whole, or torn and a
    piece of it swallowed, or its border misplaced. *Missing* is what an object has in no segment (0). So no voxel is
    lost twice. What is background or unknown in the truth (0 and less) makes no error.

    An error lies at a voxel of its overlap from which the larger part, of the same object or segment, is at most 4
    voxels away straight along an axis: the one nearest to the median of all such voxels. Where the parts are farther
    from each other, or an object is missing, it lies at the voxel nearest to the median of the overlap. Of more than
    64 voxels, 64 drawn by a hash of their place stand for all: one pass within fixed memory finds them, and neither
    blocks nor threads change the result. Blocks without any of the overlaps are read once, others partly again.

    Memory is two blocks for each thread, and 2 KB for each error listed.

    Parameters
    ----------
    table
        The contingency table of the two volumes.
    truth, segmentation
        (Z, Y, X) integer volumes of one shape.
    worst
        So many of each kind are listed, at most.
    block_vx
        Voxels read at a time by each thread; the result does not depend on it.
    threads
        Blocks read at the same time.

    Returns
    -------
    dict
        Columns as of `find_errors`; `truth_a`, `truth_b` are truth labels (of a merger, b holds the smaller part),
        `lost_nm` is NaN, `lost_vx` int64.

    Raises
    ------
    DataError
        When the table holds an overlap that the volumes do not.
    """
    parts, kind_of = _worst_parts(table, worst)
    voxel = _find_places(parts, truth, segmentation, block_vx, threads)
    position = position_of(voxel, segmentation.voxel_size_zyx_nm, segmentation.offset_zyx_nm)
    found = {
        kind: Ranked(
            position[rows],
            parts.whole_truth[rows],
            parts.truth[rows],
            parts.whole_segment[rows],
            parts.segment[rows],
            parts.count[rows],
        )
        for kind in KINDS
        for rows in [kind_of == kind]
    }
    return error_table(found, "vx", segmentation.voxel_size_zyx_nm, segmentation.offset_zyx_nm)


@dataclass(frozen=True)
class _Parts:
    """Overlaps that are lost, and the larger overlap (`whole_`) that each one should or should not be one with."""

    truth: np.ndarray
    segment: np.ndarray
    whole_truth: np.ndarray
    whole_segment: np.ndarray
    count: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> _Parts:
        return _Parts(*(getattr(self, f.name)[rows] for f in fields(self)))


def _worst_parts(table: Contingency, worst: int) -> tuple[_Parts, np.ndarray]:
    """Return the worst splits, mergers and missing parts, each worst first, and the kind of each."""
    objects = (table.truth_id > 0) & (table.segment_id >= 0)
    truth, segment, count = (column[objects] for column in (table.truth_id, table.segment_id, table.count))
    rows, is_labelled = np.arange(len(count)), segment > 0
    of_truth, of_segment = (
        _largest(*ids, np.where(is_labelled, count, 0)) for ids in ((truth, segment), (segment, truth))
    )
    is_own = of_segment == rows
    lost = (is_own & (of_truth != rows) & is_labelled, ~is_own & is_labelled, ~is_labelled)
    kinds = []
    for is_lost, whole in zip(lost, (of_truth, of_segment, rows), strict=True):
        part = np.flatnonzero(is_lost)
        part = part[np.lexsort((segment[part], truth[part], -count[part]))][:worst]
        kinds.append(np.stack([part, whole[part]]))
    part, whole = np.concatenate(kinds, axis=1)
    found = _Parts(truth[part], segment[part], truth[whole], segment[whole], count[part])
    return found, np.repeat(KINDS, [kind.shape[1] for kind in kinds])


def _largest(owner: np.ndarray, other: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return for each overlap the row of its owner's largest; of equal ones, the one of the lowest other id."""
    order = np.lexsort((other, -count, owner))
    is_first = np.ones(len(order), bool)
    is_first[1:] = owner[order[1:]] != owner[order[:-1]]
    largest = np.empty(len(order), np.int64)
    largest[order] = order[is_first][np.cumsum(is_first) - 1]
    return largest


def _find_places(parts: _Parts, truth: Readable, segmentation: Readable, block_vx: int, threads: int) -> np.ndarray:
    """Return the voxel (M, 3) to look at for each part."""
    if not len(parts.count):
        return np.zeros((0, 3), np.int64)
    order = np.lexsort((parts.segment, parts.truth))
    grid = reading_grid([truth, segmentation], block_vx)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        samples = pool.map(partial(_sample_block, truth, segmentation, parts[order]), grid)
        sample = Sample.join_all(len(order), progress(samples, total=len(grid), what="blocks"))
    if (sample.hashed[1, :, 0] == UNUSED).any():
        raise DataError(
            f"{truth.source} and {segmentation.source} do not hold what was counted in them",
            hint="remove the measurement and run again: one of them was written to meanwhile",
        )
    touching = sample.hashed[0, :, :1] != UNUSED
    hashed, voxel = (np.where(touching, both[0], both[1]) for both in (sample.hashed, sample.voxel))
    part, place = np.nonzero(hashed != UNUSED)
    candidates = np.stack(np.unravel_index(voxel[part, place], truth.shape_zyx), axis=1)
    found = np.empty((len(order), 3), np.int64)
    found[order] = candidates[nearest_to_median(part, candidates * np.asarray(truth.voxel_size_zyx_nm))]
    return found


def _sample_block(truth: Readable, segmentation: Readable, parts: _Parts, block: Box) -> Sample | None:
    """Sample the parts within a block; what lies around them is read too, so that every contact is seen."""
    lowest, highest = extent_of(truth.read(block), segmentation.read(block), parts.truth, parts.segment)
    if highest[0] < 0:
        return None
    held = Box(to_triple(lowest.tolist()), to_triple((highest + 1).tolist())).shift(block.start_zyx)
    seen = held.grow((REACH_VX, REACH_VX, REACH_VX)).intersect(Box.of_shape(truth.shape_zyx))
    inner = held.within(seen)
    hashed, voxel = sample_parts(
        truth.read(seen),
        segmentation.read(seen),
        parts.truth,
        parts.segment,
        parts.whole_truth,
        parts.whole_segment,
        np.array(inner.start_zyx),
        np.array(inner.stop_zyx),
        np.array(seen.start_zyx),
        np.array(truth.shape_zyx),
    )
    return Sample(hashed, voxel)
