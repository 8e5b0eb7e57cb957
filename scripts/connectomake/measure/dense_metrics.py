"""All voxel metrics of one volume, each a function of one table of truth and segmentation.

Unknown truth (-1, which only signed types can hold) and `ignore_labels` never count. A further metric is a function of
the table and the settings in a file of its own, and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectomake.config.settings.data import UNKNOWN
from connectomake.config.settings.measure import MeasureConfig
from connectomake.measure.adapted_rand import adapted_rand
from connectomake.measure.contingency import Contingency
from connectomake.measure.matching import matching
from connectomake.measure.overlap import classes, foreground
from connectomake.measure.variation_of_information import voi

TABLE_METRICS: dict[str, Callable[[Contingency, MeasureConfig], dict[str, Any]]] = {
    "voi": voi,
    "adapted_rand": adapted_rand,
    "matching": matching,
    "foreground": foreground,
    "classes": classes,
}


def dense_metrics(table: Contingency, cfg: MeasureConfig) -> dict[str, Any]:
    """Compute the voxel metrics that `cfg.voxel_metrics` names, but for `clefts`, which need the volumes.

    Parameters
    ----------
    table
        Voxel counts of a whole volume (`contingency`).
    cfg
        What is measured, and which voxels count.

    Returns
    -------
    dict
        Flat: the numbers of each metric, as its function says (NaN where one is not defined), and always
        `n_truth_voxels` (compared by voi and adapted_rand), `n_truth_objects` and `n_segments` (that lie there; 0 is
        no object).

    Raises
    ------
    DataError
        `classes` is asked of labels that are no classes.
    """
    table = table.without_truth(UNKNOWN, *cfg.ignore_labels)
    compared = table.foreground if cfg.ignore_background else table
    numbers: dict[str, Any] = {}
    for name in cfg.voxel_metrics:
        if name in TABLE_METRICS:
            numbers |= TABLE_METRICS[name](table, cfg)
    return numbers | {
        "n_truth_voxels": compared.total,
        "n_truth_objects": compared.truth.n_objects,
        "n_segments": compared.segment.n_objects,
    }
