"""The map that stands for labels in a generator: how deep a voxel lies in its object."""

from __future__ import annotations

import edt
import numpy as np

from connectomake.config.settings.data import UNKNOWN
from connectomake.geometry import TripleNm


def distance_map(labels: np.ndarray, voxel_size_zyx_nm: TripleNm, distance_nm: float) -> np.ndarray:
    """Measure how deep each voxel lies in its object.

    Where two objects touch, the voxels of both at the border are 0, so that the map tells them apart. The ends of the
    array are no border of the objects they cut.

    Parameters
    ----------
    labels
        (Z, Y, X) integers, 0 = background, -1 = unknown, which counts as outside.
    voxel_size_zyx_nm
        In nm.
    distance_nm
        The depth that becomes 1, in nm.

    Returns
    -------
    ndarray
        (Z, Y, X) float32: -1 outside objects, 0 in the voxels of an object that share a face with another label, and
        further in the distance to the nearest of those (between centres) over `distance_nm`, at most 1.
    """
    labels = np.where(labels == UNKNOWN, 0, labels) if labels.dtype.kind == "i" else labels
    inside = labels != 0
    inner = inside.copy()
    for axis in range(3):
        ahead, behind = [slice(None)] * 3, [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        same = labels[tuple(ahead)] == labels[tuple(behind)]
        inner[tuple(ahead)] &= same
        inner[tuple(behind)] &= same
    # Objects are apart once their borders are taken away, so one transform of all of them is enough.
    depth = edt.edt(inner, anisotropy=voxel_size_zyx_nm, black_border=False, parallel=1)
    depth = np.minimum(depth / np.float32(distance_nm), np.float32(1))
    return np.where(inside, depth, np.float32(-1)).astype(np.float32, copy=False)
