"""All voxel metrics of one volume, each a function of one table of truth and segmentation.

Unknown truth (-1, which only signed types can hold) and `ignore_labels` never count. A further one is a `TableMetric`
in a file of its own, and one line in `config.registries.TABLE_METRICS`; it is loaded when it is asked for.
"""

from __future__ import annotations

from typing import Any

from connectomake.config.registries import TABLE_METRICS
from connectomake.config.settings.data import UNKNOWN
from connectomake.config.settings.measure import MeasureConfig
from connectomake.measure.contingency import Contingency
from connectomake.measure.table_metric import TableMetric


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
            metric: TableMetric = TABLE_METRICS[name]
            numbers |= metric.measure(table, cfg)
    return numbers | {
        "n_truth_voxels": compared.total,
        "n_truth_objects": compared.truth.n_objects,
        "n_segments": compared.segment.n_objects,
    }
