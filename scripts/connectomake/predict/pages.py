"""Memory for what lives as long as a block: pages of its own, given back when it is freed.

Activations, which come and go with every window, are made in a heap that the process keeps (`keep_freed_memory`).
Arrays that outlive them would leave holes in it that grow from block to block.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt


def new_array(shape: Sequence[int], dtype: npt.DTypeLike) -> np.ndarray:
    """Make an array of zeros in pages of its own.

    Parameters
    ----------
    shape, dtype
        Of the array.
    """
    dtype = np.dtype(dtype)
    size = prod(shape)
    pages = mmap.mmap(-1, max(1, size * dtype.itemsize))
    return np.frombuffer(pages, dtype, size).reshape(shape)
