"""Read grey values and labels at places between the voxels: one pass for turning, stretching, shear and bending."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from connectomake.config.settings.data import UNKNOWN


@dataclass(frozen=True)
class Bending:
    """Displacements at the points of a regular grid, linear in between.

    Parameters
    ----------
    moves
        (Z, Y, X, 3) float64 displacements in voxels (z, y, x).
    first_zyx
        Where the grid's first point lies, in voxels of the result.
    spacing_zyx
        Of the grid's points, in voxels.
    """

    moves: np.ndarray
    first_zyx: np.ndarray
    spacing_zyx: np.ndarray


NO_BENDING = Bending(np.zeros((0, 0, 0, 3)), np.zeros(3), np.ones(3))


def turn_in_section(angle: float) -> np.ndarray:
    """Return the (3, 3) matrix (z, y, x) of a turn within the sections, by radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def resample_raw(
    raw: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    shape_zyx: Sequence[int],
    start_zyx: Sequence[int] = (0, 0, 0),
    bending: Bending = NO_BENDING,
) -> np.ndarray:
    """Interpolate linearly at ``matrix @ (p + bending(p)) + offset``, for every voxel p of a box.

    Parameters
    ----------
    raw
        (C, Z, Y, X) float32.
    matrix, offset
        (3, 3) and (3,): from voxels of the result to voxels of raw.
    shape_zyx, start_zyx
        The box of p.
    bending
        By how much p is displaced first.

    Returns
    -------
    ndarray of float32
        (C, *shape_zyx); beyond its borders raw is mirrored.
    """
    out = np.empty((raw.shape[0], *shape_zyx), np.float32)
    m, o, start, moves, first, spacing = _as_arrays(matrix, offset, start_zyx, bending)
    _interpolate(np.ascontiguousarray(raw), m, o, start, moves, first, spacing, out)
    return out


def resample_labels(
    labels: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    shape_zyx: Sequence[int],
    start_zyx: Sequence[int] = (0, 0, 0),
    bending: Bending = NO_BENDING,
) -> np.ndarray:
    """Take the label of the nearest voxel, as `resample_raw` does grey values; unknown (-1) beyond the borders."""
    out = np.empty(tuple(shape_zyx), labels.dtype)
    m, o, start, moves, first, spacing = _as_arrays(matrix, offset, start_zyx, bending)
    _take_nearest(np.ascontiguousarray(labels), m, o, start, moves, first, spacing, out)
    return out


def _as_arrays(
    matrix: np.ndarray, offset: np.ndarray, start: Sequence[int], bending: Bending
) -> tuple[np.ndarray, ...]:
    values = (matrix, offset, start, bending.moves, bending.first_zyx, bending.spacing_zyx)
    return tuple(np.ascontiguousarray(value, np.float64) for value in values)


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate(raw, matrix, offset, start, moves, first, spacing, out):  # type: ignore[no-untyped-def]
    channels, nz, ny, nx = raw.shape
    line = np.empty((out.shape[3], 3))
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            _places_on_line(z + start[0], y + start[1], start[2], matrix, offset, moves, first, spacing, line)
            for x in range(out.shape[3]):
                pz, py, px = np.floor(line[x, 0]), np.floor(line[x, 1]), np.floor(line[x, 2])
                fz, fy, fx = np.float32(line[x, 0] - pz), np.float32(line[x, 1] - py), np.float32(line[x, 2] - px)
                z0, y0, x0 = int(pz), int(py), int(px)
                z1, y1, x1 = z0 + 1, y0 + 1, x0 + 1
                if min(z0, y0, x0) < 0 or z1 >= nz or y1 >= ny or x1 >= nx:
                    z0, y0, x0, z1, y1, x1 = (
                        _mirror(z0, nz), _mirror(y0, ny), _mirror(x0, nx),
                        _mirror(z1, nz), _mirror(y1, ny), _mirror(x1, nx),
                    )  # fmt: skip
                for c in range(channels):
                    a = raw[c, z0, y0, x0] + fx * (raw[c, z0, y0, x1] - raw[c, z0, y0, x0])
                    b = raw[c, z0, y1, x0] + fx * (raw[c, z0, y1, x1] - raw[c, z0, y1, x0])
                    d = raw[c, z1, y0, x0] + fx * (raw[c, z1, y0, x1] - raw[c, z1, y0, x0])
                    e = raw[c, z1, y1, x0] + fx * (raw[c, z1, y1, x1] - raw[c, z1, y1, x0])
                    a += fy * (b - a)
                    d += fy * (e - d)
                    out[c, z, y, x] = a + fz * (d - a)


@njit(cache=True, nogil=True, error_model="numpy")
def _take_nearest(labels, matrix, offset, start, moves, first, spacing, out):  # type: ignore[no-untyped-def]
    nz, ny, nx = labels.shape
    line = np.empty((out.shape[2], 3))
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            _places_on_line(z + start[0], y + start[1], start[2], matrix, offset, moves, first, spacing, line)
            for x in range(out.shape[2]):
                pz = int(np.floor(line[x, 0] + 0.5))
                py = int(np.floor(line[x, 1] + 0.5))
                px = int(np.floor(line[x, 2] + 0.5))
                known = 0 <= pz < nz and 0 <= py < ny and 0 <= px < nx
                out[z, y, x] = labels[pz, py, px] if known else UNKNOWN


@njit(cache=True, nogil=True, error_model="numpy")
def _places_on_line(z, y, x_start, matrix, offset, moves, first, spacing, line):  # type: ignore[no-untyped-def]
    """Fill `line` (X, 3) with the places in the source of the voxels of one line of the result."""
    bent = moves.shape[0] > 0
    row = _moves_on_line((z - first[0]) / spacing[0], (y - first[1]) / spacing[1], moves) if bent else moves[:1, 0, 0]
    for x in range(line.shape[0]):
        qz, qy, qx = z, y, x + x_start
        if bent:
            at = (qx - first[2]) / spacing[2]
            k = int(at)
            f = at - k
            qz += (1 - f) * row[k, 0] + f * row[k + 1, 0]
            qy += (1 - f) * row[k, 1] + f * row[k + 1, 1]
            qx += (1 - f) * row[k, 2] + f * row[k + 1, 2]
        for axis in range(3):
            line[x, axis] = matrix[axis, 0] * qz + matrix[axis, 1] * qy + matrix[axis, 2] * qx + offset[axis]


@njit(cache=True, nogil=True, error_model="numpy")
def _moves_on_line(gz, gy, moves):  # type: ignore[no-untyped-def]
    """Interpolate the displacements (X, 3) of the grid's points on a line along x, at a place inside the grid."""
    iz, iy = int(gz), int(gy)
    fz, fy = gz - iz, gy - iy
    near = (1 - fy) * moves[iz, iy] + fy * moves[iz, iy + 1]
    return (1 - fz) * near + fz * ((1 - fy) * moves[iz + 1, iy] + fy * moves[iz + 1, iy + 1])


@njit(cache=True, nogil=True)
def _mirror(index, count):  # type: ignore[no-untyped-def]
    """Fold an index beyond an axis back into it; the voxels at its ends are doubled (numpy's symmetric padding)."""
    index %= 2 * count
    return index if index < count else 2 * count - 1 - index
