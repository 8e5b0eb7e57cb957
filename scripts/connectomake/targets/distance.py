"""Distance to the border of objects: a map whose valleys lie where objects meet.

d is the distance from a voxel to the nearest one of another label (background is one too), between centres, in nm; in
2d within the section. The kinds:

- ``instance``: d / the largest d of the object, 0 to 1; -1 outside (NucMM, Lin et al. 2021).
- ``signed``: tanh(d / scale_inside_nm) in objects, -tanh(d / scale_outside_nm) outside.
- ``semantic``: the same, of all objects taken as one.
- ``skeleton``: (d / (d + s)) ** skeleton_falloff with s the distance to the object's skeleton, -1 outside; see
  `skeleton_distance`.

Distances of 3 scales and more count as 3 (tanh 3 = 0.995; a stored map has steps of 0.008), so that labels farther away
need not be known. A voxel is known where d is: where the nearest other label is nearer than anything unknown (-1, or
beyond the array). Hence the border of a patch is no border of the objects it cuts, whether or not there is context;
with too little of it, voxels deep inside are not learnt. The largest d of an object is that of the part which is seen:
``instance`` and ``skeleton`` are those of the whole volume only for objects that lie in patch and context.
It takes 0.1 s for a patch of 64^3 with its context and 0.4 s for one of 128^3 (``skeleton`` 20 times as long).
Read by the decoder seeded_watershed, which cuts at 0 (the border in every kind).
"""

from __future__ import annotations

import edt
import numpy as np

from connectomake.config.settings.data import UNKNOWN
from connectomake.geometry import Box, Triple, TripleNm
from connectomake.targets.kinds.distance import DistanceConfig
from connectomake.targets.skeleton_distance import distance_to_skeletons
from connectomake.targets.target import context_of_reach, number_objects

REACH = 3.0
"""Scales after which a distance counts as far."""

_SURELY = 1 - 1e-5  # two sums of the same squares may differ in their last digit


class DistanceTarget:
    """The distance to the border of objects.

    Parameters
    ----------
    cfg
        Which kind, in which planes, and the scales.
    voxel_size_zyx_nm
        Of the labels, in nm.
    """

    def __init__(self, cfg: DistanceConfig, voxel_size_zyx_nm: TripleNm) -> None:
        self.channels = cfg.channels
        self.cfg = cfg
        self.voxel_size_zyx_nm = voxel_size_zyx_nm

    @property
    def context(self) -> tuple[Triple, Triple]:
        """What 3 scales cover, at most 96 voxels."""
        scales = self.cfg.scale_inside_nm, self.cfg.scale_outside_nm
        reach_nm = REACH * (max(scales) if self.cfg.kind in ("signed", "semantic") else scales[0])
        return context_of_reach(reach_nm, self.voxel_size_zyx_nm, self.cfg.planes)

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Compute the distance inside a patch; see `Target.make`."""
        if self.cfg.kind == "semantic":
            labels = np.minimum(labels, 1)
        is_2d = self.cfg.planes == "2d"
        depth, sure = border_distances(labels, self.voxel_size_zyx_nm, is_2d)
        if self.cfg.kind in ("signed", "semantic"):
            values, mask = self._squash(labels[patch.slices], depth[patch.slices], sure[patch.slices])
        else:
            inside = labels > 0
            if self.cfg.kind == "instance":
                share = depth / _deepest(labels, depth, is_2d)
            else:
                to_skeleton = distance_to_skeletons(labels, self.voxel_size_zyx_nm, is_2d)
                share = (depth / (depth + to_skeleton)) ** np.float32(self.cfg.skeleton_falloff)
            values = np.where(inside, share, np.float32(-1))[patch.slices]
            mask = (sure | (labels == 0))[patch.slices]
        mask &= labels[patch.slices] != UNKNOWN
        return np.where(mask, values, np.float32(0))[None], mask[None]

    def _squash(self, labels: np.ndarray, depth: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the signed values, and where they are known: there too where all that is unknown is far."""
        inside = labels > 0
        scales = np.where(inside, np.float32(self.cfg.scale_inside_nm), np.float32(self.cfg.scale_outside_nm))
        share = depth / scales
        far = share >= REACH
        values = np.tanh(np.minimum(share, np.float32(REACH), out=share), out=share)
        return np.where(inside, values, -values), sure | far


def border_distances(
    labels: np.ndarray, voxel_size_zyx_nm: TripleNm, is_2d: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Measure the distance of each voxel to the nearest one that has another label, is unknown, or is no more.

    Parameters
    ----------
    labels
        (Z, Y, X) int64, 0 = background, -1 = unknown.
    voxel_size_zyx_nm
        In nm.
    is_2d
        Measure within each section.

    Returns
    -------
    distance : ndarray
        (Z, Y, X) float32, in nm, between centres of voxels; at least the size of a voxel.
    sure : ndarray
        (Z, Y, X) bool: a voxel of another label is nearer than anything unknown.
    """
    distance = _transform(
        (np.ascontiguousarray(labels, np.int64) + 2).view(np.uint64), voxel_size_zyx_nm, is_2d
    )  # 0 is no label
    known = labels != UNKNOWN
    if known.all():
        to_unknown = _distance_to_end(labels.shape, voxel_size_zyx_nm, is_2d)
    else:
        to_unknown = _transform(known, voxel_size_zyx_nm, is_2d)
    return distance, distance < to_unknown * np.float32(_SURELY)


def _transform(ids: np.ndarray, voxel_size_zyx_nm: TripleNm, is_2d: bool) -> np.ndarray:
    """Return the distance to the nearest voxel of another id, or beyond the array; (Z, Y, X) float32, in nm."""
    if not is_2d:
        return edt.edt(ids, anisotropy=voxel_size_zyx_nm, black_border=True, parallel=1)
    sections = [edt.edt(section, anisotropy=voxel_size_zyx_nm[1:], black_border=True, parallel=1) for section in ids]
    return np.stack(sections)


def _distance_to_end(shape_zyx: tuple[int, ...], voxel_size_zyx_nm: TripleNm, is_2d: bool) -> np.ndarray:
    """Return the distance of each voxel to the nearest one beyond the array, in nm; it broadcasts to (Z, Y, X)."""
    of_axis = [
        np.float32(size) * np.minimum(np.arange(n) + 1, n - np.arange(n)).astype(np.float32)
        for n, size in zip(shape_zyx, voxel_size_zyx_nm, strict=True)
    ]
    in_section = np.minimum(of_axis[1][:, None], of_axis[2])
    return in_section[None] if is_2d else np.minimum(of_axis[0][:, None, None], in_section)


def _deepest(labels: np.ndarray, depth: np.ndarray, is_2d: bool) -> np.ndarray:
    """Assign each voxel the largest depth of its object (2d: in its section); (Z, Y, X) float32, in nm."""
    ids, count = number_objects(labels, is_2d)
    largest = np.zeros(count + 1, np.float32)
    np.maximum.at(largest, ids.ravel(), depth.ravel())
    return largest[ids]
