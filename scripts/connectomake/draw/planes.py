"""The planes of a volume that a figure shows, and nothing but those planes read.

All layers of a figure (raw, affinities, labels, truth) are laid over each other by their offsets in nm; a plane is a
box, one voxel thick, in the voxels of the raw volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, to_triple
from connectomake.volumes.resample import covered_box, lay_on
from connectomake.volumes.volume import Readable

MOST_PIXELS = 1024


@dataclass(frozen=True)
class Plane:
    """A box one voxel thick along `axis`, shown with every `step_zyx`-th voxel."""

    axis: int
    box: Box
    step_zyx: Triple = (1, 1, 1)

    @property
    def index(self) -> int:
        """Where the plane lies along its axis, in voxels."""
        return self.box.start_zyx[self.axis]

    @property
    def kept_axes(self) -> tuple[int, int]:
        """The axes that run down and across the picture: y, x or z, x or z, y."""
        down, across = (a for a in range(3) if a != self.axis)
        return down, across

    @property
    def name(self) -> str:
        """The two axes of the picture, across first: xy, xz or yz."""
        down, across = ("zyx"[a] for a in self.kept_axes)
        return "yz" if self.axis == 2 else f"{across}{down}"

    def size_nm(self, voxel_size_zyx_nm: TripleNm) -> tuple[float, float]:
        """Height and width of the picture."""
        down, across = (self.box.shape_zyx[a] * voxel_size_zyx_nm[a] for a in self.kept_axes)
        return down, across


@dataclass(frozen=True)
class Layer:
    """A volume and where its first voxel lies in the voxels of the raw volume."""

    volume: Readable
    origin_zyx_vx: Triple

    @property
    def box(self) -> Box:
        """The voxels that it covers, in the raw volume's count."""
        return Box.of_shape(self.volume.shape_zyx).shift(self.origin_zyx_vx)


def lay_over(volume: Readable, raw: Readable) -> Layer:
    """Find where a volume lies on the raw volume; voxels of another size are read on those of the raw volume.

    Parameters
    ----------
    volume, raw
        The two.

    Returns
    -------
    Layer
        Of the volume itself or, where its voxels have another size, of the nearest of them at each raw voxel whose
        centre lies in the volume.
    """
    size = np.array(raw.voxel_size_zyx_nm)
    if not np.allclose(volume.voxel_size_zyx_nm, size, rtol=1e-3):
        box = covered_box(volume, raw)
        return Layer(lay_on(volume, raw, box), box.start_zyx)
    away = (np.array(volume.offset_zyx_nm) - np.array(raw.offset_zyx_nm)) / size
    return Layer(volume, to_triple(np.round(away).astype(int).tolist()))


def common_box(layers: Sequence[Layer]) -> Box:
    """Return the box that all layers cover.

    Raises
    ------
    DataError
        When they have no voxel in common.
    """
    box = layers[0].box
    for layer in layers[1:]:
        box = box.intersect(layer.box)
    if box.size == 0:
        raise DataError("the volumes of one figure do not overlap", got=[layer.box for layer in layers])
    return box


def crop_to_middle(box: Box, most_vx: int) -> Box:
    """Cut a box down to at most so many voxels along each axis, around its middle."""
    shape = [min(s, most_vx) for s in box.shape_zyx]
    start = [a + (s - n) // 2 for a, s, n in zip(box.start_zyx, box.shape_zyx, shape, strict=True)]
    return Box(to_triple(start), to_triple([a + n for a, n in zip(start, shape, strict=True)]))


def choose_planes(box: Box, slices: int = 1, field_vx: int = 2048) -> list[Plane]:
    """Choose what to show of a box: evenly spaced xy planes, then the middle xz and yz planes.

    Parameters
    ----------
    box
        What can be shown.
    slices
        How many xy planes.
    field_vx
        At most so many voxels along each axis, around the middle: a plane of a volume of any size can be read.
    """
    box = crop_to_middle(box, field_vx)
    start, shape = box.start_zyx, box.shape_zyx
    slices = min(slices, shape[0])
    at_z = [start[0] + shape[0] * (2 * k + 1) // (2 * slices) for k in range(slices)]
    places = [(0, z) for z in at_z] + [(axis, start[axis] + shape[axis] // 2) for axis in (1, 2)]
    return [plane_at(box, axis, index) for axis, index in places]


def read_plane(layer: Layer, plane: Plane, *, ids: bool = False, channels: slice | None = None) -> np.ndarray:
    """Read one plane of a layer, shrunk by the plane's step.

    Parameters
    ----------
    layer
        What to read.
    plane
        Which voxels; they must lie in the layer.
    ids
        Take every step-th voxel, as ids must; otherwise means over steps.
    channels
        Which channels, where the layer has them.

    Returns
    -------
    ndarray
        (H, W) or (C, H, W), of the volume's dtype with ids, else float32.
    """
    box = plane.box.shift([-o for o in layer.origin_zyx_vx])
    values = np.squeeze(layer.volume.read(box, channels), axis=plane.axis - 3)
    down, across = (plane.step_zyx[a] for a in plane.kept_axes)
    if ids:
        return values[..., down // 2 :: down, across // 2 :: across]
    height, width = (n // step for n, step in zip(values.shape[-2:], (down, across), strict=True))
    return values.reshape(*values.shape[:-2], height, down, width, across).mean((-3, -1), dtype=np.float32)


def plane_at(box: Box, axis: int, index: int) -> Plane:
    """Cut the plane at an index out of a box; its sides are whole numbers of steps."""
    start, stop, step = list(box.start_zyx), list(box.stop_zyx), [1, 1, 1]
    for a in range(3):
        step[a] = ceil((stop[a] - start[a]) / MOST_PIXELS)
        stop[a] -= (stop[a] - start[a]) % step[a]
    start[axis], stop[axis], step[axis] = index, index + 1, 1
    return Plane(axis, Box(to_triple(start), to_triple(stop)), to_triple(step))
