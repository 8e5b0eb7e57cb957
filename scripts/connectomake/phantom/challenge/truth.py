"""What a crop of a phantom shows: cells, mitochondria and vesicles one by one, and the classes that make them up.

Every voxel belongs to one class that cannot be divided further; all others are unions of these, as in the challenge's
table of classes. What follows from the neighbours of a voxel is read beyond the crop's faces too, so that no membrane
runs along them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from connectomake.config.settings.data_cellmap import GENERATED_CLASSES
from connectomake.geometry import Box, to_triple
from connectomake.phantom.organelles import MITOCHONDRION, VESICLE

UNKNOWN = 255
MEMBRANE_NM = 12.0  # depth of a membrane on one side of it, but one voxel at least
IDS = {name: number for number, name in enumerate(GENERATED_CLASSES, 1)}
PARTS = {
    "cell": ("pm", "cyto", "mito_mem", "mito_lum", "ves_mem", "ves_lum"),
    "mito": ("mito_mem", "mito_lum"),
    "ves": ("ves_mem", "ves_lum"),
}
_ORGANELLES = {"mito": MITOCHONDRION, "ves": VESICLE}


@dataclass(frozen=True)
class Truth:
    """The classes of a crop.

    Parameters
    ----------
    part
        (Z, Y, X) uint8, the id (`IDS`) of the class without parts that a voxel belongs to; 255 = unknown.
    objects
        Class told object by object -> (Z, Y, X) ids; 0 where there is none and where it is unknown. No object is
        called 255.
    """

    part: np.ndarray
    objects: dict[str, np.ndarray]

    def draw(self, name: str) -> np.ndarray:
        """Draw a class as it is stored: ids of objects (uint16 or more), or 1 (uint8); 0 = absent, 255 = unknown."""
        values = self.objects[name].copy() if name in self.objects else (self.part == IDS[name]).astype(np.uint8)
        values[self.part == UNKNOWN] = UNKNOWN
        return values

    def halve(self) -> Truth:
        """Return next coarser level: of each 2 x 2 x 2 voxels what most of them are; a last odd plane is left out."""
        arrays = (self.part, *self.objects.values())
        sides = tuple(int(array.max()) + 1 for array in arrays)
        codes = np.unravel_index(take_commonest(np.ravel_multi_index(arrays, sides), 2), sides)
        part, *objects = (found.astype(array.dtype) for found, array in zip(codes, arrays, strict=True))
        return Truth(part, dict(zip(self.objects, objects, strict=True)))


def find_truth(
    labels: np.ndarray,
    organelles: np.ndarray,
    box: Box,
    label_scale: float,
    voxel_size_zyx_nm: Sequence[float],
    unknown_share: float = 0.0,
) -> Truth:
    """Find the classes of a part of a phantom.

    Cells are its neurites. Their membrane lies where another one is near, or a voxel that is no neurite's; that of an
    organelle is its own outermost voxels. Objects are the 6-connected pieces that lie in the crop.

    Parameters
    ----------
    labels, organelles
        (Z, Y, X) of a `Phantom`.
    box
        The crop, in their voxels; its sides are multiples of `label_scale`.
    label_scale
        Side of a voxel of the result over that of theirs: 0.5, or a whole number.
    voxel_size_zyx_nm
        Of the result.
    unknown_share
        Share of the planes, from the far end of z, that is unknown.
    """
    step = max(1, int(label_scale))
    region = _surround(box, labels.shape, step, [size / label_scale for size in voxel_size_zyx_nm])
    cells, kinds = _scale(labels[region.slices], organelles[region.slices], label_scale)
    inner = box.within(region)
    crop = Box(*(to_triple([int(n / label_scale) for n in corner]) for corner in (inner.start_zyx, inner.stop_zyx)))
    part = np.where(_lies_at_border(cells, voxel_size_zyx_nm), IDS["pm"], IDS["cyto"]).astype(np.uint8)
    owners = {"cell": cells}
    for name, kind in _ORGANELLES.items():
        owners[name] = np.where(kinds == kind, cells, 0)
        rim = _lies_at_border(owners[name], voxel_size_zyx_nm)
        is_inside = owners[name] > 0
        part[is_inside] = np.where(rim, IDS[f"{name}_mem"], IDS[f"{name}_lum"])[is_inside]
    part = part[crop.slices].copy()
    known = len(part) - round(unknown_share * len(part))
    part[known:] = UNKNOWN
    return Truth(part, {name: _number_pieces(owner[crop.slices], known) for name, owner in owners.items()})


def take_commonest(values: np.ndarray, factor: int) -> np.ndarray:
    """Give, of each cube of `factor` voxels a side, the value that most of them have, the first of several.

    Parameters
    ----------
    values
        (Z, Y, X) of any type.
    factor
        Voxels a side; planes, rows and columns that fill no cube are left out.
    """
    z, y, x = (n // factor for n in values.shape)
    cubes = values[: z * factor, : y * factor, : x * factor].reshape(z, factor, y, factor, x, factor)
    cubes = cubes.transpose(0, 2, 4, 1, 3, 5).reshape(z, y, x, factor**3)
    votes = np.stack([(cubes == cubes[..., [k]]).sum(axis=-1, dtype=np.uint8) for k in range(factor**3)], axis=-1)
    return np.take_along_axis(cubes, votes.argmax(axis=-1)[..., None], axis=-1)[..., 0]


def _surround(box: Box, shape_zyx: Sequence[int], step: int, voxel_size_zyx_nm: Sequence[float]) -> Box:
    """Add what decides about the crop's membranes, by whole voxels of the labels and as far as the phantom reaches."""
    margins = [step * (ceil(MEMBRANE_NM / size) + 1) for size in voxel_size_zyx_nm]
    sides = list(zip(box.start_zyx, box.stop_zyx, margins, shape_zyx, strict=True))
    start = [a - min(margin, a // step * step) for a, _, margin, _ in sides]
    return Box(to_triple(start), to_triple([b + min(margin, (n - b) // step * step) for _, b, margin, n in sides]))


def _scale(labels: np.ndarray, organelles: np.ndarray, label_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Bring both to the voxels of the labels, together, so that no organelle gets into another neurite."""
    sides = (int(labels.max()) + 1, int(organelles.max()) + 1)
    codes = np.ravel_multi_index((labels, organelles), sides)
    if label_scale < 1:
        times = round(1 / label_scale)
        codes = codes.repeat(times, 0).repeat(times, 1).repeat(times, 2)
    elif label_scale > 1:
        codes = take_commonest(codes, int(label_scale))
    cells, kinds = np.unravel_index(codes, sides)
    return cells.astype(np.uint32), kinds.astype(np.uint8)


def _lies_at_border(ids: np.ndarray, voxel_size_zyx_nm: Sequence[float]) -> np.ndarray:
    """Mark voxels that have another id within the depth of a membrane, or beside them where voxels are larger."""
    import edt

    sides = tuple(min(size, MEMBRANE_NM) for size in voxel_size_zyx_nm)
    away = edt.edt(np.ascontiguousarray(ids), anisotropy=sides, black_border=False, parallel=1)
    return away <= MEMBRANE_NM * 1.001  # rounding


def _number_pieces(owners: np.ndarray, known: int) -> np.ndarray:
    """Assign each 6-connected piece of equal owners a number, in the planes before `known`."""
    import cc3d

    owners = np.ascontiguousarray(owners)
    owners[known:] = 0
    pieces = cc3d.connected_components(owners, connectivity=6)
    pieces[pieces >= UNKNOWN] += 1
    return pieces.astype(np.promote_types(np.uint16, np.min_scalar_type(pieces.max())))
