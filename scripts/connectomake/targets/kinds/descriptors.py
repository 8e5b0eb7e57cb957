"""Local shape descriptors, as settings know them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, field_validator

from connectomake.channels import Channel
from connectomake.config.settings.train_target_kinds import TargetConfig, TargetKind

PARTS = {
    "offset": ("z", "y", "x"),
    "variance": ("zz", "yy", "xx"),
    "correlation": ("zy", "zx", "yx"),
    "size": ("",),
}


class DescriptorsConfig(TargetConfig):
    """Local shape descriptors: statistics of each object near a voxel (Sheridan et al. 2022); an auxiliary target."""

    sigma_nm: PositiveFloat = Field(80.0, description="sd of the Gaussian that says what is near (nm)")
    parts: tuple[Literal["offset", "variance", "correlation", "size"], ...] = Field(
        ("offset", "variance", "correlation", "size"),
        min_length=1,
        description="which of the ten channels: mean offset, variance and correlation (three each), size",
    )

    @property
    def channels(self) -> list[Channel]:
        """Ten channels, or those of the parts asked for."""
        return [
            Channel(f"descriptor {part} {axes}".strip(), "descriptors", binary=False, axes=axes)
            for part in self.parts
            for axes in PARTS[part]
        ]

    @field_validator("parts")
    @classmethod
    def _check_parts(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Reject the same part twice."""
        if len(set(parts)) != len(parts):
            raise ValueError(f"each part is named once, got {list(parts)}")
        return parts


DESCRIPTORS = TargetKind(
    DescriptorsConfig, "connectomake.targets.descriptors:DescriptorTarget", "local shape descriptors"
)
