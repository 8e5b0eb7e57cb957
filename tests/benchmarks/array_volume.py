"""An array in memory that measuring and drawing take for a volume."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from connectomake.geometry import Box, Triple, TripleNm


@dataclass
class ArrayVolume:
    """As much of a Volume as measuring and drawing read, in memory; remembers what was read."""

    array: np.ndarray
    voxel_size_zyx_nm: TripleNm = (20.0, 9.0, 9.0)
    offset_zyx_nm: TripleNm = (0.0, 0.0, 0.0)
    source: str = "array"
    file_chunks_zyx: Triple | None = None
    boxes: list[Box] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)

    @property
    def shape_zyx(self) -> Triple:
        return self.array.shape[-3:]

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def has_channels(self) -> bool:
        return self.array.ndim == 4

    @property
    def channels(self) -> int:
        return self.array.shape[0] if self.has_channels else 1

    def read(self, box: Box | None = None, channels: slice | None = None) -> np.ndarray:
        box = box or Box.of_shape(self.shape_zyx)
        assert Box.of_shape(self.shape_zyx).contains(box)
        array = self.array if channels is None else self.array[channels]
        found = np.ascontiguousarray(array[(..., *box.slices)])
        self.boxes.append(box)
        self.reads.append(found.size)
        return found
