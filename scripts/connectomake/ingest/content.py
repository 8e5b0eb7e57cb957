"""Look at the values of raw data and labels, block by block, before anything is built on them."""

from __future__ import annotations

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import BlockGrid, Box, to_triple
from connectomake.volumes.volume import Volume

RAW_TYPES = ("uint8", "uint16", "float16", "float32", "float64")
BLOCK_ZYX = (256, 256, 256)


def check_raw_type(volume: Volume) -> None:
    """Reject raw data of a type that no network is trained on.

    Raises
    ------
    DataError
        Not uint8, uint16 or float.
    """
    if volume.dtype.name not in RAW_TYPES:
        raise DataError(
            f"the raw data of {volume.source} have a type that cannot be used",
            expected="uint8, uint16, or float between 0 and 1",
            got=volume.dtype.name,
            hint="is it the right dataset? Otherwise save it as one of these types",
        )


def check_labels_type(volume: Volume) -> None:
    """Reject labels that are not integers or have channels.

    Raises
    ------
    DataError
        Labels are float or bool, or there is more than one channel.
    """
    if volume.channels != 1:
        raise DataError(
            f"the labels of {volume.source} have {volume.channels} channels",
            expected="one label per voxel",
            got=volume.shape,
        )
    if volume.dtype.kind not in "iu":
        raise DataError(
            f"the labels of {volume.source} are not integers",
            expected="an integer type; 0 = background, -1 = unknown",
            got=volume.dtype.name,
            hint="is it the right dataset? Otherwise save the labels as uint32",
        )


def check_raw_block(block: np.ndarray, volume: Volume, box: Box) -> None:
    """Reject values that would poison a network.

    Parameters
    ----------
    block
        ([C,] Z, Y, X) values.
    volume, box
        Where they were read.

    Raises
    ------
    DataError
        NaN or infinity, or a float outside 0 to 1.
    """
    if block.dtype.kind != "f" or block.size == 0:
        return
    # min and max are NaN or infinite as soon as one value is, and need no array of truth values
    low, high = float(block.min()), float(block.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(
            f"the raw data of {volume.source} hold NaN or infinity at {_first(~np.isfinite(block), volume, box)}",
            expected="numbers in every voxel",
            hint="replace them (by 0, say), or leave that part out with box_zyx_vx",
        )
    if low < 0 or high > 1:
        where = _first((block < 0) | (block > 1), volume, box)
        raise DataError(
            f"the raw data of {volume.source} are float outside 0 to 1 at {where}",
            expected="0 to 1",
            got=f"{low:g} to {high:g} in that block",
            hint="divide them by their full range, or save them as uint8 or uint16",
        )


def check_labels_block(block: np.ndarray, volume: Volume, box: Box) -> None:
    """Reject negative labels other than -1, which means unknown, and such as were saved in an unsigned type.

    Parameters
    ----------
    block
        (Z, Y, X) integers.
    volume, box
        Where they were read.

    Raises
    ------
    DataError
        A label below -1, or -1 or -2 as an unsigned type of 32 or 64 bits holds them.
    """
    if not can_be_wrong(block.dtype) or not block.size:
        return
    if block.dtype.kind == "i" and block.min() < -1:
        raise DataError(
            f"the labels of {volume.source} are negative at {_first(block < -1, volume, box)}",
            expected="0 = background, 1 and more = objects, -1 = unknown",
            got=int(block.min()),
            hint="an overflow when they were saved? Save them again as uint32 or uint64",
        )
    largest = np.iinfo(block.dtype).max - 1
    if block.dtype.kind == "u" and block.max() >= largest:  # CREMI marks unknown by -1 and -2 in uint64
        raise DataError(
            f"the labels of {volume.source} hold {block.max()} at {_first(block >= largest, volume, box)}",
            expected="ids of objects; this is -1 or -2 that was saved in an unsigned type",
            hint="save the labels as int64, with -1 = unknown, or 0 where it means background, as in CREMI's clefts",
        )


def can_be_wrong(dtype: np.dtype) -> bool:
    """Return whether values of a type can be anything that the checks refuse; small unsigned integers cannot."""
    return dtype.kind != "u" or dtype.itemsize >= 4


def check_not_empty(volume: Volume, what: str) -> None:
    """Reject a volume with one value everywhere, and labels without an object; stops at the first block that has some.

    Parameters
    ----------
    volume
        The volume.
    what
        ``raw data`` or ``labels``.

    Raises
    ------
    DataError
        The volume is empty, or the labels that were looked at are negative.
    """
    low = high = None
    for box in BlockGrid(volume.shape_zyx, BLOCK_ZYX):
        block = volume.read(box)
        if what == "labels":
            check_labels_block(block, volume, box)  # negative ones are no objects, but say more than "empty"
        low = block.min() if low is None else min(low, block.min())
        high = block.max() if high is None else max(high, block.max())
        if (what == "labels" and high > 0) or (what != "labels" and low != high):
            return
    raise DataError(
        f"the {what} of {volume.source} are empty",
        expected="at least one label above 0" if what == "labels" else "different values",
        got=f"{high} in all {volume.shape_zyx} voxels" if low == high else f"{low} to {high}",
        hint="is it the right dataset, and does box_zyx_vx lie where the data are?",
    )


def _first(bad: np.ndarray, volume: Volume, box: Box) -> str:
    """Name the first bad voxel as the file counts, and how many there are in the block."""
    position = np.unravel_index(int(np.argmax(bad)), bad.shape)[-3:]
    in_file = [int(p) + b + v for p, b, v in zip(position, box.start_zyx, volume.box.start_zyx, strict=True)]
    return f"voxel {to_triple(in_file)} (z, y, x in the file; {int(bad.sum())} such voxels in that block)"
