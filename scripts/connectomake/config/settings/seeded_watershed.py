"""Settings of the decoder `seeded_watershed`, which also makes the labels of volumes that synth generates."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from connectomake.config.section import Section, changed_keys

Probability = Annotated[float, Field(ge=0, lt=1)]

_MAPS_OF_METHOD = {
    "binary": ("binary",),
    "binary_contour": ("binary", "contour"),
    "binary_contour_distance": ("binary", "contour", "distance"),
}
_IDLE_IN_METHOD = {
    "binary": {"seed_contour", "seed_distance", "foreground_distance"},
    "binary_contour": {"seed_distance", "foreground_distance", "sampling_zyx"},
    "binary_contour_distance": {"sampling_zyx"},
}


class SeededWatershedConfig(Section):
    """A watershed from seeds, for networks that predict foreground, contours (MitoEM) and distances (NucMM)."""

    method: Literal["binary", "binary_contour", "binary_contour_distance"] = Field(
        "binary_contour_distance",
        description="channels to read; objects meet where the last of these says: half-way by the distance to the "
        "background (binary), on the contours, or in the valleys of the distance map",
    )
    seed_binary: Probability = Field(0.9, description="a seed is where the foreground is above this")
    seed_contour: float = Field(0.8, gt=0, le=1, description="and the contour below this")
    seed_distance: float = Field(0.5, ge=-1, lt=1, description="and the distance map above this")
    foreground_binary: Probability = Field(0.85, description="an object is where the foreground is above this")
    foreground_distance: float = Field(0.0, ge=-1, lt=1, description="and the distance map above this")
    min_seed_vx: int = Field(32, ge=0, description="smaller seeds are dropped: each seed makes an object")
    sampling_zyx: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (1.0, 1.0, 1.0),
        description="for method binary: size of a voxel along z, y, x in any unit; only the ratios count",
    )

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that the method reads."""
        return _MAPS_OF_METHOD[self.method]

    @model_validator(mode="after")
    def _check_seeds_lie_in_objects(self) -> Self:
        """Reject seeds outside the foreground, and settings of a channel that the method does not read."""
        if self.seed_binary < self.foreground_binary:
            raise ValueError(f"seed_binary {self.seed_binary} is below foreground_binary {self.foreground_binary}")
        if self.seed_distance < self.foreground_distance:
            raise ValueError(
                f"seed_distance {self.seed_distance} is below foreground_distance {self.foreground_distance}"
            )
        for key in changed_keys(self):
            if key in _IDLE_IN_METHOD[self.method]:
                raise ValueError(f"{key} changes nothing: method is {self.method}")
        return self
