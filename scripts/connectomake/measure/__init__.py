"""Compare segmentations with skeletons and with truth labels."""

from connectomake.measure.contingency import contingency_of_arrays
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.measure.worst_errors import find_errors
from connectomake.volumes.nodes import segment_at_nodes

__all__ = [
    "contingency_of_arrays",
    "dense_metrics",
    "find_errors",
    "segment_at_nodes",
    "skeleton_metrics",
]
