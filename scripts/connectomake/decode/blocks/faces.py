"""Labels of one block, with all that is needed to join them to those of its neighbours.

Components of affinities (`label_block`) are joined exactly, by the edges across faces; no block looks at a voxel of
another one. An edge across a face is stored on one side of it: at the near voxel (source convention) or at the far one
(destination). On the side that stores it the block knows which voxels it leads from. On the other side every voxel of
the face gets an id, of its own if need be; stitching drops those that no edge reached.

Other decoders (`keep_core`) see a block in its surroundings. The two blocks at a face then both have labels for the
planes on both sides of it, and objects are joined where these agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connectomake.decode.components.components import find_components
from connectomake.decode.components.small_objects import count_contacts
from connectomake.decode.thresholds import check_affinities, strong
from connectomake.errors import DataError
from connectomake.files import replacing
from connectomake.geometry import Box

Sides = tuple[bool, bool, bool]
_PLANES = ("low", "high", "before", "beyond")


@dataclass(frozen=True)
class BlockLabels:
    """The components of a block, ids 1..n in scan order.

    Parameters
    ----------
    labels
        (Z, Y, X) uint32.
    sizes_vx
        (n + 1,) int64, entry 0 is 0.
    first_voxel
        (n + 1,) int64, flat index of each component's first voxel in the block.
    low, high
        For z, y, x: the ids on the first and on the last plane.
    crossing
        For z, y, x: bool, where an edge crosses the face that this block stores the edges of (`high` in the source
        convention, `low` in the destination convention); of components alone.
    before, beyond
        For z, y, x: the ids on the plane before the first one and on that behind the last one, as seen from this
        block; of other decoders alone.
    contacts
        (M, 3) int64: two ids and the number of voxel faces that they share, where one of the two may be small.
    """

    labels: NDArray[np.uint32]
    sizes_vx: NDArray[np.int64]
    first_voxel: NDArray[np.int64]
    low: tuple[NDArray, ...]
    high: tuple[NDArray, ...]
    contacts: NDArray[np.int64]
    crossing: tuple[NDArray[np.bool_], ...] = ()
    before: tuple[NDArray, ...] = ()
    beyond: tuple[NDArray, ...] = ()


def label_block(
    affinities: NDArray,
    threshold: float,
    *,
    edge_offset: int = 0,
    open_low: Sides = (False, False, False),
    open_high: Sides = (False, False, False),
    small_vx: int = 0,
    threads: int = 1,
) -> BlockLabels:
    """Label the components of a block.

    Parameters
    ----------
    affinities, threshold, edge_offset, threads
        As in `affinity_cc3d`, of the block alone.
    open_low, open_high
        For z, y, x: whether another block lies before the first plane, and behind the last one.
    small_vx
        Contacts are counted of components with fewer voxels than this; 0 counts none.

    Raises
    ------
    DataError
        As `affinity_cc3d`.
    """
    check_affinities(affinities, edge_offset)
    known_low = edge_offset == 1
    crossing = tuple(
        _cross(affinities[axis], axis, known_low, threshold, (open_low if known_low else open_high)[axis])
        for axis in range(3)
    )
    reached = tuple(np.full(crossing[axis].shape, (open_high if known_low else open_low)[axis]) for axis in range(3))
    low, high = (crossing, reached) if known_low else (reached, crossing)
    touched = _pack_faces(affinities.shape[1:], low, high)
    components = find_components(affinities, threshold, edge_offset, threads, touched)
    labels = np.zeros(components.shape_zyx, np.uint32)
    components.paint(np.arange(components.count + 1, dtype=np.uint32), labels)
    sizes, first = components.sizes_vx(), components.first_voxels()
    return BlockLabels(labels, sizes, first, *_faces(labels), _contacts(labels, sizes, small_vx), crossing=crossing)


def keep_core(labels: NDArray[np.unsignedinteger], core: Box, *, small_vx: int = 0) -> BlockLabels:
    """Cut a block out of labels that were made of it and its surroundings.

    Parameters
    ----------
    labels
        (Z, Y, X) objects, 0 = background.
    core
        The block, in voxels of `labels`.
    small_vx
        As in `label_block`.

    Returns
    -------
    BlockLabels
        Objects in the block are 1..n in scan order; on planes outside of it, those that do not reach it are 0.
    """
    inside, first_of_old = np.unique(labels[core.slices], return_index=True)
    inside, first_of_old = inside[inside > 0], first_of_old[inside > 0]
    order = np.argsort(first_of_old)
    new_id = np.zeros(int(labels.max(initial=0)) + 1, np.uint32)
    new_id[inside[order]] = np.arange(1, len(order) + 1)
    numbered = new_id[labels[core.slices]]
    sizes = np.bincount(numbered.ravel(), minlength=len(order) + 1)
    sizes[0] = 0
    return BlockLabels(
        numbered,
        sizes,
        np.concatenate([[0], first_of_old[order]]),
        *_faces(numbered),
        _contacts(numbered, sizes, small_vx),
        before=tuple(new_id[_plane(labels, core, axis, core.start_zyx[axis] - 1)] for axis in range(3)),
        beyond=tuple(new_id[_plane(labels, core, axis, core.stop_zyx[axis])] for axis in range(3)),
    )


def save_faces(path: Path, block: BlockLabels) -> None:
    """Write all but the labels themselves, atomically, as npz."""
    planes = {f"{side}_{a}": plane for side in _PLANES for a, plane in enumerate(getattr(block, side))}
    crossing = {f"crossing_{axis}": np.packbits(plane) for axis, plane in enumerate(block.crossing)}
    rest = {name: getattr(block, name) for name in ("sizes_vx", "first_voxel", "contacts")}
    with replacing(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **planes, **crossing, **rest)


class Faces:
    """What `save_faces` wrote, read on demand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = np.load(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error})", hint="run label_blocks again") from error

    def __enter__(self) -> Faces:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getitem__(self, name: str) -> NDArray:
        return self._file[name]

    def crossing(self, axis: int) -> NDArray[np.bool_]:
        """Return where edges cross the face that the block stores the edges of."""
        plane = self[f"low_{axis}"]
        return np.unpackbits(self[f"crossing_{axis}"], count=plane.size).astype(bool).reshape(plane.shape)


def _faces(labels: NDArray) -> tuple[tuple[NDArray, ...], tuple[NDArray, ...]]:
    """Return the first and the last plane along z, y and x."""
    return tuple(np.take(labels, 0, a) for a in range(3)), tuple(np.take(labels, -1, a) for a in range(3))


def _plane(labels: NDArray, core: Box, axis: int, index: int) -> NDArray:
    """Return a plane of labels as large as a face of the core; zeros where there is none."""
    inside = 0 <= index < labels.shape[axis]
    plane = labels[tuple(index * inside if a == axis else side for a, side in enumerate(core.slices))]
    return plane if inside else np.zeros_like(plane)


def _contacts(labels: NDArray, sizes_vx: NDArray[np.int64], small_vx: int) -> NDArray[np.int64]:
    return count_contacts(labels, sizes_vx < small_vx, two_small=True) if small_vx else np.empty((0, 3), np.int64)


def _cross(channel: NDArray, axis: int, low: bool, threshold: float, is_open: bool) -> NDArray[np.bool_]:
    """Return which edges of the first or last plane lead out of the block, into another one."""
    plane = np.take(channel, 0 if low else -1, axis)
    return strong(plane, threshold) if is_open else np.zeros(plane.shape, bool)


def _pack_faces(shape_zyx: tuple[int, ...], low: tuple[NDArray, ...], high: tuple[NDArray, ...]) -> NDArray[np.uint64]:
    """Return the bit plane (rows, words) of the voxels that are set on the faces."""
    depth, height, width = shape_zyx
    plane = np.zeros((depth, height, -(-width // 64)), np.uint64)
    plane[0] |= _pack_rows(low[0])
    plane[-1] |= _pack_rows(high[0])
    plane[:, 0] |= _pack_rows(low[1])
    plane[:, -1] |= _pack_rows(high[1])
    plane[..., 0] |= low[2].astype(np.uint64)
    plane[..., -1] |= high[2].astype(np.uint64) << np.uint64((width - 1) % 64)
    return plane.reshape(depth * height, -1)


def _pack_rows(face: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack rows of bools (N, X) into 64-bit words (N, words), bit i of word w = x 64 w + i."""
    padded = np.zeros((len(face), -(-face.shape[1] // 64) * 64), bool)
    padded[:, : face.shape[1]] = face
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)
