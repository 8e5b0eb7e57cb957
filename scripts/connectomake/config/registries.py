"""What settings can name, and where each lies: a new thing is its file, and its line here.

Names of settings and values that they may have follow from these tables. The order is that of the generated schemas.
"""

from __future__ import annotations

from typing import Any

from connectomake.registry import Registry

TABLE_METRICS: Registry[Any] = Registry(
    "voxel metric",
    {
        "voi": "connectomake.measure.variation_of_information:VOI",
        "adapted_rand": "connectomake.measure.adapted_rand:ADAPTED_RAND",
        "matching": "connectomake.measure.matching:MATCHING",
        "foreground": "connectomake.measure.overlap:FOREGROUND",
        "classes": "connectomake.measure.overlap:CLASSES",
    },
)
"""Each a `measure.table_metric.TableMetric`, which says what it reads of `MeasureConfig` and which numbers it gives."""
