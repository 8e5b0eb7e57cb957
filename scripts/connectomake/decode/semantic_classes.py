"""A class for each voxel, and the connected objects of some of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from connectomake.decode.maps import as_floats
from connectomake.errors import DataError

DIVISORS = {np.dtype(np.uint32): 2**24, np.dtype(np.uint64): 2**40}
"""What the class number is multiplied by in a panoptic id, by the type of the labels."""


def choose_classes(maps: NDArray, thresholds: Sequence[float], method: str) -> NDArray[np.uint32]:
    """Assign each voxel a class among those whose probability is above their threshold.

    Parameters
    ----------
    maps
        (K, Z, Y, X) probabilities; bool, uint8 (value / 255) or floats.
    thresholds
        K, above which, strictly, a voxel may be of a class.
    method
        'threshold' takes the last of these classes, 'argmax' the most probable (the first on ties).

    Returns
    -------
    ndarray
        (Z, Y, X) uint32: 1..K, 0 where no class is above its threshold.
    """
    classes = np.zeros(maps.shape[1:], np.uint32)
    best = np.full(maps.shape[1:], -np.inf, np.float32)
    for number, (threshold, values) in enumerate(zip(thresholds, maps, strict=True), start=1):
        probability = as_floats(values)
        chosen = probability > threshold
        if method == "argmax":
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
