"""Which voxels of a store were predicted at all, for whoever must not judge the others.

A store that covers crops or a mask is 0 everywhere else, which says nothing about what is there. The
attributes of the store tell (`Prediction.region`), and decoding hands that on to the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectomake.config.settings.data import UNKNOWN
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm
from connectomake.volumes.region import Region
from connectomake.volumes.resample import lay_on
from connectomake.volumes.volume import Readable


@dataclass(frozen=True)
class Wanted:
    """The voxels of a store that were predicted: read like a volume of flags, (Z, Y, X) bool."""

    region: Region
    source: str
    has_channels: bool = False
    channels: int = 1
    file_chunks_zyx: Triple | None = None

    @property
    def dtype(self) -> np.dtype:
        """Flags."""
        return np.dtype(bool)

    @property
    def shape_zyx(self) -> Triple:
        """Extent in voxels: that of the store."""
        return self.region.box.shape_zyx

    @property
    def voxel_size_zyx_nm(self) -> TripleNm:
        """Of the store."""
        return self.region.voxel_size_zyx_nm

    @property
    def offset_zyx_nm(self) -> TripleNm:
        """Centre of the store's first voxel."""
        return self.region.offset_zyx_nm

    def read(self, box: Box | None = None, channels: slice | None = None) -> np.ndarray:
        """Return which voxels of a box were predicted."""
        box = Box.of_shape(self.shape_zyx) if box is None else box
        mask = self.region.mask(box.shift(self.region.box.start_zyx))
        return np.ones(box.shape_zyx, bool) if mask is None else mask


@dataclass(frozen=True)
class Known:
    """Truth labels where something was predicted, unknown (-1) elsewhere; of a signed type. See `mark_unknown`."""

    truth: Readable
    wanted: Readable

    @property
    def source(self) -> str:
        """That of the truth."""
        return self.truth.source

    @property
    def dtype(self) -> np.dtype:
        """The smallest signed type that holds the truth's; int64 for uint64."""
        wide = np.result_type(self.truth.dtype, np.int8)
        return wide if wide.kind == "i" else np.dtype(np.int64)

    @property
    def has_channels(self) -> bool:
        """As the truth."""
        return self.truth.has_channels

    @property
    def channels(self) -> int:
        """As the truth."""
        return self.truth.channels

    @property
    def shape_zyx(self) -> Triple:
        """As the truth."""
        return self.truth.shape_zyx

    @property
    def voxel_size_zyx_nm(self) -> TripleNm:
        """As the truth."""
        return self.truth.voxel_size_zyx_nm

    @property
    def offset_zyx_nm(self) -> TripleNm:
        """As the truth."""
        return self.truth.offset_zyx_nm

    @property
    def file_chunks_zyx(self) -> Triple | None:
        """As the truth."""
        return self.truth.file_chunks_zyx

    def read(self, box: Box | None = None, channels: slice | None = None) -> np.ndarray:
        """Read a part; see `Volume.read`.

        Raises
        ------
        DataError
            A label is 2**63 or more, which leaves no room for unknown.
        """
        labels = self.truth.read(box, channels)
        if labels.dtype == np.uint64 and labels.size and labels.max() > np.iinfo(np.int64).max:
            raise DataError(
                f"{self.source} has labels that leave no room for unknown, where nothing was predicted",
                expected="labels below 2**63",
                got=int(labels.max()),
                hint="if the largest uint64 marks background, make it 0",
            )
        labels = labels.astype(self.dtype)
        labels[~self.wanted.read(box)] = UNKNOWN
        return labels


def find_wanted(region: Region | None, store: Readable) -> Wanted | None:
    """Find out which voxels of a prediction, or of labels made of one, were predicted.

    Parameters
    ----------
    region
        What the attributes of the store say was predicted; None = all.
    store
        The store itself.

    Returns
    -------
    Wanted or None
        On the store's voxels; None where all were.
    """
    return None if region is None or region.is_box else Wanted(region.place_on(store), store.source)


def mark_unknown(truth: Readable, wanted: Wanted | None) -> Readable:
    """Return truth labels that are unknown where nothing was predicted; the same where everything was."""
    return truth if wanted is None else Known(truth, lay_on(wanted, truth))
