"""Settings of the measure stage, and of the skeletons that it measures against."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from connectomake.config.section import Section


class MeasureConfig(Section):
    """How a segmentation is compared with skeletons and with truth labels."""

    ignored_merger_nodes: tuple[PositiveInt, ...] = Field(
        default=(5, 20, 100),
        description="nerl_K for each K: contacts of K nodes or fewer are not mergers; nerl_inf is always given (nodes)",
    )
    ignore_background: bool = Field(
        default=True,
        description="leave voxels of truth label 0 out of the voxel metrics; unknown (-1) is always left out",
    )
    block_vx: PositiveInt = Field(
        default=2**23, description="voxels read at a time by each thread; sets the memory, not the result (voxels)"
    )


class SkeletonConfig(Section):
    """How skeletons are traced in labels where a volume has no skeleton file (TEASAR, as kimimaro has it)."""

    scale: float = Field(default=1.5, ge=0, description="a branch is pruned within scale x radius + const_nm of a path")
    const_nm: float = Field(default=300.0, ge=0, description="the constant part of that distance (nm)")
    dust_vx: int = Field(default=1000, ge=0, description="labels of fewer voxels get no skeleton (voxels)")
    soma_detection_nm: float = Field(
        default=750.0, gt=0, description="radius from which a label is looked at as a soma (nm)"
    )
    soma_acceptance_nm: float = Field(default=3500.0, gt=0, description="radius from which it is one (nm)")
