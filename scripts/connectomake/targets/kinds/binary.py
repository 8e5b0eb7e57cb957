"""Foreground, as settings know it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from connectomake.channels import Channel
from connectomake.config.settings.train_target_kinds import PerAxisErosion, TargetConfig, TargetKind


class BinaryConfig(TargetConfig):
    """Foreground: whether a voxel is in any object."""

    decoders: ClassVar[tuple[str, ...]] = ("seeded_watershed", "semantic", "flow")

    erosion_zyx_vx: PerAxisErosion = Field(
        (0, 0, 0), description="objects are made thinner by so many voxels on each side: eroded foreground"
    )

    @property
    def channels(self) -> list[Channel]:
        """One channel."""
        return [Channel("binary", "binary")]


BINARY = TargetKind(BinaryConfig, "connectomake.targets.binary:BinaryTarget", "foreground")
