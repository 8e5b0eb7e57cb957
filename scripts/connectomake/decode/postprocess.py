"""What happens after a decoder that does not do it itself: ids in order, small objects."""

from __future__ import annotations

import fastremap
import numpy as np
from numpy.typing import NDArray

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode.components.small_objects import merge_into_neighbors


def number_objects(labels: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Renumber objects as 1..n in scan order of their first voxels; 0 stays 0.

    Parameters
    ----------
    labels
        (Z, Y, X) unsigned integers; may be overwritten.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32 (uint64 above 2^32 - 1 objects), C-contiguous.
    """
    numbered, _ = fastremap.renumber(np.ascontiguousarray(labels), in_place=True)
    return numbered.astype(smallest_label_type(int(numbered.max(initial=0))), copy=False)


def count_voxels(labels: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    """Count the voxels of every id: (n + 1,) of labels 0..n."""
    ids, counts = fastremap.unique(labels, return_counts=True)
    sizes = np.zeros(int(ids[-1]) + 1 if ids.size else 1, np.int64)
    sizes[ids] = counts
    return sizes


def drop_small(labels: NDArray[np.unsignedinteger], cfg: DecodeConfig) -> NDArray[np.unsignedinteger]:
    """Treat objects of fewer than `min_size_vx` voxels as `remove_small` says, and number the rest.

    Parameters
    ----------
    labels
        (Z, Y, X) any ids, 0 = background; may be overwritten.
    cfg
        Its `min_size_vx` and `remove_small`.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32 (uint64 above 2^32 - 1 objects), ids 1..n in scan order.
    """
    labels = number_objects(labels)
    if cfg.min_size_vx <= 1 or cfg.remove_small == "none" or not labels.size:
        return labels
    kept = count_voxels(labels) >= cfg.min_size_vx
    if cfg.remove_small == "neighbor":
        return merge_into_neighbors(labels, kept)[labels]
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(labels.dtype)[labels]


def smallest_label_type(count: int) -> np.dtype:
    """Return the type of labels up to `count`: uint32, or uint64 where that does not hold them."""
    return np.dtype(np.uint32 if count < 2**32 else np.uint64)
