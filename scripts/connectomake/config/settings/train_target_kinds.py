"""What every target says of itself; and classes, which the data and the sampling have to know of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from connectomake.channels import Channel
from connectomake.config.section import Section
from connectomake.registry import load

Erosion = Annotated[int, Field(ge=0, le=16)]
PerAxisErosion = tuple[Erosion, Erosion, Erosion]
Planes = Literal["3d", "2d"]

ACROSS = {"3d": "", "2d": "zz"}
"""Axes of what is computed in each section, besides its own: another thing in sections across another axis."""


class TargetConfig(Section):
    """Settings of one target; a subclass names its channels, and in `decoders` the decoders that can read them."""

    decoders: ClassVar[tuple[str, ...]] = ()

    @property
    def channels(self) -> list[Channel]:
        """The channels that it fills, in order."""
        raise NotImplementedError


@dataclass(frozen=True)
class TargetKind:
    """One thing to learn.

    Parameters
    ----------
    settings
        Its section of `TargetsConfig`.
    target
        Function of the settings and the voxel size (z, y, x; nm) that returns a `targets.target.Target`, and imports
        numpy and what else it computes with by itself; or the place of one, ``module:attribute``, which is loaded when
        it is first needed. Settings are read where nothing is computed.
    description
        What it is, in the words of the table of settings.
    by_default
        Whether it is learnt where the settings do not speak of it.
    """

    settings: type[TargetConfig]
    target: Callable[[Any, Any], Any] | str
    description: str
    by_default: bool = False

    def make(self, settings: TargetConfig, voxel_size_zyx_nm: tuple[float, float, float]) -> Any:
        """Return the `Target` of some settings."""
        target = load(self.target) if isinstance(self.target, str) else self.target
        return target(settings, voxel_size_zyx_nm)


class ClassesConfig(TargetConfig):
    """Classes of voxels, such as organelles."""

    decoders: ClassVar[tuple[str, ...]] = ("semantic",)

    labels: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="class -> the values in the labels that are of it; unknown (-1) is ignored"
    )
    named: tuple[str, ...] = Field(
        (),
        description="instead: classes of CellMap crops, by name; a voxel may be of several, and where a class is not "
        "annotated nothing is learnt of it",
    )
    exclusive: bool = Field(
        False,
        description="a voxel has one class: softmax over the classes and a channel for the rest, background; else a "
        "sigmoid for each class",
    )

    @property
    def channels(self) -> list[Channel]:
        """One channel for each class, and where they exclude one another the first is the background."""
        names = (["background"] if self.exclusive else []) + list(self.labels or self.named)
        return [Channel(name, "classes", activation="softmax" if self.exclusive else "sigmoid") for name in names]

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        """Reject classes without values, values that mean something else, and one value in two exclusive classes."""
        if bool(self.labels) == bool(self.named):
            raise ValueError(
                "give exactly one of labels (values of one label volume) and named (classes of CellMap crops)"
            )
        if self.named and self.exclusive:
            raise ValueError("classes of CellMap crops overlap: set exclusive: false")
        owner: dict[int, str] = {}
        for name, values in self.labels.items():
            if not values or min(values) < 1:
                raise ValueError(
                    f"class {name!r} needs values above 0 (0 = background, -1 = unknown), got {list(values)}"
                )
            for value in values:
                if owner.setdefault(value, name) != name and self.exclusive:
                    raise ValueError(
                        f"value {value} is of the classes {owner[value]!r} and {name!r}, which exclude one another: "
                        "take it out of one, or set exclusive: false"
                    )
        return self
