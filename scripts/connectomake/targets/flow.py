"""Flows: unit vectors that lead from each voxel of an object to its middle (Cellpose, Stringer et al. 2021).

An object is a part of a label connected through faces, in space (3d) or in one section (2d). Its middle is the voxel of
it nearest to its centre of mass (all of those that are equally near and touch). The middle is held at heat 1, the
outside at 0, and the inside takes the mean of its face neighbours, again and again. The vector of a voxel is the sum
over its warmer neighbours in the object, corners included, of (their heat - its heat) e / |e|^2, with e the step to
them, scaled to length 1; 0 in the middle and in the background. Where that sum points best at a neighbour that is not
warmer, or of another object, the vector is the step to where it gets warmer fastest: so it is in notches, and on ways
one voxel wide. Steps are counted in voxels, whatever their size, so that the decoder need not know it.

Cellpose takes the gradient of heat that has diffused for a while. Here each round visits the voxels in order of their
distance to the middle, outwards and back. From the first round on, no voxel is warmer than the mean of its neighbours,
hence each has a warmer one and every way uphill ends in the middle, so that the decoder gives the objects back; more
rounds only make vectors smoother.

A vector is known where the whole object is: objects that touch something unknown (-1, or the end of the array) are not
learnt, for nobody knows their middle. In cells of 20 voxels of 8 nm it takes 0.2 s for a patch of 64^3 and 1.1 s for
one of 128^3; within sections half of that. Read by the decoder flow.
"""

from __future__ import annotations

import itertools

import numpy as np
from numba import njit

from connectomake.config.settings.data import UNKNOWN
from connectomake.geometry import Box, Triple, TripleNm
from connectomake.targets.kinds.flow import FlowConfig
from connectomake.targets.target import context_of_reach

ROUNDS = 24
"""In cells of 20 voxels the vectors are then 4 degrees (mean) from those that more rounds lead to."""

CLEARLY = 0.97
"""A vector may point at a neighbour that is not warmer by this share of how it points at a warmer one, and no more."""


class FlowTarget:
    """The flows of objects.

    Parameters
    ----------
    cfg
        In which planes, and how large the objects are.
    voxel_size_zyx_nm
        Of the labels, in nm: of use for the context alone.
    """

    def __init__(self, cfg: FlowConfig, voxel_size_zyx_nm: TripleNm) -> None:
        self.channels = cfg.channels
        self.is_2d = cfg.planes == "2d"
        self._context = context_of_reach(cfg.object_extent_nm, voxel_size_zyx_nm, cfg.planes)

    @property
    def context(self) -> tuple[Triple, Triple]:
        """The extent of objects that are to be seen whole, at most 96 voxels."""
        return self._context

    def make(self, labels: np.ndarray, patch: Box) -> tuple[np.ndarray, np.ndarray]:
        """Compute the flows inside a patch; see `Target.make`."""
        vectors, known = flows_of_labels(labels, patch, self.is_2d)
        return vectors, np.repeat(known[None], len(vectors), axis=0)


def flows_of_labels(labels: np.ndarray, box: Box | None = None, is_2d: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Compute the flows of instance labels.

    Parameters
    ----------
    labels
        (Z, Y, X) integer, 0 = background, -1 = unknown.
    box
        The voxels to compute them for; labels around it are looked at. By default all.
    is_2d
        Take each section by itself.

    Returns
    -------
    vectors : ndarray
        (3, Z, Y, X) float32 z, y, x, or in 2d (2, Z, Y, X) y, x; of length 1 or 0.
    known : ndarray
        (Z, Y, X) bool.
    """
    box = Box.of_shape(labels.shape) if box is None else box
    padded = np.pad(np.asarray(labels, np.int64), 1, constant_values=UNKNOWN)
    steps = np.array([s for s in itertools.product((0,) if is_2d else (-1, 0, 1), (-1, 0, 1), (-1, 0, 1)) if any(s)])
    strides = np.array(padded.strides) // padded.itemsize
    near = [axis for axis in strides if axis < strides[0] or not is_2d]
    faces = np.array([sign * axis for axis in near for sign in (-1, 1)])
    directions = steps / (steps**2).sum(axis=1, keepdims=True)
    known = labels[box.slices] == 0
    vectors = np.zeros((3, *box.shape_zyx), np.float32)
    start = np.array(box.start_zyx) + 1
    _flow(padded, start, faces, steps @ strides, directions, vectors, known)
    return vectors[1 if is_2d else 0 :], known


@njit(cache=True, nogil=True)
def _flow(
    labels: np.ndarray,
    start: np.ndarray,
    faces: np.ndarray,
    around: np.ndarray,
    directions: np.ndarray,
    vectors: np.ndarray,
    known: np.ndarray,
) -> None:
    """Write vectors (3, Z, Y, X) and known (Z, Y, X) of the box that begins at `start` of labels with a border of -1.

    `faces` and `around` are steps in the flat labels; `directions` (A, 3) what the latter add to a vector.
    """
    flat = labels.ravel()
    seen = np.zeros(flat.size, np.uint8)
    heat = np.zeros(flat.size, np.float64)
    order = np.empty(flat.size, np.int32)
    for z in range(known.shape[0]):
        for y in range(known.shape[1]):
            row = ((start[0] + z) * labels.shape[1] + start[1] + y) * labels.shape[2] + start[2]
            for p in range(row, row + known.shape[2]):
                if flat[p] <= 0 or seen[p]:
                    continue
                count, whole = _flood(flat, seen, faces, p, order)
                if not whole:
                    for q in order[:count]:
                        seen[q] = 2
                    continue
                middles = _find_middles(order[:count], labels.shape)
                firsts = _order_by_distance(middles, seen, faces, order[:count])
                _diffuse(heat, faces, order, firsts)
                _write(heat, order[:count], labels.shape, start, around, directions, vectors, known)
                for q in order[:count]:
                    heat[q] = 0


@njit(cache=True, nogil=True)
def _flood(flat: np.ndarray, seen: np.ndarray, faces: np.ndarray, p: int, order: np.ndarray) -> tuple[int, bool]:
    """List the object of p in `order`, mark it as seen (1); tell its size and whether nothing unknown touches it."""
    order[0], seen[p], count, head, whole = p, 1, 1, 0, True
    while head < count:
        q = order[head]
        head += 1
        for face in faces:
            r = q + face
            if flat[r] == flat[p]:
                if not seen[r]:
                    order[count], seen[r] = r, 1
                    count += 1
            elif flat[r] == UNKNOWN:
                whole = False
    return count, whole


@njit(cache=True, nogil=True)
def _find_middles(voxels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the voxels nearest to the centre of mass; of several groups that do not touch, the first in scan order."""
    count = len(voxels)
    sz, sy, sx = 0, 0, 0
    for q in voxels:
        z, y, x = _position(q, shape)
        sz, sy, sx = sz + z, sy + y, sx + x
    squares = np.empty(count)
    for i in range(count):  # of whole numbers, so that ties are ties
        z, y, x = _position(voxels[i], shape)
        squares[i] = float(z * count - sz) ** 2 + float(y * count - sy) ** 2 + float(x * count - sx) ** 2
    tied = np.sort(voxels[squares <= squares.min() * (1 + 1e-9)])
    fz, fy, fx = _position(tied[0], shape)
    touch = np.zeros(len(tied), np.bool_)
    for i in range(len(tied)):
        z, y, x = _position(tied[i], shape)
        touch[i] = max(abs(z - fz), abs(y - fy), abs(x - fx)) <= 1
    return tied[touch]


@njit(cache=True, nogil=True)
def _position(q: int, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return q // (shape[1] * shape[2]), q // shape[2] % shape[1], q % shape[2]


@njit(cache=True, nogil=True)
def _order_by_distance(middles: np.ndarray, seen: np.ndarray, faces: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Order an object's voxels (all seen, 1) by steps from the middle; give where each distance begins, and the end."""
    firsts = np.empty(len(order) + 2, np.int32)
    firsts[0], count = 0, len(middles)
    order[:count] = middles
    for q in middles:
        seen[q] = 2
    distance, head = 0, 0
    while head < count:
        distance += 1
        firsts[distance] = count
        while head < firsts[distance]:
            for face in faces:
                r = order[head] + face
                if seen[r] == 1:
                    order[count], seen[r] = r, 2
                    count += 1
            head += 1
    return firsts[: distance + 1]


@njit(cache=True, nogil=True)
def _diffuse(heat: np.ndarray, faces: np.ndarray, order: np.ndarray, firsts: np.ndarray) -> None:
    """Let heat flow from the middle, `ROUNDS` times outwards and back; it is 0 outside of the object."""
    heat[order[: firsts[1]]] = 1
    last = len(firsts) - 2
    fresh = np.empty(len(order) if last < 1 else np.diff(firsts).max())
    for _ in range(ROUNDS):
        for i in range(1, 2 * last):
            distance = i if i <= last else 2 * last - i
            voxels = order[firsts[distance] : firsts[distance + 1]]
            for j in range(len(voxels)):
                total = 0.0
                for f in range(0, len(faces), 2):
                    total += heat[voxels[j] + faces[f]] + heat[voxels[j] + faces[f + 1]]
                fresh[j] = total / len(faces)
            for j in range(len(voxels)):  # together, so that mirrored labels have mirrored flows
                heat[voxels[j]] = fresh[j]


@njit(cache=True, nogil=True)
def _write(
    heat: np.ndarray,
    voxels: np.ndarray,
    shape: tuple[int, int, int],
    start: np.ndarray,
    around: np.ndarray,
    directions: np.ndarray,
    vectors: np.ndarray,
    known: np.ndarray,
) -> None:
    """Write the vectors of an object's voxels that lie in the box; one so far away that heat is 0 stays unknown."""
    for q in voxels:
        z, y, x = _position(q, shape)
        z, y, x = z - start[0], y - start[1], x - start[2]
        if not (0 <= z < known.shape[0] and 0 <= y < known.shape[1] and 0 <= x < known.shape[2]):
            continue
        vz, vy, vx = _gradient(heat, q, around, directions)
        length = np.sqrt(vz**2 + vy**2 + vx**2)
        known[z, y, x] = length > 0 or heat[q] == 1
        if length > 0:
            vectors[:, z, y, x] = vz / length, vy / length, vx / length


@njit(cache=True, nogil=True)
def _gradient(heat: np.ndarray, q: int, around: np.ndarray, directions: np.ndarray) -> tuple[float, float, float]:
    """Return a vector of about length 1 that points uphill, at a warmer neighbour best of all; 0 at a peak."""
    vz, vy, vx = 0.0, 0.0, 0.0
    steepest, fastest = 0, 0.0
    for a in range(len(around)):
        rise = heat[q + around[a]] - heat[q]
        if rise > 0:
            dz, dy, dx = directions[a]
            vz, vy, vx = vz + rise * dz, vy + rise * dy, vx + rise * dx
            slope = rise * np.sqrt(dz**2 + dy**2 + dx**2)
            if slope > fastest:
                steepest, fastest = a, slope
    if fastest == 0:
        return 0.0, 0.0, 0.0
    vz, vy, vx = vz / fastest, vy / fastest, vx / fastest  # far from the middle, squares of heat would be 0
    to_warmer, to_other = 0.0, 0.0
    for a in range(len(around)):
        dz, dy, dx = directions[a]
        along = (vz * dz + vy * dy + vx * dx) / np.sqrt(dz**2 + dy**2 + dx**2)
        if heat[q + around[a]] > heat[q]:
            to_warmer = max(to_warmer, along)
        else:
            to_other = max(to_other, along)
    if to_other > CLEARLY * to_warmer:
        return directions[steepest, 0], directions[steepest, 1], directions[steepest, 2]
    return vz, vy, vx
