"""All classes of a crop in one volume: each voxel holds a number for what is known about it, class by class.

A voxel's number is its code; a code stands for one state per class: present, absent or unknown. Crops of 48 classes
have tens to thousands of codes, so that one array of 2 bytes says what 48 arrays say.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from connectomake.config.settings.data import UNKNOWN
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple
from connectomake.ingest.crops.ground_truth import ClassLabels, GroundTruth
from connectomake.ingest.crops.write_blocks import write_blocks
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.ingested_crop import CodeTable
from connectomake.volumes.resample import covered_box, lay_on
from connectomake.volumes.volume import Lattice, open_volume

# While codes are made: in this order, the state of a union is the largest of its parts.
_ABSENT, _UNKNOWN, _PRESENT = 0, 1, 2
_STATES = np.array([0, UNKNOWN, 1], np.int8)
_LETTERS = {"0": 0, "1": 1, "u": UNKNOWN}


@dataclass(frozen=True)
class Codes:
    """What the codes of a crop mean.

    Parameters
    ----------
    classes
        Names of the classes.
    states
        (K, classes) int8: 1 present, 0 absent, -1 unknown or not annotated; row k is code k + 1.
    """

    classes: tuple[str, ...]
    states: np.ndarray

    def as_table(self) -> CodeTable:
        """Return what volume.json holds: one letter per class for each code, 1, 0 or u."""
        letters = {value: letter for letter, value in _LETTERS.items()}
        rows = ("".join(letters[int(state)] for state in row) for row in self.states)
        return CodeTable(self.classes, tuple(rows))


def read_codes(volume: IngestedVolume) -> Codes | None:
    """Read what the codes of an ingested crop mean; None where it has no labels.

    Raises
    ------
    DataError
        The volume is no crop.
    """
    if volume.crop is None:
        hint = "classes by name are those of the crops of a data config with cellmap"
        raise DataError(f"{volume.path} is no crop of the CellMap challenge", hint=hint)
    if volume.codes is None:
        return None
    rows = [[_LETTERS[letter] for letter in row] for row in volume.codes.states]
    return Codes(volume.codes.classes, np.array(rows, np.int8).reshape(-1, len(volume.codes.classes)))


def write_codes(
    truth: GroundTruth, grid: Lattice, store: Path, threads: int = 1
) -> tuple[Codes, dict[str, dict[str, int]], np.dtype]:
    """Write the codes of a crop on the voxels of its volume, block by block; nothing but the content numbers them.

    Each array is read once. Each block numbers the combinations that it meets (a partition that every class refines);
    when all are known, they are sorted and the blocks renumbered.

    Parameters
    ----------
    truth
        The labels.
    grid
        The volume's voxels. A voxel takes of each array the voxel that holds its centre; unknown where none does.
    store
        The store to write.
    threads
        Blocks at a time; memory is about 400 MiB for each.

    Returns
    -------
    codes : Codes
        What they mean.
    voxels : dict
        Class -> voxels that are present, absent, unknown.
    dtype : dtype
        uint16, or uint32 where there are more codes than that holds.

    Raises
    ------
    DataError
        A chunk is damaged, or the disk refuses.
    """
    draft = store.with_name(f"{store.stem}.draft.zarr")
    reach = {name: covered_box(labels.volume, grid) for name, labels in truth.arrays.items()}
    met: dict[Triple, tuple[np.ndarray, np.ndarray]] = {}

    def combine(box: Box) -> np.ndarray:
        codes, states = _combine(list(truth.arrays.values()), reach, grid, box)
        met[box.start_zyx] = _unite(truth, states), np.bincount(codes.ravel(), minlength=len(states))
        return codes

    write_blocks(draft, grid, np.uint32, combine, threads=threads, is_temporary=True)
    starts = sorted(met)
    states, number = np.unique(np.concatenate([met[s][0] for s in starts]), axis=0, return_inverse=True)
    counts = np.zeros(len(states), np.int64)
    np.add.at(counts, number, np.concatenate([met[s][1] for s in starts]))
    dtype = np.dtype(np.uint16 if len(states) < 2**16 else np.uint32)
    bounds = np.cumsum([len(met[s][0]) for s in starts])[:-1]
    renumbered = dict(zip(starts, np.split((number + 1).astype(dtype), bounds), strict=True))
    drafted = open_volume(draft)
    write_blocks(store, grid, dtype, lambda box: renumbered[box.start_zyx][drafted.read(box)], threads=threads)
    shutil.rmtree(draft)
    codes = Codes(tuple(truth.parts), states)
    return codes, count_voxels(codes, counts), dtype


def count_voxels(codes: Codes, counts: np.ndarray) -> dict[str, dict[str, int]]:
    """Sum the voxels of each code by what they say about each class.

    Parameters
    ----------
    codes
        The codes.
    counts
        (K,) voxels of each.
    """
    names = {"present": 1, "absent": 0, "unknown": UNKNOWN}
    return {
        label: {name: int(counts[column == state].sum()) for name, state in names.items()}
        for label, column in zip(codes.classes, codes.states.T, strict=True)
    }


def _combine(
    arrays: Sequence[ClassLabels], reach: dict[str, Box], grid: Lattice, box: Box
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number from 0 of each voxel's combination of states, (Z, Y, X) uint32, and these, (K, arrays)."""
    codes = np.zeros(box.shape_zyx, np.uint32)
    states = np.zeros((1, len(arrays)), np.uint8)
    for column, labels in enumerate(arrays):
        values = lay_on(labels.volume, grid, box).read()
        inside = reach[labels.name].intersect(box).within(box)
        children = np.full(3 * len(states), -1, np.int64)
        _refine(codes, *_prepare(values, labels), np.array([inside.start_zyx, inside.stop_zyx]), children)
        used = np.flatnonzero(children >= 0)
        order = used[np.argsort(children[used])]
        states = states[order // 3]
        states[:, column] = order % 3
    return codes, states


def _prepare(values: np.ndarray, labels: ClassLabels) -> tuple[np.ndarray, Any, Any, bool]:
    """Return what the kernel takes: values, absent and unknown in their own type, and whether any value is unknown."""
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    limits = np.iinfo(values.dtype)
    # A value that the type cannot hold is in no voxel.
    known = labels.unknown is not None and limits.min <= labels.unknown <= limits.max
    absent = labels.absent if limits.min <= labels.absent <= limits.max else 0
    kind = values.dtype.type
    return values, kind(absent), kind(labels.unknown if known else 0), known


@njit(cache=True, nogil=True)
def _refine(codes, values, absent, unknown, has_unknown, inside, children):  # type: ignore[no-untyped-def]
    """Split each code by the state of one more class, in place; children[3 k + state] is the new number."""
    count = 0
    for z in range(codes.shape[0]):
        for y in range(codes.shape[1]):
            in_rows = inside[0, 0] <= z < inside[1, 0] and inside[0, 1] <= y < inside[1, 1]
            for x in range(codes.shape[2]):
                state = _UNKNOWN
                if in_rows and inside[0, 2] <= x < inside[1, 2]:
                    value = values[z, y, x]
                    if not (has_unknown and value == unknown):
                        state = _ABSENT if value == absent else _PRESENT
                key = 3 * np.int64(codes[z, y, x]) + state
                if children[key] < 0:
                    children[key] = count
                    count += 1
                codes[z, y, x] = children[key]


def _unite(truth: GroundTruth, states: np.ndarray) -> np.ndarray:
    """Turn the states of arrays into those of the classes asked for, (K, classes) int8."""
    column = {name: i for i, name in enumerate(truth.arrays)}
    united = np.full((len(states), len(truth.parts)), _UNKNOWN, np.uint8)
    for i, parts in enumerate(truth.parts.values()):
        if parts:
            united[:, i] = states[:, [column[part] for part in parts]].max(1)
    return _STATES[united]
