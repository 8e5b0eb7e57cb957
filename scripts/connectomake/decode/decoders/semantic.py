"""The decoder `semantic`: a class for each voxel, and the connected objects of some of the classes."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import SemanticConfig
from connectomake.decode.channels import Channels
from connectomake.decode.maps import as_floats, check_maps
from connectomake.decode.postprocess import drop_small
from connectomake.decode.registry import register_decoder
from connectomake.errors import DataError

DIVISORS = {np.dtype(np.uint32): 2**24, np.dtype(np.uint64): 2**40}
"""What the class number is multiplied by in a panoptic id, by the type of the labels."""


@register_decoder("semantic")
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
    check_maps(maps, channels)
    own = cfg.semantic
    classes = choose_classes(maps, channels.names, own)
    if not own.instances:
        return classes
    countable = np.array([False, *(name in own.instances for name in channels.names)])
    objects = np.where(countable[classes], classes, 0)
    if objects.any():
        objects = cc3d.connected_components(objects, connectivity=own.connectivity)
    objects = drop_small(objects, cfg)
    return objects if len(maps) == 1 else join_panoptic(classes, objects, countable)


def choose_classes(maps: NDArray, names: tuple[str, ...], cfg: SemanticConfig) -> NDArray[np.uint32]:
    """Assign each voxel a class among those whose probability is above their threshold.

    Parameters
    ----------
    maps
        (K, Z, Y, X) probabilities; bool, uint8 (value / 255) or floats.
    names
        K names of classes.
    cfg
        Its `method`: 'threshold' takes the last of these classes, 'argmax' the most probable (the first on ties); and
        its thresholds.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32: 1..K, 0 where no class is above its threshold.
    """
    classes = np.zeros(maps.shape[1:], np.uint32)
    best = np.full(maps.shape[1:], -np.inf, np.float32)
    for number, (name, values) in enumerate(zip(names, maps, strict=True), start=1):
        probability = as_floats(values)
        chosen = probability > cfg.class_threshold.get(name, cfg.threshold)
        if cfg.method == "argmax":
            chosen &= probability > best
            best[chosen] = probability[chosen]
        classes[chosen] = number
    return classes


def join_panoptic(
    classes: NDArray[np.uint32], objects: NDArray[np.unsignedinteger], countable: NDArray[np.bool_]
) -> NDArray[np.unsignedinteger]:
    """Write class and object into one number; the inverse of `split_panoptic`.

    Parameters
    ----------
    classes
        (Z, Y, X) class numbers 0..K.
    objects
        (Z, Y, X) ids 0..n in scan order, each within one class.
    countable
        (K + 1,) bool: the classes that have objects; their voxels without one become background.

    Returns
    -------
    ndarray
        (Z, Y, X) uint32, or uint64 where the numbers ask for it.
    """
    class_of_object = np.zeros(int(objects.max(initial=0)) + 1, np.int64)
    class_of_object[objects.ravel()] = classes.ravel()
    class_of_object[0] = 0
    per_class = np.bincount(class_of_object[1:], minlength=len(countable))
    fits = len(countable) <= 2**8 and per_class.max() < DIVISORS[np.dtype(np.uint32)]
    dtype = np.dtype(np.uint32 if fits else np.uint64)
    number_in_class = np.zeros(len(class_of_object), np.int64)
    for number in np.flatnonzero(per_class):
        number_in_class[1:][class_of_object[1:] == number] = np.arange(1, per_class[number] + 1)
    panoptic = (class_of_object * DIVISORS[dtype] + number_in_class).astype(dtype)[objects]
    of_class = (np.arange(len(countable)) * ~countable * DIVISORS[dtype]).astype(dtype)
    return panoptic + of_class[classes]


def split_panoptic(
    labels: NDArray[np.unsignedinteger],
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]:
    """Split panoptic labels into class numbers and object numbers.

    Parameters
    ----------
    labels
        uint32 or uint64 of any shape, as `decode_semantic` gives them for two classes or more with `instances`.

    Returns
    -------
    class_number, object_number
        Of the same shape and type; object 0 where the class is not divided into objects.

    Raises
    ------
    DataError
        If the labels are of another type.
    """
    if labels.dtype not in DIVISORS:
        raise DataError("labels of this type are not panoptic", expected="uint32 or uint64", got=labels.dtype)
    divisor = labels.dtype.type(DIVISORS[labels.dtype])
    return labels // divisor, labels % divisor
