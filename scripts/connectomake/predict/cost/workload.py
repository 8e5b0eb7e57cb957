"""Count the windows of a prediction, without listing them: a volume may have billions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from connectomake.geometry import BlockGrid, Box, to_triple
from connectomake.predict.windows.grid import WindowGrid
from connectomake.predict.windows.steps import blocks_of_job
from connectomake.volumes.region import Region

MOST_SAMPLED = 1000  # windows that a mask is asked about


class Workload(NamedTuple):
    """How many windows there are to compute, and how many are computed, those at borders between blocks repeatedly."""

    windows: int
    computed: int


def count_windows(windows: WindowGrid, region: Region, blocks: BlockGrid, jobs: int) -> Workload:
    """Count windows: exactly those of a box; of crops those of each, of a mask by a sample of them.

    Along z a job hands what blocks have in common from one to the next, so that windows are computed again where a
    block meets another in y and x, and where a job ends within a column of blocks.

    Parameters
    ----------
    windows
        On the working volume.
    region
        What is wanted of it.
    blocks
        On ``region.box``.
    jobs
        That the blocks are divided among.
    """
    ends = [blocks[mine[0]] for mine in (blocks_of_job(blocks, job, jobs) for job in range(1, jobs)) if mine]
    cuts = [box.shift(region.box.start_zyx) for box in ends if box.start_zyx[0] > 0]
    most = _count(windows, region, blocks, region.box, cuts)
    if not region.crops:
        return most
    each = [_count(windows, region, blocks, crop, cuts) for crop in region.crops]
    return Workload(min(most.windows, sum(c.windows for c in each)), min(most.computed, sum(c.computed for c in each)))


def _count(windows: WindowGrid, region: Region, blocks: BlockGrid, part: Box, cuts: list[Box]) -> Workload:
    """Count the windows of a part of the region."""
    once = windows.count_touching(part)
    # The grid is a product of three axes: counts along one, times the others, give the counts of columns.
    y, x = (sum(map(windows.count_touching, _strips(region, blocks, part, axis))) for axis in (1, 2))
    again = sum(_count_crossing(windows, cut.intersect(part), cut.start_zyx[0]) for cut in cuts)
    share = 1.0 if region.stencil is None else _sample_share(windows, region, part, once)
    return Workload(round(share * once), round(share * (y * x // once + again)))


def _strips(region: Region, blocks: BlockGrid, part: Box, axis: int) -> Iterator[Box]:
    """Cut a part of the region where blocks meet along an axis."""
    first, side = region.box.start_zyx[axis], blocks.block_zyx[axis]
    low, high = part.start_zyx[axis], part.stop_zyx[axis]
    edges = [low, *range(first + ((low - first) // side + 1) * side, high, side), high]
    for a, b in pairwise(edges):
        start, stop = [*part.start_zyx], [*part.stop_zyx]
        start[axis], stop[axis] = a, b
        yield Box(to_triple(start), to_triple(stop))


def _count_crossing(windows: WindowGrid, block: Box, z: int) -> int:
    """Count the windows over a block that hold voxels of it on both sides of the face at z."""
    if not block.size or block.start_zyx[0] != z:
        return 0
    below = Box(block.start_zyx, (z + 1, *block.stop_zyx[1:]))
    above = below.shift((-1, 0, 0))
    both = Box(above.start_zyx, below.stop_zyx)
    return sum(map(windows.count_touching, (above, below))) - windows.count_touching(both)


def _sample_share(windows: WindowGrid, region: Region, part: Box, count: int) -> float:
    """Return the share of the windows over a part that the mask touches: of all if they are few, else of some."""
    if count <= MOST_SAMPLED:
        boxes = [windows[number] for number in windows.touching(part)]
    else:
        first = [a - w + 1 for a, w in zip(part.start_zyx, windows.window_zyx, strict=True)]
        starts = np.random.default_rng(0).integers(first, part.stop_zyx, (MOST_SAMPLED, 3))
        boxes = [Box.of_shape(windows.window_zyx).shift(start) for start in starts]
    return max(1, sum(region.touches(box.intersect(part)) for box in boxes)) / len(boxes)
