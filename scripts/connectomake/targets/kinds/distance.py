"""Distance to the border of objects, as settings know it."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from connectomake.channels import Channel
from connectomake.config.settings.train_target_kinds import ACROSS, Planes, TargetConfig, TargetKind


class DistanceConfig(TargetConfig):
    """Distance to the border of objects."""

    decoders: ClassVar[tuple[str, ...]] = ("seeded_watershed",)

    kind: Literal["instance", "signed", "semantic", "skeleton"] = Field(
        "instance",
        description="instance = depth inside each object as a share of its deepest, -1 outside; signed = tanh of the "
        "distance to the nearest border, negative outside; semantic = the same for all objects taken together; "
        "skeleton = instance, with the object's skeleton at 1 whatever its thickness (slow, needs kimimaro)",
    )
    planes: Planes = Field("3d", description="distances in space, or only within a section (2d)")
    scale_inside_nm: PositiveFloat = Field(
        64.0,
        description="signed, semantic: the depth whose value is tanh 1 (nm); in all kinds labels are read three "
        "times so far around a patch, at most 96 voxels",
    )
    scale_outside_nm: PositiveFloat = Field(
        64.0, description="signed, semantic: the distance outside whose value is -tanh 1 (nm)"
    )
    skeleton_falloff: PositiveFloat = Field(
        0.8, description="skeleton: exponent of the fall from the skeleton to the border; below 1 = broad"
    )

    @property
    def channels(self) -> list[Channel]:
        """One channel."""
        return [Channel("distance", "distance", activation="tanh", binary=False, axes=ACROSS[self.planes])]

    @model_validator(mode="after")
    def _check_settings_count(self) -> Self:
        """Reject settings that the kind does not read."""
        idle = set() if self.kind in ("signed", "semantic") else {"scale_outside_nm"}
        idle |= set() if self.kind == "skeleton" else {"skeleton_falloff"}
        for key in sorted(idle):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} changes nothing: kind is {self.kind}")
        return self


DISTANCE = TargetKind(
    DistanceConfig, "connectomake.targets.distance:DistanceTarget", "distance to the border of objects"
)
