"""Settings of the split stage: which voxels are learnt from, and which are kept apart to tell how well."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from connectomake.config.section import Section

Voxels = Annotated[int, Field(gt=0)]


class SplitConfig(Section):
    """Assign every volume, or part of one, its role."""

    method: Literal["role", "slab", "blocks", "classes"] = Field(
        "role",
        description="role = each volume is what config/data says; slab = the far end of every train volume is for "
        "validation; blocks = so are blocks of it drawn at random; classes = so are whole crops of a CellMap tree, "
        "drawn so that each class has its share. All but the first need data without a validate volume",
    )
    validate_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2,
        description="share of each train volume that slab or blocks keep for validation; with classes, of the voxels "
        "of each class, as near as whole crops allow",
    )
    unit: Literal["crop", "dataset"] = Field(
        "crop", description="what classes keeps together: single crops, or all crops of a dataset"
    )
    axis: Literal["z", "y", "x"] = Field("z", description="axis that slab cuts along")
    block_zyx_vx: tuple[Voxels, Voxels, Voxels] = Field(
        (128, 128, 128), description="voxels of the blocks that blocks draws (z, y, x); at least a training patch"
    )
    seed: int = Field(0, ge=0, description="seed of the draw of blocks or crops")
