"""Say how much memory a prediction will take, before any of it is taken."""

from __future__ import annotations

import logging
import os
from math import prod

from connectomake.geometry import BlockGrid
from connectomake.predict.windows import WindowGrid

log = logging.getLogger(__name__)

WIDE_LAYERS_ALIVE = (
    8  # copies of the first layer's output that a U-Net holds at its peak: skips, norm, expansion. A guess
)


def estimate_memory(
    windows: WindowGrid, blocks: BlockGrid, *, channels: int, raw_bytes: int, width: float, batch: int, itemsize: int
) -> dict[str, int]:
    """Estimate what the largest block takes.

    Parameters
    ----------
    windows, blocks
        The grids on the volume.
    channels
        Channels stored.
    raw_bytes
        Bytes per voxel of the raw volume, all its channels.
    width
        Channels of the network's first layer, per voxel of the window.
    batch
        Windows at once.
    itemsize
        Bytes per value in the network.

    Returns
    -------
    dict
        Bytes: ``input`` (this block and the next, with what surrounds them), ``sums`` (float32), ``output`` (uint8,
        this block and the one that is being written) and ``network`` (a guess: activations of the windows, without
        weights).
    """
    block = blocks[0]
    return {
        "input": 2 * windows.hull(block).size * raw_bytes,
        "sums": 4 * (channels + 1) * block.size,
        "output": 2 * channels * block.size,
        "network": int(WIDE_LAYERS_ALIVE * batch * prod(windows.window_zyx) * width * itemsize),
    }


def log_memory(estimate: dict[str, int]) -> None:
    """Write the estimate to the log; warn where the machine has less in all."""
    total, parts = sum(estimate.values()), ", ".join(f"{name} {size / 1e9:.2f}" for name, size in estimate.items())
    log.info("needs about %.2f GB of memory (%s)", total / 1e9, parts)
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total > present:
        log.warning("that is more than the %.1f GB of this machine: use a smaller block_zyx_vx", present / 1e9)
