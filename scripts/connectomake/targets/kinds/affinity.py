"""Affinities, as settings know them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from connectomake.channels import Channel, Offset, name_offset
from connectomake.config.settings.train_target_kinds import PerAxisErosion, TargetConfig, TargetKind


class AffinityConfig(TargetConfig):
    """Affinities: for each offset, whether a voxel and the one at that offset belong to the same object."""

    decoders: ClassVar[tuple[str, ...]] = ("affinity_cc", "mutex_watershed", "waterz")

    offsets_zyx_vx: tuple[Offset, ...] = Field(
        ((1, 0, 0), (0, 1, 0), (0, 0, 1), (10, 0, 0), (0, 10, 0), (0, 0, 10)),
        min_length=1,
        description="one channel each, z, y, x in voxels; decoders need the three nearest neighbours, first, and long "
        "ones teach the network to look further",
    )
    erosion_zyx_vx: PerAxisErosion = Field(
        (0, 0, 0),
        description="objects are made thinner by so many voxels on each side before the affinities are computed, for "
        "truth without background between touching objects",
    )

    @property
    def channels(self) -> list[Channel]:
        """One channel for each offset."""
        return [Channel(name_offset(offset), "affinity", offset) for offset in self.offsets_zyx_vx]

    @field_validator("offsets_zyx_vx")
    @classmethod
    def _check_offsets(cls, offsets: tuple[Offset, ...]) -> tuple[Offset, ...]:
        """Reject an edge from a voxel to itself, and the same edge twice."""
        if (0, 0, 0) in offsets:
            raise ValueError("an offset of 0, 0, 0 joins a voxel to itself: remove it")
        if len(set(offsets)) != len(offsets):
            raise ValueError(
                f"each offset is a channel of its own and may be given once, got {[list(o) for o in offsets]}"
            )
        return offsets


AFFINITY = TargetKind(
    AffinityConfig, "connectomake.targets.affinity:AffinityTarget", "affinities between voxels", by_default=True
)
