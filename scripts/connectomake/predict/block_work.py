"""Read, compute and write blocks, each step in a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from connectomake.errors import ConnectomakeError, ModelError
from connectomake.files import explain_write_failure
from connectomake.geometry import BlockGrid, Box
from connectomake.ledger import Ledger
from connectomake.log import progress
from connectomake.pipeline import run_overlapped
from connectomake.predict.windows.grid import read_mirrored
from connectomake.predict.windows.sliding import SlidingWindow
from connectomake.predict.windows.steps import Step
from connectomake.predict.windows.sums import Sums
from connectomake.volumes.pyramid import Pyramid
from connectomake.volumes.region import Region
from connectomake.volumes.volume import Readable

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """What one block needs: raw voxels of its windows, if it has any, and which of its voxels are wanted."""

    source: torch.Tensor | None
    wanted: np.ndarray | None


@dataclass
class BlockWork:
    """Takes blocks from the volume to the store.

    Parameters
    ----------
    volume
        The working volume.
    region, blocks
        What is wanted of it, and the blocks of ``region.box``.
    sliding
        What computes windows.
    ledger, name
        Where blocks that are done are recorded, and the name of the job that does them.
    pyramid
        The store.
    """

    volume: Readable
    region: Region
    blocks: BlockGrid
    sliding: SlidingWindow
    ledger: Ledger
    pyramid: Pyramid
    name: str
    _ticks: Iterator[int] = field(default_factory=lambda: iter(()))
    _left: Sums | None = None

    def run(self, steps: Sequence[Step]) -> None:
        """Do these blocks, in this order."""
        if not steps:
            log.info("nothing is left to do for this job")
            return
        self._ticks = progress(range(sum(len(step.windows) for step in steps)), what="windows")
        self._tick()
        run_overlapped(steps, self.read, self.compute, self.write)

    def read(self, step: Step) -> Loaded:
        """Read what a block needs."""
        wanted = self.region.mask(step.core)
        if step.reads is None:
            return Loaded(None, wanted)
        raw = read_mirrored(self.volume.read, self.volume.shape_zyx, step.reads)
        return Loaded(self.sliding.load(raw), wanted)

    def compute(self, step: Step, loaded: Loaded) -> np.ndarray:
        """Return the (C, Z, Y, X) values of a block, as they are stored."""
        core = step.core
        where = f"block {step.block} (from {core.start_zyx} to {core.stop_zyx}, z, y, x) of {self.volume.source}"
        try:
            result = self._compute(step, loaded)
        except ModelError as error:
            raise ModelError(f"{where}: {error}") from error
        except torch.OutOfMemoryError as error:
            raise ConnectomakeError(
                f"the GPU's memory does not suffice for {where} and one window",
                hint="use a smaller predict.block_zyx_vx, precision: bfloat16, or a GPU with more memory",
            ) from error
        if loaded.source is not None and not result.any() and loaded.source.min() != loaded.source.max():
            log.warning("%s is predicted as nothing but zeros, though its raw voxels differ", where)
        return result

    def write(self, step: Step, result: np.ndarray) -> None:
        """Put a block into the store, and then into the ledger."""
        with explain_write_failure(self.pyramid.path):
            self.pyramid.write_block(self.blocks[step.block], result)
        self.ledger.mark(step.block, self.name)

    def _compute(self, step: Step, loaded: Loaded) -> np.ndarray:
        """Add the windows of a block to what those above left, and keep what they leave to those below."""
        sums = self.sliding.open_sums(step.sums, self._left if step.goes_on else None)
        self._left = None
        if loaded.source is not None and step.reads is not None:
            self.sliding.add_windows(sums, loaded.source, step.reads, step.windows, self._tick)
        bottom = step.core.stop_zyx[0]
        self._left = sums.cut(Box((bottom, *sums.box.start_zyx[1:]), sums.box.stop_zyx))
        return self.sliding.finish(sums, step.core, loaded.wanted)

    def _tick(self) -> None:
        """Count a window as done."""
        next(self._ticks, None)
