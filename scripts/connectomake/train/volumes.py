"""The boxes of a split as something to take patches from: held in memory where they fit, else read patch by patch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path

import numpy as np

from connectomake.augment.patch import Patch
from connectomake.config.settings.data import UNKNOWN
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple
from connectomake.split.table import SplitRow
from connectomake.targets.combinations import Combinations
from connectomake.train.class_codes import LEARNT, Numbering, number_codes
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.volume import Volume

log = logging.getLogger(__name__)

SAME_VOXEL_SIZE, ROUNDING = 0.05, 1e-9
SLAB_VX = 64


@dataclass(frozen=True)
class LabelledBox:
    """A box of raw data with its labels. Nothing outside of it is ever read: it may belong to another role.

    Parameters
    ----------
    name
        Of the volume.
    raw, labels
        Cut to the box: volumes on disk, or arrays (C, Z, Y, X) and (Z, Y, X) in memory.
    channels
        Of the raw data.
    shape_zyx
        Of the box, in voxels.
    voxel_size_zyx_nm
        In nm.
    weight
        How often patches come from here, per voxel, relative to other boxes of its source.
    source, share
        The kind of data it is, and that kind's weight in the mix; None where nothing is mixed.
    whole
        Raw data of the volume that the box is a part of, to measure its grey values; None = `raw` itself.
    combinations
        What the labels that are read are numbers of, where they tell classes; None = they are objects, or values.
    numbers
        (K,) signed integers: what values in `labels` become when they are read; None = they stay.
    """

    name: str
    raw: Volume | np.ndarray
    labels: Volume | np.ndarray
    channels: int
    shape_zyx: Triple
    voxel_size_zyx_nm: TripleNm
    weight: float
    source: str = ""
    share: float | None = None
    whole: Volume | None = None
    combinations: Combinations | None = None
    numbers: np.ndarray | None = None

    def read(self, box: Box, before_zyx: Sequence[int], after_zyx: Sequence[int]) -> Patch:
        """Read a patch, and the labels around it.

        Parameters
        ----------
        box
            The patch, in voxels of this box; where it sticks out, grey values are mirrored and labels unknown.
        before_zyx, after_zyx
            How much further the labels shall reach on each side; unknown where there are none.

        Returns
        -------
        Patch
            Its grey values as float32, not yet normalised.
        """
        return Patch(self.read_raw(box), self.read_labels(reach(box, before_zyx, after_zyx)), to_triple(before_zyx))

    def read_raw(self, box: Box) -> np.ndarray:
        """Read grey values, (C, Z, Y, X) float32 of the caller's own, mirrored where the box sticks out."""
        inside = box.intersect(Box.of_shape(self.shape_zyx))
        raw = _read(self.raw, inside).astype(np.float32).reshape(self.channels, *inside.shape_zyx)
        if inside != box:
            missing = zip(box.start_zyx, inside.start_zyx, inside.stop_zyx, box.stop_zyx, strict=True)
            raw = np.pad(raw, [(0, 0), *((b - a, d - c) for a, b, c, d in missing)], mode="symmetric")
        return raw

    def read_labels(self, box: Box) -> np.ndarray:
        """Read labels, (Z, Y, X) of the caller's own, unknown (-1) where the box sticks out.

        They are int32 where the type that they are kept in fits into it, else int64: half the bytes to move.
        """
        kept = (self.labels if self.numbers is None else self.numbers).dtype
        dtype = np.int32 if np.can_cast(kept, np.int32) else np.int64
        inside = box.intersect(Box.of_shape(self.shape_zyx))
        if inside == box:
            return self._read_numbers(inside).astype(dtype)
        labels = np.full(box.shape_zyx, UNKNOWN, dtype)
        labels[inside.within(box).slices] = self._read_numbers(inside)
        return labels

    @property
    def bytes_in_memory(self) -> int:
        """How much memory it takes to hold it, at most: labels are held in the smallest type that suffices."""
        return prod(self.shape_zyx) * (self.raw.dtype.itemsize * self.channels + self.labels.dtype.itemsize)

    def held(self) -> LabelledBox:
        """Return the same box in memory."""
        whole = Box.of_shape(self.shape_zyx)
        raw = _read(self.raw, whole).reshape(self.channels, *self.shape_zyx)
        # In slabs, so that labels of 64 bits are never there as a whole.
        starts = range(0, self.shape_zyx[0], SLAB_VX)
        slabs = [Box((z, 0, 0), (z + SLAB_VX, *self.shape_zyx[1:])).intersect(whole) for z in starts]
        labels = join_small([shrink(self._read_numbers(slab)) for slab in slabs])
        return replace(self, raw=raw, labels=labels, numbers=None)

    def _read_numbers(self, box: Box) -> np.ndarray:
        found = _read(self.labels, box)
        if self.numbers is None:
            return found
        try:
            return self.numbers[found]
        except IndexError:
            raise DataError(
                f"the labels of volume {self.name} hold a code that its volume.json does not explain",
                expected=f"at most {len(self.numbers) - 1}",
                got=int(found.max()),
                hint="ingest it again",
            ) from None


def open_boxes(
    rows: Sequence[SplitRow],
    role: str,
    memory_gb: float,
    targets: TargetsConfig | None = None,
    volumes: Mapping[Path, IngestedVolume] | None = None,
) -> list[LabelledBox]:
    """Open all boxes of a role, in the order of the table; those of a source whose share is 0 are left alone.

    Parameters
    ----------
    rows
        The split.
    role
        train or validate.
    memory_gb
        The smallest boxes are held in memory as long as they fit into this together (GB).
    targets
        What is learnt from them. Where that is classes of crops, labels are numbers of `LabelledBox.combinations`, the
        same in all boxes of the split.
    volumes
        Those of the split, as `read_volumes` gives them; by default they are read.

    Raises
    ------
    ConfigError
        Classes are asked for that the crops do not have.
    DataError
        The boxes differ in voxel size (by more than 5 %; crops by more than 5 % from one size) or in their number of
        channels, or their labels are not such as the targets need.
    """
    volumes = read_volumes(rows) if volumes is None else volumes
    numbering = number_codes(rows, targets, volumes)
    opened = cache(lambda path: (volumes[path].open_raw(), volumes[path].open_labels()))
    boxes = [_cut(row, *opened(row.volume_json), numbering) for row in rows if row.role == role and row.share != 0]
    for box in boxes[1:]:
        _check_alike(boxes[0], box)
    return hold_smallest(boxes, memory_gb * 1e9) if memory_gb else boxes


def read_volumes(rows: Sequence[SplitRow]) -> dict[Path, IngestedVolume]:
    """Read the volumes of a split that are trained on or validate, by the path of their volume.json.

    Those of a source whose share is 0 are left alone: they may not be there.
    """
    paths = dict.fromkeys(row.volume_json for row in rows if row.role in LEARNT and row.share != 0)
    return {path: IngestedVolume.read(path) for path in paths}


def _check_alike(first: LabelledBox, box: LabelledBox) -> None:
    """Reject a box that cannot be learnt together with the first one."""
    ratios = [a / b for a, b in zip(box.voxel_size_zyx_nm, first.voxel_size_zyx_nm, strict=True)]
    # Crops are as near as that to the size asked for, each on its own side of it.
    most = SAME_VOXEL_SIZE if box.combinations is None else 2 * SAME_VOXEL_SIZE / (1 - SAME_VOXEL_SIZE) + ROUNDING
    if max(abs(ratio - 1) for ratio in ratios) > most or box.channels != first.channels:
        raise DataError(
            f"volumes {first.name} and {box.name} cannot be learnt together",
            expected=f"{first.channels} channels, {first.voxel_size_zyx_nm} nm",
            got=f"{box.channels} channels, {box.voxel_size_zyx_nm} nm",
            hint="bring them to one voxel size first",
        )


def hold_smallest(boxes: Sequence[LabelledBox], room: float) -> list[LabelledBox]:
    """Bring boxes into memory, the smallest first, as long as they fit into `room` bytes; the order stays."""
    result, left, held = list(boxes), room, 0
    for index in sorted(range(len(boxes)), key=lambda i: boxes[i].bytes_in_memory):
        if boxes[index].bytes_in_memory > left:
            break
        result[index] = boxes[index].held()
        left -= result[index].bytes_in_memory
        held += 1
    rest = "; the others are read patch by patch" if held < len(boxes) else ""
    message = "%d of %d boxes are held in memory (%.2f of %g GB)%s"
    log.info(message, held, len(boxes), (room - left) / 1e9, room / 1e9, rest)
    return result


def reach(box: Box, before_zyx: Sequence[int], after_zyx: Sequence[int]) -> Box:
    """Move the faces of a box outwards, by different amounts on each side."""
    return Box(
        to_triple([a - b for a, b in zip(box.start_zyx, before_zyx, strict=True)]),
        to_triple([a + b for a, b in zip(box.stop_zyx, after_zyx, strict=True)]),
    )


def shrink(labels: np.ndarray) -> np.ndarray:
    """Return labels in the smallest integer type that holds them."""
    return labels.astype(_smallest(int(labels.min()), int(labels.max())), copy=False)


def join_small(slabs: Sequence[np.ndarray]) -> np.ndarray:
    """Put slabs together along z, in the smallest type that holds all of them."""
    dtype = _smallest(min(int(slab.min()) for slab in slabs), max(int(slab.max()) for slab in slabs))
    joined = np.empty((sum(len(slab) for slab in slabs), *slabs[0].shape[1:]), dtype)
    return np.concatenate(slabs, out=joined, casting="unsafe")


def _smallest(low: int, high: int) -> np.dtype:
    types = ("u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8")  # i4 first: patches of it are read as int32
    return next(np.dtype(t) for t in types if np.iinfo(t).min <= low and high <= np.iinfo(t).max)


def _cut(row: SplitRow, whole: Volume, labels: Volume, numbering: Numbering | None) -> LabelledBox:
    if whole.shape_zyx != labels.shape_zyx:
        raise DataError(
            f"raw and labels of {row.volume} differ in shape", expected=whole.shape_zyx, got=labels.shape_zyx
        )
    raw, labels = whole.crop(row.box), labels.crop(row.box)
    return LabelledBox(
        row.volume,
        raw,
        labels,
        raw.channels,
        raw.shape_zyx,
        raw.voxel_size_zyx_nm,
        row.weight,
        row.source,
        row.share,
        whole,
        None if numbering is None else numbering.combinations,
        None if numbering is None else numbering.by_volume[row.volume_json],
    )


def _read(source: Volume | np.ndarray, box: Box) -> np.ndarray:
    return source[(..., *box.slices)] if isinstance(source, np.ndarray) else source.read(box)
