"""A finished prediction, opened with all that is needed to judge it: its raw data, its blocks and its region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import BlockGrid, Box, Triple, to_triple
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.region import Region
from connectomake.volumes.scale import open_working
from connectomake.volumes.volume import Readable, Volume, open_volume

RANGES = {"tanh": (-1.0, 1.0)}
RANGE = (0.0, 1.0)  # of all other activations, but for identity in floats, which has none


@dataclass(frozen=True)
class Finished:
    """A prediction and its raw data. Boxes are in voxels of the store; `origin_zyx` leads to those of the volume.

    Parameters
    ----------
    name
        Of the volume.
    volume
        The finest level of the store: (C, Z, Y, X) uint8 or float16.
    raw
        The volume that was predicted, at the same voxel size; larger where a part was predicted.
    region
        What was wanted of it.
    described
        What the store says that it holds.
    """

    name: str
    volume: Volume
    raw: Readable
    region: Region
    described: Prediction

    @property
    def names(self) -> list[str]:
        """What the channels are called."""
        return list(self.described.channels)

    @property
    def offsets_zyx(self) -> list[Triple | None]:
        """Where the edges of affinities lead; None for other channels."""
        return list(self.described.offsets_zyx_vx)

    @property
    def origin_zyx(self) -> Triple:
        """Where the store's first voxel lies in the volume."""
        return self.region.box.start_zyx

    @property
    def activations(self) -> list[str]:
        """What was applied to each channel."""
        return list(self.described.activations)

    @cached_property
    def blocks(self) -> BlockGrid:
        """The blocks that were computed and written one by one."""
        return BlockGrid(self.volume.shape_zyx, self.described.block_zyx_vx or self.volume.shape_zyx)

    @property
    def is_bytes(self) -> bool:
        """Whether values are stored in 255 steps; else as they are."""
        return self.volume.dtype == np.uint8

    @property
    def chunk_zyx(self) -> Triple:
        """The part of the finest level that is decoded as one."""
        return self.volume.file_chunks_zyx or self.volume.shape_zyx

    def value_range(self, channel: int) -> tuple[float, float] | None:
        """Return the smallest and the largest value that a channel can have; None where there is no bound."""
        activation = self.activations[channel]
        if activation == "identity" and not self.is_bytes:
            return None
        return RANGES.get(activation, RANGE)

    def to_values(self, channel: int, stored: np.ndarray) -> np.ndarray:
        """Turn stored values (or means of them) of a channel into the quantity that they stand for, float64."""
        if not self.is_bytes:
            return stored.astype(np.float64)
        low, high = self.value_range(channel) or RANGE
        return low + stored / 255 * (high - low)

    def wanted(self, box: Box) -> np.ndarray | None:
        """Return which voxels of a box were to be predicted, (Z, Y, X) bool; None where all were."""
        return self.region.mask(box.shift(self.origin_zyx))

    def is_wanted(self, box: Box) -> bool:
        """Return whether any voxel of a box was to be predicted."""
        return self.region.touches(box.shift(self.origin_zyx))

    def find_crossing(self) -> Triple:
        """Return the voxel at which faces of blocks cross that is nearest to the middle of what was predicted.

        Of crops, the largest is looked at; under a mask, the block nearest to the middle that it leaves. Along an axis
        without a face there, it is the middle.
        """
        box = Box.of_shape(self.volume.shape_zyx)
        area = max(self.region.crops, key=lambda crop: crop.size, default=None)
        if area is not None:
            area = area.within(self.region.box).intersect(box)
        elif self.region.is_box:
            area = box
        else:
            wanted = (block for block in self.blocks if self.is_wanted(block))
            area = min(wanted, key=lambda block: _distance(block, box), default=box).grow((1, 1, 1)).intersect(box)
        spans = zip(area.start_zyx, area.stop_zyx, self.blocks.block_zyx, strict=True)
        return to_triple([_middle_face(*span) for span in spans])

    def read_raw(self, box: Box) -> np.ndarray:
        """Read the raw voxels of a box of the store, ([C,] Z, Y, X)."""
        return self.raw.read(box.shift(self.origin_zyx))


def open_finished(volume_json: Path, store: Path) -> Finished:
    """Open a finished prediction.

    Parameters
    ----------
    volume_json
        The volume, as ingest describes it.
    store
        The folder of the prediction's store.

    Raises
    ------
    MissingDataError
        The store is not finished, or a file is not there.
    DataError
        The store was not written by Connectomake, or does not lie in the volume.
    """
    described, ingested, volume = Prediction.read(store), IngestedVolume.read(volume_json), open_volume(store)
    region = (described.region or Region(Box.of_shape(volume.shape_zyx))).place_on(volume)
    raw = _open_raw(ingested, described)
    if not Box.of_shape(raw.shape_zyx).contains(region.box) or region.box.shape_zyx != volume.shape_zyx:
        raise DataError(
            f"{store} does not lie in the volume {volume_json}",
            expected=f"a box of {volume.shape_zyx} voxels in {raw.shape_zyx} (z, y, x)",
            got=f"{list(region.box.start_zyx)} to {list(region.box.stop_zyx)}",
            hint="was the volume ingested anew, with another box? Then delete the prediction and run it again",
        )
    return Finished(ingested.name, volume, raw, region, described)


def _open_raw(volume: IngestedVolume, described: Prediction) -> Readable:
    """Open the raw data at the voxel size that was predicted."""
    if described.level is None:
        return volume.open_raw()
    voxel_size_zyx_nm = described.voxel_size_zyx_nm if described.level.is_resampled else None
    return open_working(volume, described.level.name, voxel_size_zyx_nm)


def _middle_face(start: int, stop: int, side: int) -> int:
    """Return the multiple of a block's side between start and stop that is nearest to the middle, else the middle."""
    faces = range((start // side + 1) * side, stop, side)
    return min(faces, key=lambda face: abs(2 * face - start - stop), default=(start + stop) // 2)


def _distance(box: Box, other: Box) -> int:
    """Return how far the middles of two boxes are apart, as a sum over axes of twice the voxels."""
    corners = zip(box.start_zyx, box.stop_zyx, other.start_zyx, other.stop_zyx, strict=True)
    return sum(abs(a + b - c - d) for a, b, c, d in corners)


def cut(box: Box, side_zyx: Sequence[int]) -> Iterator[Box]:
    """Cut a box into pieces of at most this side, in scan order but for the middle one, which comes first.

    Parameters
    ----------
    box
        What to cut.
    side_zyx
        In voxels.
    """
    pieces = BlockGrid(box.shape_zyx, to_triple(side_zyx))
    middle = pieces[len(pieces) // 2]
    yield middle.shift(box.start_zyx)
    yield from (piece.shift(box.start_zyx) for piece in pieces if piece != middle)


def choose_some(count: int, most: int) -> list[int]:
    """Choose at most so many of the numbers 0..count - 1: always the same ones, scattered, ascending."""
    if count <= most:
        return list(range(count))
    return sorted(np.random.default_rng(0).permutation(count)[:most].tolist())
