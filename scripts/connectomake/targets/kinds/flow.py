"""Flows, as settings know them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveFloat

from connectomake.channels import Channel
from connectomake.config.settings.train_target_kinds import ACROSS, Planes, TargetConfig, TargetKind


class FlowConfig(TargetConfig):
    """Flows: unit vectors that lead from each voxel of an object to its middle (Cellpose, Stringer et al. 2021)."""

    decoders: ClassVar[tuple[str, ...]] = ("flow",)

    planes: Planes = Field("3d", description="vectors in space (z, y, x), or within each section (y, x)")
    object_extent_nm: PositiveFloat = Field(
        400.0,
        description="labels are read so far around a patch (nm): objects up to this extent are learnt wherever they "
        "lie, larger ones where they are seen whole, and no others; at most 96 voxels",
    )

    @property
    def channels(self) -> list[Channel]:
        """One channel for each direction."""
        across = ACROSS[self.planes]
        return [
            Channel(f"flow {axis}", "flow", activation="tanh", binary=False, axes=across + axis)
            for axis in ("zyx" if self.planes == "3d" else "yx")
        ]


FLOW = TargetKind(FlowConfig, "connectomake.targets.flow:FlowTarget", "vectors to the middle of objects")
