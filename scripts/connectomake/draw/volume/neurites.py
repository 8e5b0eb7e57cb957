"""The longest objects of a volume as solid bodies, seen from a corner: each in its colour, shaded by slope and depth.

Orthographic rays walk from voxel to voxel (Amanatides & Woo 1987) until they meet an object. The slope is that of the
object's own voxels around the place; crevices are darkened by the depth buffer's unsharp mask (Luft et al. 2006). No
renderer is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import fastremap
import numba
import numpy as np
from matplotlib.axes import Axes
from scipy import ndimage

from connectomake.draw.colours import colour_ids
from connectomake.draw.figure import FAINT
from connectomake.draw.planes import Layer
from connectomake.geometry import BlockGrid, Box, TripleNm

MOST_VOXELS_A_SIDE = 256
HIDES = 0.04  # of the volume: an object larger than that would stand in front of the others
READ_ZYX_VX = (128, 512, 512)
LIGHT_RIGHT_UP_TOWARDS = (-0.40, 0.62, 0.68)  # over the viewer's left shoulder
SLOPE_VOXELS = 3  # radius of the ball of voxels that a slope is taken from


@dataclass(frozen=True)
class Bodies:
    """Labels to look at: (Z, Y, X) int64 with everything but the chosen objects 0, and the size of a voxel."""

    labels: np.ndarray
    voxel_size_zyx_nm: TripleNm


@dataclass(frozen=True)
class View:
    """A picture of bodies: (H, W, 4) uint8 RGBA, clear where there is none, its size, and the box they lie in.

    `edges_nm` are (12, 2, 2) ends of the box's edges, right and down from the picture's middle; the first three are
    those behind everything.
    """

    image: np.ndarray
    size_nm: float
    edges_nm: np.ndarray


def choose_bodies(layer: Layer, box: Box, objects: int = 24) -> Bodies:
    """Read a box block by block, every so-manieth voxel of it, and keep its largest objects.

    Parameters
    ----------
    layer
        Labels.
    box
        What to read, in the raw volume's voxels. Memory is that of one block and of at most 256 voxels cubed.
    objects
        How many objects to keep, by their number of voxels.
    """
    step = [max(1, -(-s // MOST_VOXELS_A_SIDE)) for s in box.shape_zyx]
    labels = np.zeros([-(-s // n) for s, n in zip(box.shape_zyx, step, strict=True)], np.int64)
    blocks = [
        max(1, b // n) * n for b, n in zip(READ_ZYX_VX, step, strict=True)
    ]  # whole steps: no voxel is taken twice
    away = [a - o for a, o in zip(box.start_zyx, layer.origin_zyx_vx, strict=True)]
    for block in BlockGrid(box.shape_zyx, (blocks[0], blocks[1], blocks[2])):
        values = layer.volume.read(block.shift(away))[:: step[0], :: step[1], :: step[2]]
        start = [a // n for a, n in zip(block.start_zyx, step, strict=True)]
        labels[tuple(slice(a, a + n) for a, n in zip(start, values.shape, strict=True))] = values
    size = np.array(layer.volume.voxel_size_zyx_nm) * step
    labels = fastremap.mask_except(labels, _longest(labels, size, objects))
    return Bodies(labels, (float(size[0]), float(size[1]), float(size[2])))


def render_bodies(bodies: Bodies, *, pixels: int = 800, azimuth_deg: float = 32, elevation_deg: float = 26) -> View:
    """Look at bodies from so many degrees to the side and above; z points up.

    Parameters
    ----------
    bodies
        What to look at.
    pixels
        Height and width of the picture.
    azimuth_deg, elevation_deg
        From where; 0, 0 looks along y, with x to the right.
    """
    size = np.array(bodies.voxel_size_zyx_nm)
    extent = np.array(bodies.labels.shape) * size
    right, up, towards = _camera(np.radians(azimuth_deg), np.radians(elevation_deg))
    corners = (np.indices((2, 2, 2)).reshape(3, -1).T - 0.5) * extent
    side = 2.04 * max(np.abs(corners @ right).max(), np.abs(corners @ up).max())
    place = (np.arange(pixels) + 0.5) / pixels * side - side / 2
    reach = np.linalg.norm(extent)
    # in voxels, from the volume's first corner
    start = (extent / 2 + towards * reach + place[None, :, None] * right - place[:, None, None] * up) / size
    ids, depth = walk_rays(bodies.labels, start.reshape(-1, 3), -towards / size)
    met = start.reshape(-1, 3) - np.where(ids != 0, depth, 0.0)[:, None] * (towards / size)
    slope = measure_slopes(bodies.labels, met, ids, size)
    ids, depth = ids.reshape(pixels, pixels), depth.reshape(pixels, pixels)
    facing = (slope @ np.stack([right, up, towards], 1)).reshape(pixels, pixels, 3)
    return View(_shade(ids, depth, facing, side), side, _box_edges(corners, right, up, towards))


def draw_bodies(axes: Axes, view: View) -> None:
    """Show a view, with the box around it."""
    half = view.size_nm / 2
    for k, ((x0, y0), (x1, y1)) in enumerate(view.edges_nm):
        axes.plot([x0, x1], [y0, y1], color=FAINT, lw=0.7, alpha=0.9 if k < 3 else 0.5, zorder=1 if k < 3 else 3)
    axes.imshow(view.image, extent=(-half, half, half, -half), interpolation="antialiased", zorder=2)
    axes.set(xlim=(-half, half), ylim=(half, -half), xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)


@numba.njit(cache=True, nogil=True)
def walk_rays(labels: np.ndarray, start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Follow parallel rays through a volume to the first voxel that is not 0.

    Parameters
    ----------
    labels
        (Z, Y, X) integers.
    start
        (N, 3) where the rays begin, in voxels, voxel i from i to i + 1.
    direction
        (3,) voxels moved per unit of length.

    Returns
    -------
    ids, depth
        (N,) the label met, 0 for none; (N,) float64 length until it is met, infinite for none.
    """
    count = start.shape[0]
    ids = np.zeros(count, np.int64)
    depth = np.full(count, np.inf)
    for ray in range(count):
        enter, leave = 0.0, np.inf
        for a in range(3):
            if direction[a] == 0:
                if start[ray, a] < 0 or start[ray, a] >= labels.shape[a]:
                    leave = -1.0
                continue
            one = -start[ray, a] / direction[a]
            other = (labels.shape[a] - start[ray, a]) / direction[a]
            enter, leave = max(enter, min(one, other)), min(leave, max(one, other))
        if enter >= leave:
            continue
        voxel = np.zeros(3, np.int64)
        following = np.full(3, np.inf)
        for a in range(3):
            at = start[ray, a] + enter * direction[a]
            voxel[a] = min(max(int(np.floor(at)), 0), labels.shape[a] - 1)
            if direction[a] != 0:
                following[a] = (voxel[a] + (direction[a] > 0) - start[ray, a]) / direction[a]
        at_length = enter
        while True:
            label = labels[voxel[0], voxel[1], voxel[2]]
            if label != 0:
                ids[ray], depth[ray] = label, at_length
                break
            a = int(np.argmin(following))
            at_length = following[a]
            voxel[a] += 1 if direction[a] > 0 else -1
            if voxel[a] < 0 or voxel[a] >= labels.shape[a]:
                break
            following[a] += abs(1 / direction[a])
    return ids, depth


@numba.njit(cache=True, nogil=True)
def measure_slopes(labels: np.ndarray, place: np.ndarray, ids: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Find which way the surface of an object faces: away from the middle of its own voxels in a ball around the place.

    Parameters
    ----------
    labels
        (Z, Y, X) integers.
    place
        (N, 3) in voxels, on the surface; ignored where the id is 0.
    ids
        (N,) whose surface it is.
    size
        (3,) extent of a voxel; the ball is three times its geometric mean in radius.

    Returns
    -------
    ndarray
        (N, 3) unit vectors z, y, x in nm, 0 where there is no surface or no direction.
    """
    radius = SLOPE_VOXELS * (size[0] * size[1] * size[2]) ** (1 / 3)
    reach = np.empty(3, np.int64)
    for a in range(3):
        reach[a] = max(1, int(np.ceil(radius / size[a])))
    slopes = np.zeros((place.shape[0], 3))
    for n in range(place.shape[0]):
        if ids[n] == 0:
            continue
        cz, cy, cx = int(np.floor(place[n, 0])), int(np.floor(place[n, 1])), int(np.floor(place[n, 2]))
        for z in range(cz - reach[0], cz + reach[0] + 1):
            for y in range(cy - reach[1], cy + reach[1] + 1):
                for x in range(cx - reach[2], cx + reach[2] + 1):
                    if not (0 <= z < labels.shape[0] and 0 <= y < labels.shape[1] and 0 <= x < labels.shape[2]):
                        continue
                    dz = (z + 0.5 - place[n, 0]) * size[0]
                    dy = (y + 0.5 - place[n, 1]) * size[1]
                    dx = (x + 0.5 - place[n, 2]) * size[2]
                    weight = radius * radius - dz * dz - dy * dy - dx * dx  # no step at the rim: no moire
                    if labels[z, y, x] == ids[n] and weight > 0:
                        slopes[n, 0] -= weight * dz
                        slopes[n, 1] -= weight * dy
                        slopes[n, 2] -= weight * dx
        length = np.sqrt((slopes[n] ** 2).sum())
        if length > 0:
            slopes[n] /= length
    return slopes


def _longest(labels: np.ndarray, size: np.ndarray, objects: int) -> list[int]:
    """Name the objects with the longest diagonals, leaving out those so large that they hide the rest."""
    compact, names = fastremap.renumber(np.maximum(labels, 0), in_place=False)
    names = {new: old for old, new in names.items()}
    boxes = ndimage.find_objects(compact)
    voxels = np.bincount(compact.ravel(), minlength=len(boxes) + 1)[1:]
    diagonal = np.array([np.linalg.norm([(s.stop - s.start) * n for s, n in zip(b, size, strict=True)]) for b in boxes])
    diagonal[voxels > HIDES * labels.size] = 0
    order = np.argsort(-diagonal, kind="stable")[:objects]
    return [int(names[i + 1]) for i in order if diagonal[i] > 0] or [int(i) for i in names.values() if i > 0]


def _camera(azimuth: float, elevation: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the directions right, up and towards the viewer, z, y, x."""
    right = np.array([0.0, np.sin(azimuth), np.cos(azimuth)])
    towards = np.array([np.sin(elevation), np.cos(elevation) * np.cos(azimuth), -np.cos(elevation) * np.sin(azimuth)])
    up = np.array([np.cos(elevation), -np.sin(elevation) * np.cos(azimuth), np.sin(elevation) * np.sin(azimuth)])
    return right, up, towards


def _shade(ids: np.ndarray, depth: np.ndarray, facing: np.ndarray, side_nm: float) -> np.ndarray:
    """Light the colours of ids (H, W) by where their surface faces (right, up, towards) and the depth around it."""
    seen = ids != 0
    light = np.array(LIGHT_RIGHT_UP_TOWARDS)
    light /= np.linalg.norm(light)
    halfway = light + np.array([0, 0, 1])  # between light and viewer (Blinn 1977)
    halfway /= np.linalg.norm(halfway)
    diffuse = np.clip(facing @ light, 0, 1)
    gleam = np.clip(facing @ halfway, 0, 1) ** 30
    far = np.where(seen, depth, depth[seen].max() if seen.any() else 0.0)
    spread = ids.shape[0] / 40
    hidden = (far - ndimage.gaussian_filter(far, spread)) / (0.12 * side_nm)  # positive in crevices
    fog = (far - far.min()) / max(float(np.ptp(far)), 1e-9)
    strength = (0.46 + 0.70 * diffuse) * (1 - 0.55 * np.clip(hidden, 0, 1)) * (1 - 0.35 * fog)
    colour = colour_ids(ids) * strength[..., None] + 255 * 0.14 * gleam[..., None]
    edge = np.zeros(ids.shape, bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    colour[edge] *= 0.45
    return np.dstack([np.clip(colour, 0, 255), 255 * seen]).astype(np.uint8)


def _box_edges(corners: np.ndarray, right: np.ndarray, up: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Return the 12 edges of a box as seen, those at its farthest corner first."""
    pairs = [(a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit]
    farthest = int(np.argmin(corners @ towards))
    pairs.sort(key=lambda pair: farthest not in pair)
    flat = np.stack([corners @ right, -(corners @ up)], 1)
    return np.array([[flat[a], flat[b]] for a, b in pairs])
