"""Blocks to trace skeletons in, which share the planes in which they meet.

Invariant: the blocks tile the steps between voxels. Hence a plane of contact belongs to both blocks, every voxel with
any of its 26 neighbours lies in one block, and no block is a single plane unless the volume is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from connectomake.config.settings.data import SkeletonConfig
from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.volumes.volume import Volume


@dataclass(frozen=True)
class TraceGrid:
    """The blocks of a volume.

    Parameters
    ----------
    shape_zyx
        Of the volume, in voxels.
    steps
        The grid over the steps from voxel to voxel, of which there is one fewer than voxels.
    """

    shape_zyx: Triple
    steps: BlockGrid

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Box:
        box = self.steps[index]
        with_last = Box(box.start_zyx, to_triple([stop + 1 for stop in box.stop_zyx]))
        return with_last.intersect(Box.of_shape(self.shape_zyx))

    def is_shared(self, voxel: np.ndarray) -> np.ndarray:
        """Return which voxels (N, 3) of the volume lie on a plane in which blocks meet; (N,) bool."""
        last = np.array(self.shape_zyx) - 1
        return np.any((voxel % self.steps.block_zyx == 0) & (voxel > 0) & (voxel < last), axis=1)


def plan_trace(labels: Volume, cfg: SkeletonConfig) -> TraceGrid:
    """Divide a volume into blocks of about one size, on whole chunks where that is possible.

    A thin block left over would be traced as a slab, with skeletons that run along the cut.

    Parameters
    ----------
    labels
        The volume to trace.
    cfg
        Its `block_zyx_vx` is the most that a block has, apart from the shared plane.
    """
    steps = [max(1, side - 1) for side in labels.shape_zyx]
    chunks = labels.file_chunks_zyx or (1, 1, 1)
    block = [_divide(n, most, chunk) for n, most, chunk in zip(steps, cfg.block_zyx_vx, chunks, strict=True)]
    return TraceGrid(labels.shape_zyx, BlockGrid(to_triple(steps), to_triple(block)))


def _divide(steps: int, most: int, chunk: int) -> int:
    """Return the side of blocks along one axis."""
    count = ceil(steps / most)
    side = ceil(steps / count)
    aligned = ceil(side / chunk) * chunk
    rest = steps - (count - 1) * aligned
    return aligned if aligned <= most and 2 * rest >= side else side
