"""Settings of single decoders, and which channels of a network each of them reads.

A decoder that has settings of its own has a section here, under its name in `DecodeConfig`; which channels it reads is
its line in `READS`, and which of the settings that decoders share its line in `SHARED`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from connectomake.channels import ChannelName, find_named, find_nearest
from connectomake.config.section import Section

Find = Callable[[Any, Sequence[ChannelName]], tuple[int, ...] | None]
"""Finds the channels that a decoder reads, from its own section of settings (None without) and those that there are."""

Probability = Annotated[float, Field(ge=0, lt=1)]
Bias = Annotated[float, Field(ge=-1, le=0)]

WATERZ_QUANTILES = tuple(range(10, 100, 5))
"""Those that the wheels of waterz hold compiled."""

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

_NO_CLASSES = {"background", "contour", "distance", "flow", "descriptor"}
"""First words of the channels that other targets have, and what is left by classes that exclude one another."""


class MutexWatershedConfig(Section):
    """Mutex watershed: edge after edge, the surest first, joins two objects or forbids that they are ever joined."""

    bias_nearest: Bias = Field(
        -0.5,
        description="added to the affinities to the next voxels: above 0 an edge joins, below it keeps apart, and the "
        "farther from 0 the earlier; nearer to 0 = fewer splits",
    )
    bias_long: Bias = Field(
        -0.5, description="added to the long-range affinities; below bias_nearest, these keep apart more than they join"
    )
    long_stride_zyx_vx: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (1, 1, 1),
        description="long-range edges are taken at every so many voxels along z, y, x: fewer need less time and memory",
    )
    foreground: Probability = Field(
        0.5, description="a voxel is in an object only if one of its six edges to the next voxels is above this"
    )


class WaterzConfig(Section):
    """A watershed, then regions are merged by a score of the affinities between them, the best pair first."""

    threshold: float = Field(
        0.3, ge=0, le=1, description="regions are merged while their score, 1 - affinity, is below this: higher = more"
    )
    merge_function: str = Field(
        "aff50_his256",
        description="score of two regions that touch: aff50_his256 = 1 - median of the affinities between them in 256 "
        "bins (aff10 to aff95, in steps of 5: other percentiles), mean = 1 - their mean",
    )
    aff_threshold_low: Probability = Field(
        0.001, description="in the watershed, edges at or below this join nothing; a voxel with no other is background"
    )
    aff_threshold_high: float = Field(
        0.999, gt=0, le=1, description="in the watershed, edges at or above this always join"
    )

    @field_validator("merge_function")
    @classmethod
    def _check_merge_function(cls, name: str) -> str:
        """Reject scores that waterz would have to compile."""
        if name != "mean" and name not in {f"aff{quantile}_his256" for quantile in WATERZ_QUANTILES}:
            raise ValueError(f"expected mean, or aff10_his256 to aff95_his256 in steps of 5, got {name!r}")
        return name

    @model_validator(mode="after")
    def _check_thresholds(self) -> Self:
        """Reject a watershed in which an edge would both always and never join."""
        if self.aff_threshold_low >= self.aff_threshold_high:
            raise ValueError(
                f"aff_threshold_low {self.aff_threshold_low} must be below aff_threshold_high {self.aff_threshold_high}"
            )
        return self


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


class FlowDecoderConfig(Section):
    """Voxels that flow to the same place are one object (Cellpose); of flows in space, or within sections."""

    foreground: Probability = Field(0.5, description="an object is where the foreground (binary) is above this")
    least_length: float = Field(
        0.2, ge=0, le=1, description="a voxel whose vector is shorter than this (0 to 1) is an end of ways"
    )
    gather_vx: int = Field(
        2, ge=1, description="ends of ways within so many voxels of each other along each axis belong to one object"
    )
    stitch_iou: float = Field(
        0.25,
        gt=0,
        le=1,
        description="for flows within sections: objects of neighbouring sections are one where they share at least "
        "this part of the voxels of both (0 to 1)",
    )


class SemanticConfig(Section):
    """Classes of voxels, and the objects of some of the classes."""

    classes: tuple[str, ...] = Field(
        (),
        description="channels that are classes, in this order; [] = all channels of classes but background, and binary",
    )
    method: Literal["argmax", "threshold"] = Field(
        "threshold",
        description="class of a voxel, among those above their threshold: threshold = the last in the order of classes "
        "(parts after the whole), argmax = the most probable",
    )
    threshold: Probability = Field(0.5, description="probability above which, strictly, a voxel may be of a class")
    class_threshold: dict[str, Probability] = Field(
        default_factory=dict, description="class -> its threshold, where it differs from `threshold`"
    )
    instances: tuple[str, ...] = Field(
        (),
        description="classes whose connected components become objects; with any, labels are class number x 2^24 (2^40 "
        "in uint64) + object number, or 1..n where there is one class alone",
    )
    connectivity: Literal[6, 18, 26] = Field(
        6, description="voxels of an object share a face (6), or an edge (18), or a corner (26)"
    )

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        """Reject a class named twice, and settings of classes that are not there."""
        for names in (self.classes, self.instances):
            if len(set(names)) < len(names):
                raise ValueError(f"each class is named once, got {list(names)}")
        for name in (*self.instances, *self.class_threshold):
            if self.classes and name not in self.classes:
                raise ValueError(f"{name!r} is none of the classes {list(self.classes)}")
        if self.connectivity != 6 and not self.instances:
            raise ValueError("connectivity changes nothing: there are no instances")
        return self


def _find_mutex(own: MutexWatershedConfig, channels: Sequence[ChannelName]) -> tuple[int, ...] | None:
    lengths = {c: sum(map(abs, channel.offset_zyx)) for c, channel in enumerate(channels) if channel.offset_zyx}
    has_long = any(length > 1 for length in lengths.values())
    return tuple(lengths) if has_long and find_nearest(channels) else None


def _may_be_class(channel: ChannelName) -> bool:
    return channel.offset_zyx is None and channel.name.split()[0] not in _NO_CLASSES


def _find_classes(own: SemanticConfig, channels: Sequence[ChannelName]) -> tuple[int, ...] | None:
    names = own.classes or tuple(channel.name for channel in channels if _may_be_class(channel))
    if not names or not {*own.instances, *own.class_threshold} <= set(names):
        return None
    return find_named(channels, names)


def _find_flow(own: FlowDecoderConfig, channels: Sequence[ChannelName]) -> tuple[int, ...] | None:
    in_section = ("flow y", "flow x")
    return find_named(channels, ("binary", "flow z", *in_section)) or find_named(channels, ("binary", *in_section))


_NEAREST = "the affinities to the next voxel along z, y and x"

READS: dict[str, tuple[str, Find]] = {
    "affinity_cc": (_NEAREST, lambda own, channels: find_nearest(channels)),
    "mutex_watershed": (f"{_NEAREST} and at least one long-range affinity", _find_mutex),
    "waterz": (_NEAREST, lambda own, channels: find_nearest(channels)),
    "seeded_watershed": (
        "channels named binary, contour and distance (those in the name of its method)",
        lambda own, channels: find_named(channels, own.channels),
    ),
    "flow": ("channels named binary and flow y, flow x (and flow z, of flows in space)", _find_flow),
    "semantic": ("the channels that semantic names, or at least one that is a class", _find_classes),
}

_SIZE = frozenset({"min_size_vx", "remove_small"})
_FILL = frozenset({"fill", "fill_floor", "fill_distance_vx"})

SHARED: dict[str, frozenset[str]] = {
    "affinity_cc": _SIZE | _FILL | {"threshold"},
    "mutex_watershed": _SIZE | _FILL,
    "waterz": _SIZE | _FILL,
    "seeded_watershed": _SIZE,
    "flow": _SIZE,
    "semantic": _SIZE,
}


OWN_BYTES_PER_VOXEL = {"mutex_watershed": 450, "waterz": 600, "seeded_watershed": 60, "flow": 20}
"""What a decoder takes beyond maps and labels, as measured; the mutex watershed with six channels."""


def changed_keys(settings: Section) -> Iterator[str]:
    """Return the keys that differ from their defaults, dotted where nested.

    Settings travel as all of their values, so that a key was given tells nothing.
    """
    for key, field in type(settings).model_fields.items():
        value, default = getattr(settings, key), field.get_default(call_default_factory=True)
        if value == default:
            continue
        if isinstance(value, Section) and type(value) is type(default):
            yield from (f"{key}.{inner}" for inner in changed_keys(value))
        else:
            yield key


def find_idle_key(decoder: str, settings: Section) -> str | None:
    """Return a setting that was changed though the decoder does not read it; None where there is none.

    Parameters
    ----------
    decoder
        Its name.
    settings
        Of the decode stage.
    """
    idle = frozenset().union(*SHARED.values()) - SHARED[decoder]
    for key in changed_keys(settings):
        top = key.partition(".")[0]
        if top in idle or (top in READS and top != decoder):
            return key
    return None
