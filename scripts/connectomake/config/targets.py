"""Settings of what a network learns to predict, and of how it is told how wrong it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, field_validator

from connectomake.config.section import Section

Offset = tuple[int, int, int]
Erosion = Annotated[int, Field(ge=0, le=16)]


class AffinityConfig(Section):
    """Affinities: for each offset, whether a voxel and the one at that offset belong to the same object."""

    offsets_zyx_vx: tuple[Offset, ...] = Field(
        ((1, 0, 0), (0, 1, 0), (0, 0, 1), (10, 0, 0), (0, 10, 0), (0, 0, 10)),
        min_length=1,
        description="one channel each, z, y, x in voxels; decoders need the three nearest neighbours, first, and long "
        "ones teach the network to look further",
    )
    erosion_zyx_vx: tuple[Erosion, Erosion, Erosion] = Field(
        (0, 0, 0),
        description="objects are made thinner by so many voxels on each side before the affinities are computed, for "
        "truth without background between touching objects",
    )

    @field_validator("offsets_zyx_vx")
    @classmethod
    def _check_offsets(cls, offsets: tuple[Offset, ...]) -> tuple[Offset, ...]:
        """Refuse an edge from a voxel to itself, and the same edge twice."""
        if (0, 0, 0) in offsets:
            raise ValueError("an offset of 0, 0, 0 joins a voxel to itself: remove it")
        if len(set(offsets)) != len(offsets):
            raise ValueError(
                f"each offset is a channel of its own and may be given once, got {[list(o) for o in offsets]}"
            )
        return offsets


class TargetsConfig(Section):
    """What the network predicts: the channels of all targets, in the order of these keys."""

    affinity: AffinityConfig = Field(default_factory=AffinityConfig, description="affinities between voxels")


class LossTerm(Section):
    """One loss. The loss of a step is the sum of all terms, each times its weight."""

    loss: Literal["balanced_bce", "bce", "dice"] = Field(
        "balanced_bce",
        description="balanced_bce = cross-entropy in which the rarer class of a channel counts up to 10 times; "
        "bce = plain cross-entropy (BANIS); dice = soft Dice per channel",
    )
    weight: PositiveFloat = Field(1.0, description="factor of this loss in the sum")
