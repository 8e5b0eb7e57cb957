"""Blocks in which nothing was predicted, though there is something to see."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from connectomake.geometry import Box
from connectomake.predict.check.finished import Finished, cut


def find_empty_blocks(prediction: Finished) -> list[int]:
    """Find the blocks whose stored values are all 0, while their raw voxels differ and were to be predicted.

    A block that holds something is known by the first chunk that is read of it; so this costs one chunk per block. Zarr
    writes no file for a block of zeros, which makes reading all of one cheap. Raw is read only there.

    Parameters
    ----------
    prediction
        What to look at.
    """
    return [
        number
        for number, block in enumerate(prediction.blocks)
        if prediction.is_wanted(block)
        and not _any(block, prediction, _holds_something)
        and _raw_differs(block, prediction)
    ]


def _any(block: Box, prediction: Finished, test: Callable[[Box, Finished], bool]) -> bool:
    return any(test(piece, prediction) for piece in cut(block, prediction.chunk_zyx))


def _holds_something(piece: Box, prediction: Finished) -> bool:
    return bool(prediction.volume.read(piece).any())


def _raw_differs(block: Box, prediction: Finished) -> bool:
    """Return whether raw has two different values among those voxels of a block that were wanted."""
    low, high = np.inf, -np.inf
    for piece in cut(block, prediction.chunk_zyx):
        raw, wanted = prediction.read_raw(piece), prediction.wanted(piece)
        known = raw if wanted is None else raw[..., wanted]
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
        if low < high:
            return True
    return False
