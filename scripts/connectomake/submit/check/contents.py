"""From what an array is and holds to findings: whether the challenge's scorer can read it, and reads labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from connectomake.submit.check.cut_ids import IDS, count_pieces
from connectomake.submit.check.finding import Finding
from connectomake.submit.check.stored import StoredArray
from connectomake.submit.check.values import Values

LARGE_BYTES = 100e6
UNKNOWN = 255
THRESHOLD = "threshold it: 1 where the class is, 0 elsewhere"


def judge_storage(array: StoredArray, where: str, *, is_instance: bool) -> Iterator[Finding]:
    """Find what is wrong with an array before its chunks are read."""
    if is_instance and array.dtype.byteorder == ">":
        what = f"values of type {array.dtype.str}: the scorer's connected components do not take big-endian numbers"
        yield Finding("fails", where, what, f"write {array.dtype.newbyteorder('<').str}")
    if array.strays:
        lost = len(array.strays)
        what = f"{lost} {'file is no chunk' if lost == 1 else 'files are no chunks'} of it, such as {array.strays[0]}"
        hint = f"names of chunks are numbers joined by {array.separator!r}: set dimension_separator in .zarray"
        yield Finding("note" if array.chunks else "zero", where, what, hint)
    absent = len(array.grid) - len(array.chunks)
    if absent and array.fill is None:
        what = (
            f"{absent} of {len(array.grid)} chunks are not there, and fill_value is null: what is read there is random"
        )
        yield Finding("zero", where, what, "set fill_value to 0 in .zarray")
    elif absent and array.fill:
        what = f"{absent} of {len(array.grid)} chunks are not there, and count as {array.fill:g}"
        yield Finding("loses", where, what, "set fill_value to 0 in .zarray, if they are background")
    if array.compressor is None and array.stored_bytes > LARGE_BYTES:
        what = f"{array.stored_bytes / 1e9:.2g} GB of chunks that are not compressed count against the largest size"
        yield Finding("note", where, what, "compress them (Blosc with zstd)")


def judge_values(
    array: StoredArray, values: Values, where: str, *, is_instance: bool, is_resampled: bool
) -> Iterator[Finding]:
    """Find whether an array holds something else than labels, or labels that the scorer takes otherwise."""
    if values.not_finite:
        yield Finding("zero", where, "values that are NaN or infinite", "write whole numbers, 0 for background")
    if values.fractional or values.are_graded:
        yield _judge_probabilities(array, values, where, is_instance=is_instance)
    elif is_instance:
        yield from _judge_objects(array, values, where)
    else:
        yield from _judge_mask(values, where, is_resampled=is_resampled)
    if array.dtype.kind == "f" and not values.fractional:
        what = f"whole numbers of type {array.dtype.name}"
        lost = is_instance and is_resampled
        if lost:
            what += ": the scorer blends ids where it resamples, which makes new ones"
        yield Finding("loses" if lost else "note", where, what, "write an integer type")


def _judge_probabilities(array: StoredArray, values: Values, where: str, *, is_instance: bool) -> Finding:
    kind = "fractions" if values.fractional else "graded values"
    what = f"{kind} from {values.low:.3g} to {values.high:.3g} ({array.dtype.name}) look like probabilities: "
    if is_instance:
        what += "each value counts as an object of its own"
        return Finding("zero", where, what, "write ids of objects as whole numbers, 0 for background")
    return Finding("zero", where, what + "all above 0 is foreground", THRESHOLD)


def _judge_objects(array: StoredArray, values: Values, where: str) -> Iterator[Finding]:
    if array.dtype.kind == "b":
        what = "true and false, not ids: objects that touch count as one"
        yield Finding("loses", where, what, "write ids of objects as whole numbers")
    if values.low < 0:
        what = f"ids down to {values.low:g}: those below 0 count as objects too"
        yield Finding("loses", where, what, "0 is background; give objects ids above 0")
    pieces, objects = count_pieces(array, values)
    if objects > IDS:
        what = (
            f"all 255 ids of {array.dtype.name} are used, for {objects} objects: ids seem cut to 8 bits, which loses "
        )
        what += "every 256th object and joins some that touch"
        yield Finding("zero", where, what, "write ids as uint16 or uint32")
    elif pieces > IDS:
        what = f"all 255 ids of {array.dtype.name} are used, in {pieces} pieces: each counts as an object of its own"
        yield Finding("note", where, what, "remove small pieces; if ids were cut to 8 bits, write uint16 or uint32")


def _judge_mask(values: Values, where: str, *, is_resampled: bool) -> Iterator[Finding]:
    above = np.flatnonzero(values.counts[1:]) + 1
    if list(above) == [1, UNKNOWN]:
        what = f"{values.counts[UNKNOWN]} voxels are 255: that is unknown in annotations, but foreground here"
        yield Finding("loses", where, what, "write 0 or 1")
    elif values.high > 1:
        what = f"values up to {values.high:g} instead of 0 and 1: all above 0 is foreground"
        if is_resampled:
            what += ", also next to objects, since the scorer resamples it"
        yield Finding("loses" if is_resampled else "note", where, what, "write 0 and 1")
    if values.low < 0:
        yield Finding("note", where, f"values down to {values.low:g}: those below 0 are background", "write 0 and 1")
    if values.foreground == values.voxels:
        yield Finding("note", where, "every voxel is foreground", "is the threshold right?")
