"""Settings of the measure stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import Field, PositiveInt, model_validator

from connectomake.config.registries import TABLE_METRICS
from connectomake.config.section import Section

HIGHEST_IS_BEST = {
    "nerl": True,
    "nerl_inf": True,
    "voi_sum": False,
    "voxel_voi_sum": False,
    "adapted_rand_error": False,
    "average_precision_50": True,
    "panoptic_quality_50": True,
    "foreground_dice": True,
    "mean_dice": True,
}
"""The numbers that results are ranked or settings chosen by, and whether high is good."""
CHOOSING = "validate"
"""The role of the volumes that settings are chosen by. What is chosen by test volumes says nothing about others."""

if TYPE_CHECKING:
    VoxelMetric: TypeAlias = str
else:
    VoxelMetric = Literal[(*TABLE_METRICS, "clefts")]
"""What follows from the table of truth and segmentation, by name; and clefts, which need the volumes."""
Backend = Literal["own", "funlib", "both"]


class MeasureConfig(Section):
    """How a segmentation is compared with skeletons and with truth labels."""

    ignored_merger_nodes: tuple[PositiveInt, ...] = Field(
        default=(5, 20, 100),
        description="nerl_K for each K: contacts of K nodes or fewer are not mergers; nerl_inf is always given (nodes)",
    )
    voxel_metrics: tuple[VoxelMetric, ...] = Field(
        default=("voi", "adapted_rand", "matching", "foreground"),
        description="what is measured against truth labels: voi and adapted_rand (neurons), matching (AP, panoptic "
        "quality), foreground (Dice, IoU, accuracy of foreground), classes (the same for each class, where labels are "
        "classes), clefts (CREMI's distances)",
    )
    ignore_background: bool = Field(
        default=True,
        description="leave voxels of truth label 0 out of voi and adapted_rand; unknown (-1) is always left out",
    )
    ignore_labels: tuple[int, ...] = Field(
        default=(), description="further truth labels whose voxels never count in any voxel metric"
    )
    iou_thresholds: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.5, 0.75),
        min_length=1,
        description="matching: a truth object is found where a segment has at least this intersection over union (0-1)",
    )
    cleft_threshold_nm: float = Field(
        default=200.0, ge=0, description="clefts: voxels farther from the other side's clefts are false (nm)"
    )
    worst_errors: int = Field(
        default=20, ge=0, le=1000, description="so many of the worst splits, mergers and missing parts are listed"
    )
    backend: Backend = Field(
        default="own",
        description="what computes skeleton metrics: own, funlib (funlib.evaluate), or both, compared",
    )
    block_vx: PositiveInt = Field(
        default=2**23, description="voxels read at a time by each thread; sets the memory, not the result (voxels)"
    )

    @model_validator(mode="after")
    def _check_metrics(self) -> Self:
        """Reject what names a metric, a threshold or a number of nodes twice."""
        for key in ("voxel_metrics", "iou_thresholds", "ignored_merger_nodes"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key} names something twice: {', '.join(map(str, values))}")
        return self

    @property
    def metric_modules(self) -> tuple[str, ...]:
        """Modules of the voxel metrics that follow from the table; see `provenance.code_of`."""
        places = (TABLE_METRICS.module_of(name) for name in self.voxel_metrics if name in TABLE_METRICS)
        own = (place.partition("connectomake.")[2] for place in places)
        return tuple(dict.fromkeys(module for module in own if module))

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that the numbers depend on: what measures, and the `metric_modules`."""
        return ("measure.segmentation", "tables", *self.metric_modules)
