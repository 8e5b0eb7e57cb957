"""The boxes of a split as something to take patches from: held in memory where they fit, else read patch by patch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from connectomake.augment.patch import Patch
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple
from connectomake.split.table import SplitRow
from connectomake.targets.affinity import UNKNOWN
from connectomake.volumes.ingest import open_labels, open_raw
from connectomake.volumes.volume import Volume

log = logging.getLogger(__name__)

SAME_VOXEL_SIZE = 0.05


@dataclass(frozen=True)
class LabelledBox:
    """A box of raw data with its labels. Nothing outside of it is ever read: it may belong to another role.

    Parameters
    ----------
    name
        For messages.
    raw, labels
        Cut to the box: volumes on disk, or arrays (C, Z, Y, X) and (Z, Y, X) in memory.
    channels
        Of the raw data.
    shape_zyx
        Of the box, in voxels.
    voxel_size_zyx_nm
        In nm.
    weight
        How often patches come from here, per voxel.
    """

    name: str
    raw: Volume | np.ndarray
    labels: Volume | np.ndarray
    channels: int
    shape_zyx: Triple
    voxel_size_zyx_nm: TripleNm
    weight: float

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
        around = Box(
            to_triple([a - b for a, b in zip(box.start_zyx, before_zyx, strict=True)]),
            to_triple([a + b for a, b in zip(box.stop_zyx, after_zyx, strict=True)]),
        )
        whole = Box.of_shape(self.shape_zyx)
        inside = box.intersect(whole)
        raw = _read(self.raw, inside).astype(np.float32).reshape(self.channels, *inside.shape_zyx)
        if inside != box:
            missing = zip(box.start_zyx, inside.start_zyx, inside.stop_zyx, box.stop_zyx, strict=True)
            raw = np.pad(raw, [(0, 0), *((b - a, d - c) for a, b, c, d in missing)], mode="symmetric")
        labels = np.full(around.shape_zyx, UNKNOWN, np.int64)
        known = around.intersect(whole)
        labels[known.within(around).slices] = _read(self.labels, known)
        return Patch(raw, labels, to_triple(before_zyx))

    @property
    def bytes_in_memory(self) -> int:
        """How much memory it takes to hold it."""
        return prod(self.shape_zyx) * (self.raw.dtype.itemsize * self.channels + self.labels.dtype.itemsize)

    def held(self) -> LabelledBox:
        """Give the same box in memory."""
        whole = Box.of_shape(self.shape_zyx)
        raw = _read(self.raw, whole).reshape(self.channels, *self.shape_zyx)
        return replace(self, raw=raw, labels=_read(self.labels, whole))


def open_boxes(rows: Sequence[SplitRow], role: str, memory_gb: float) -> list[LabelledBox]:
    """Open all boxes of a role, in the order of the table.

    Parameters
    ----------
    rows
        The split.
    role
        train or validate.
    memory_gb
        The smallest boxes are held in memory as long as they fit into this together (GB).

    Raises
    ------
    DataError
        The boxes differ in voxel size (by more than 5 %) or in their number of channels.
    """
    boxes = [_open(row) for row in rows if row.role == role]
    for box in boxes[1:]:
        ratios = [a / b for a, b in zip(box.voxel_size_zyx_nm, boxes[0].voxel_size_zyx_nm, strict=True)]
        if max(abs(r - 1) for r in ratios) > SAME_VOXEL_SIZE or box.channels != boxes[0].channels:
            raise DataError(
                f"volumes {boxes[0].name} and {box.name} cannot be learnt together",
                expected=f"{boxes[0].channels} channels, {boxes[0].voxel_size_zyx_nm} nm",
                got=f"{box.channels} channels, {box.voxel_size_zyx_nm} nm",
                hint="bring them to one voxel size first",
            )
    room = memory_gb * 1e9
    for index in sorted(range(len(boxes)), key=lambda i: boxes[i].bytes_in_memory):
        room -= boxes[index].bytes_in_memory
        if room < 0:
            log.info("%s: volumes of this size and above are read patch by patch (memory_gb %g)", role, memory_gb)
            break
        boxes[index] = boxes[index].held()
    return boxes


def _open(row: SplitRow) -> LabelledBox:
    raw, labels = open_raw(row.volume_json), open_labels(row.volume_json)
    if raw.shape_zyx != labels.shape_zyx:
        raise DataError(f"raw and labels of {row.volume} differ in shape", expected=raw.shape_zyx, got=labels.shape_zyx)
    raw, labels = raw.crop(row.box), labels.crop(row.box)
    return LabelledBox(row.volume, raw, labels, raw.channels, raw.shape_zyx, raw.voxel_size_zyx_nm, row.weight)


def _read(source: Volume | np.ndarray, box: Box) -> np.ndarray:
    return source[(..., *box.slices)] if isinstance(source, np.ndarray) else source.read(box)
