"""Contours, as settings know them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from connectomake.channels import Channel
from connectomake.config.settings.train_target_kinds import ACROSS, Planes, TargetConfig, TargetKind


class ContourConfig(TargetConfig):
    """Contours: voxels at the border of objects."""

    decoders: ClassVar[tuple[str, ...]] = ("seeded_watershed",)

    between: Literal["all", "objects"] = Field(
        "all", description="borders of objects to anything, or only between two objects that touch"
    )
    planes: Planes = Field("3d", description="neighbours in space, or only within a section (2d)")
    thickness_vx: int = Field(
        1, ge=1, le=16, description="voxels on each side of a border that count as contour (voxels)"
    )

    @property
    def channels(self) -> list[Channel]:
        """One channel."""
        return [Channel("contour", "contour", axes=ACROSS[self.planes])]


CONTOUR = TargetKind(ContourConfig, "connectomake.targets.contour:ContourTarget", "contours of objects")
