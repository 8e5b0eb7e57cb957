"""Settings of what a network learns to predict: one section for each target.

A section also names the target's channels, and in `decoders` the decoders that can read them; what the values are, and
which of them are known, stands in the module of the target in `connectomake.targets`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from connectomake.channels import Channel, Offset, name_offset
from connectomake.config.section import Section

Erosion = Annotated[int, Field(ge=0, le=16)]
PerAxisErosion = tuple[Erosion, Erosion, Erosion]
Planes = Literal["3d", "2d"]

DESCRIPTORS = {
    "offset": ("z", "y", "x"),
    "variance": ("zz", "yy", "xx"),
    "correlation": ("zy", "zx", "yx"),
    "size": ("",),
}
ACROSS = {"3d": "", "2d": "zz"}
"""Axes of what is computed in each section, besides its own: another thing in sections across another axis."""


class AffinityConfig(Section):
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


class BinaryConfig(Section):
    """Foreground: whether a voxel is in any object."""

    decoders: ClassVar[tuple[str, ...]] = ("seeded_watershed", "semantic", "flow")

    erosion_zyx_vx: PerAxisErosion = Field(
        (0, 0, 0), description="objects are made thinner by so many voxels on each side: eroded foreground"
    )

    @property
    def channels(self) -> list[Channel]:
        """One channel."""
        return [Channel("binary", "binary")]


class ContourConfig(Section):
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


class DistanceConfig(Section):
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


class FlowConfig(Section):
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


class DescriptorsConfig(Section):
    """Local shape descriptors: statistics of each object near a voxel (Sheridan et al. 2022); an auxiliary target."""

    decoders: ClassVar[tuple[str, ...]] = ()

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
            for axes in DESCRIPTORS[part]
        ]

    @field_validator("parts")
    @classmethod
    def _check_parts(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Reject the same part twice."""
        if len(set(parts)) != len(parts):
            raise ValueError(f"each part is named once, got {list(parts)}")
        return parts


class ClassesConfig(Section):
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


class TargetsConfig(Section):
    """What the network predicts: the channels of all targets that are not null, in the order of these keys."""

    affinity: AffinityConfig | None = Field(default_factory=AffinityConfig, description="affinities between voxels")
    binary: BinaryConfig | None = Field(None, description="foreground")
    contour: ContourConfig | None = Field(None, description="contours of objects")
    distance: DistanceConfig | None = Field(None, description="distance to the border of objects")
    flow: FlowConfig | None = Field(None, description="vectors to the middle of objects")
    descriptors: DescriptorsConfig | None = Field(None, description="local shape descriptors")
    classes: ClassesConfig | None = Field(None, description="classes of voxels")

    @property
    def names(self) -> list[str]:
        """The targets that there are, in order."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]

    @property
    def channels(self) -> list[Channel]:
        """The channels of the network's output; their number is the network's `out_channels`."""
        return [channel for name in self.names for channel in getattr(self, name).channels]

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        """Reject a network that predicts nothing, and two channels of one name."""
        names = [channel.name for channel in self.channels]
        if not names:
            raise ValueError("there is no target: a network has to predict something")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two channels are called {twice[0]!r}: give the class another name")
        return self
