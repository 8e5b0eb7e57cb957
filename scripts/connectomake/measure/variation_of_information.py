"""Variation of information from the table of truth and segmentation.

One convention for nodes and voxels: `split` is what the segmentation cut apart, `merge` what it joined; logarithms are
to base 2. Segment 0 is an ordinary segment: what a segmentation leaves out is then a merger of whatever lies there,
and leaving everything out does not pay. So do scikit-image, gala and the CREMI challenge.
"""

from __future__ import annotations

import numpy as np

from connectomake.measure.contingency import Contingency
from connectomake.measure.table_metric import TableMetric


def voi(table: Contingency, *, ignore_background: bool) -> dict[str, float]:
    """Return `voxel_voi_split`, `voxel_voi_merge` and `voxel_voi_sum`, in bits.

    Truth 0 is left out where `ignore_background` says so, as CREMI does.
    """
    split, merge = variation_of_information(table.foreground if ignore_background else table)
    return {"voxel_voi_split": split, "voxel_voi_merge": merge, "voxel_voi_sum": split + merge}


def variation_of_information(table: Contingency) -> tuple[float, float]:
    """Return the conditional entropies H(segment | truth) and H(truth | segment), in bits.

    Each term is count * log2(size / count), never a difference of entropies, so a perfect segmentation gives exactly
    0. An empty table gives 0, 0.

    Returns
    -------
    tuple of float
        voi_split, voi_merge (Meila 2007; split and merge as in Nunez-Iglesias 2013).
    """
    if table.total == 0:
        return 0.0, 0.0
    count = table.count.astype(np.float64)
    split = count @ np.log2(table.truth.size[table.truth.index] / count)
    merge = count @ np.log2(table.segment.size[table.segment.index] / count)
    return float(split / count.sum()), float(merge / count.sum())


VOI = TableMetric(voi, columns=("voxel_voi_split", "voxel_voi_merge", "voxel_voi_sum"), settings=("ignore_background",))
