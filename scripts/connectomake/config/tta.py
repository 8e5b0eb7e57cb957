"""Settings of test-time augmentation: under which turns and reflections a window is predicted."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from connectomake.config.section import Section

Axis = Literal["z", "y", "x"]
Plane = Literal["zy", "zx", "yx"]


class TtaConfig(Section):
    """Each window is predicted in all orientations that these lead to, and the predictions are merged."""

    flip: tuple[Axis, ...] = Field((), description="axes to mirror, as in [z, y, x]; n axes give 2^n predictions")
    rotate: tuple[Plane, ...] = Field(
        (),
        description="planes to turn in by quarter turns, as in [yx]; their axes need windows of equal sides",
    )
    permute: tuple[Plane, ...] = Field(
        (), description="pairs of axes to exchange, as in [yx], or [zy, yx] for every order of three; likewise"
    )
    merge: Literal["mean", "min", "max"] = Field(
        "mean",
        description="of the predictions that a voxel or an edge has: mean, or the smallest or largest of them; "
        "components of vectors are averaged in any case",
    )

    @property
    def is_used(self) -> bool:
        """Whether there is anything besides the window as it is."""
        return bool(self.flip or self.rotate or self.permute)

    @model_validator(mode="after")
    def _check_no_repeats(self) -> Self:
        """Refuse an axis or a plane that is named twice."""
        for key in ("flip", "rotate", "permute"):
            named = getattr(self, key)
            if len(set(named)) != len(named):
                raise ValueError(f"{key} names something twice: {list(named)}")
        return self
