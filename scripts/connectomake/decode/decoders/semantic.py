"""The decoder `semantic`: a class for each voxel, and the connected objects of some of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from connectomake.channels import ChannelName, find_named
from connectomake.config.section import Section
from connectomake.config.settings.decode_decoders import SIZE, Decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectomake.config.settings.decode import DecodeConfig
    from connectomake.decode.channels import Channels

Probability = Annotated[float, Field(ge=0, lt=1)]

_NO_CLASSES = {"background", "contour", "distance", "flow", "descriptor"}
"""First words of the channels that other targets have, and what is left by classes that exclude one another."""


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


def _may_be_class(channel: ChannelName) -> bool:
    return channel.offset_zyx is None and channel.name.split()[0] not in _NO_CLASSES


def _find_classes(own: SemanticConfig, channels: Sequence[ChannelName]) -> tuple[int, ...] | None:
    names = own.classes or tuple(channel.name for channel in channels if _may_be_class(channel))
    if not names or not {*own.instances, *own.class_threshold} <= set(names):
        return None
    return find_named(channels, names)


def _check_semantic(cfg: DecodeConfig) -> None:
    """Reject sizes of objects that there are not, and joins of different classes."""
    if cfg.min_size_vx > 1 and not cfg.own(SemanticConfig).instances:
        raise ValueError("decode.min_size_vx changes nothing: semantic.instances names no class")
    if cfg.remove_small == "neighbor":
        raise ValueError("remove_small: neighbor would join objects of different classes: use background, none")


def decode_semantic(maps: NDArray, cfg: DecodeConfig, *, channels: Channels, threads: int = 1) -> NDArray:
    """Label voxels by class, and objects of the classes in `semantic.instances` one by one.

    Parameters and errors are those of `decode`; each map is the probability of the class that its channel is named
    after, and the classes are numbered 1, 2, ... in the order of the channels.

    Returns
    -------
    ndarray
        (Z, Y, X), 0 = background. Without `instances`: uint32 class numbers. With them: class number * 2^24 + object
        number in uint32 (2^40 in uint64, where there are more than 255 classes or a class has 2^24 objects or more);
        objects of a class are numbered 1..n in scan order, voxels of the other classes have object number 0; see
        `split_panoptic`. Of one class alone, objects are 1..n. Objects of fewer than `min_size_vx` voxels are
        background.
    """
    import cc3d
    import numpy as np

    from connectomake.decode.maps import check_maps
    from connectomake.decode.postprocess import drop_small
    from connectomake.decode.semantic_classes import choose_classes, join_panoptic

    check_maps(maps, channels)
    own = cfg.own(SemanticConfig)
    thresholds = [own.class_threshold.get(name, own.threshold) for name in channels.names]
    classes = choose_classes(maps, thresholds, own.method)
    if not own.instances:
        return classes
    countable = np.array([False, *(name in own.instances for name in channels.names)])
    objects = np.where(countable[classes], classes, 0)
    if objects.any():
        objects = cc3d.connected_components(objects, connectivity=own.connectivity)
    objects = drop_small(objects, cfg)
    return objects if len(maps) == 1 else join_panoptic(classes, objects, countable)


DECODER = Decoder(
    summary="classes of voxels, and their components",
    decode=decode_semantic,
    reads="the channels that semantic names, or at least one that is a class",
    find_channels=_find_classes,
    shared=SIZE,
    settings=SemanticConfig,
    check=_check_semantic,
    mvoxel_per_s=40.0,
    blocks="no",
    ids_tell_class=True,
)
