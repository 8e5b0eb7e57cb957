"""How skeletons are traced in truth labels: a part of the data config."""

from __future__ import annotations

from math import prod
from typing import Annotated

from pydantic import Field

from connectomake.config.section import Section

SideVx = Annotated[int, Field(ge=16, le=4096)]
_BYTES_PER_VOXEL = 40  # measured: 32 to 37, where one label spans the block


class SkeletonConfig(Section):
    """How skeletons are traced in labels where a volume has no skeleton file (TEASAR, as kimimaro has it)."""

    scale: float = Field(default=1.5, ge=0, description="a branch is pruned within scale x radius + const_nm of a path")
    const_nm: float = Field(default=300.0, ge=0, description="the constant part of that distance (nm)")
    dust_vx: int = Field(
        default=1000, ge=0, description="labels of fewer voxels in the whole volume get no skeleton (voxels)"
    )
    soma_detection_nm: float = Field(
        default=750.0, gt=0, description="radius from which a label is looked at as a soma (nm)"
    )
    soma_acceptance_nm: float = Field(default=3500.0, gt=0, description="radius from which it is one (nm)")
    block_zyx_vx: tuple[SideVx, SideVx, SideVx] = Field(
        default=(512, 512, 512),
        description="largest block that one process traces at a time, z, y, x (voxels); sets the memory, some 40 bytes "
        "a voxel for each thread; a volume within one block is traced as a whole",
    )

    @property
    def block_mb(self) -> int:
        """The memory of a process that traces one block, in MB."""
        return prod(side + 1 for side in self.block_zyx_vx) * _BYTES_PER_VOXEL // 10**6
