"""Fill a volume with the neurites that skeletons stand for, and draw the membranes between them.

Every voxel goes to the node with the smallest (distance - radius), measured at the voxel's displaced position: a
Voronoi diagram with additive weights, whose cells are star-shaped around their nodes, hence connected along a skeleton.
The two nearest neurites of a voxel give its distance to the membrane without a second pass. Blocks of voxels share
their candidates, so a voxel looks at a few tens of nodes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from connectomake.config.settings.phantom import PhantomConfig
from connectomake.phantom.neurites import Neurites

_BLOCK = 16  # voxels of the smallest size along a block's side
_PIECES = 4  # a block is cut into so many pieces along each axis
_FAR = np.float32(3e38)


class Nodes(NamedTuple):
    """Nodes sorted by the cell that they lie in: those of cell c are `start[c]` to `start[c + 1]`."""

    z: np.ndarray  # (N,) float32 nm, as y, x and radius
    y: np.ndarray
    x: np.ndarray
    radius: np.ndarray
    label: np.ndarray  # (N,) int32
    start: np.ndarray  # (cells + 1,) int64
    cells: tuple[int, int, int]
    cell_nm: float
    thickest: float


class Membrane(NamedTuple):
    """What the profile of a membrane depends on, in nm."""

    spread: float  # sd of its darkness across
    section: float  # thickness of a section: what is cut obliquely looks wide and pale
    reach: float  # beyond this difference of the two distances there is no darkness


class Scene(NamedTuple):
    """All that one slab needs."""

    nodes: Nodes
    voxel_nm: np.ndarray  # (3,) float64
    roughness_nm: float  # no voxel is displaced further
    block: tuple[int, int, int]
    piece: tuple[int, int, int]
    membrane: Membrane


class _Scratch(NamedTuple):
    """Working memory of one slab: candidates of a block and of a piece, and what is known of a piece's voxels."""

    near: np.ndarray
    few: np.ndarray
    score: np.ndarray
    place: np.ndarray  # (3, voxels) displaced positions, nm
    scores: np.ndarray  # (some candidates, voxels) distance - radius, nm
    best: np.ndarray  # (2, voxels) smallest (distance - radius), and the smallest of another neurite
    node: np.ndarray  # (2, voxels) the nodes that these belong to
    label: np.ndarray  # (voxels,) label of the first


def make_scene(neurites: Neurites, cfg: PhantomConfig) -> Scene:
    """Sort the nodes into cells and work out the blocks, so that slabs can be filled one by one or side by side."""
    voxel_nm = np.array(cfg.voxel_size_zyx_nm)
    block = tuple(max(1, round(_BLOCK * voxel_nm.min() / size)) for size in voxel_nm)
    piece = tuple(-(-n // _PIECES) for n in block)
    spread = cfg.image.membrane_width_nm / 2.355
    section = cfg.voxel_size_zyx_nm[0]
    widest = math.sqrt(spread**2 + section**2 / 12)
    membrane = Membrane(spread, section, 6 * widest)
    return Scene(_sort_nodes(neurites), voxel_nm, cfg.neurites.roughness_nm, block, piece, membrane)


def _sort_nodes(neurites: Neurites) -> Nodes:
    cell_nm = float(2 * np.median(neurites.radius_nm))
    place = (neurites.position_nm // cell_nm).astype(np.int64)
    depth, height, width = (int(n) for n in place.max(axis=0) + 1)
    cells = (depth, height, width)
    cell = np.ravel_multi_index(tuple(place.T), cells)
    order = np.argsort(cell, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=math.prod(cells)))])
    z, y, x = np.ascontiguousarray(neurites.position_nm[order].T, dtype=np.float32)
    radius = neurites.radius_nm[order].astype(np.float32)
    label = neurites.label[order].astype(np.int32)
    return Nodes(z, y, x, radius, label, start, cells, cell_nm, float(radius.max()))


@njit(cache=True, nogil=True, error_model="numpy")
def fill_slab(
    scene: Scene, places: np.ndarray, start: int, stop: int, labels: np.ndarray, darkness: np.ndarray
) -> None:
    """Fill the z planes `start` to `stop`; the result does not depend on how the planes are shared out between calls.

    Parameters
    ----------
    scene
        From `make_scene`.
    places
        (stop - start, Y, X, 3) float32 nm, from `phantom.fields.displace_slab`.
    start, stop
        First plane and the one after the last.
    labels
        (Z, Y, X) uint32, written in place: the neurite's id.
    darkness
        (Z, Y, X) uint8, written in place: 0 in cytoplasm to 255 in the middle of a membrane cut at a right angle.
    """
    bz, by, bx = scene.block
    pz, py, px = scene.piece
    scratch = _make_scratch(scene.nodes.z.size, pz * py * px)
    for z in range(start, stop, bz):
        for y in range(0, labels.shape[1], by):
            for x in range(0, labels.shape[2], bx):
                count = _find_near(scene, (z, y, x), scratch)
                for z0 in range(z, min(z + bz, stop), pz):
                    for y0 in range(y, min(y + by, labels.shape[1]), py):
                        for x0 in range(x, min(x + bx, labels.shape[2]), px):
                            part = (slice(z0, z0 + pz), slice(y0, y0 + py), slice(x0, x0 + px))
                            here = places[z0 - start : z0 - start + pz, part[1], part[2]]
                            _fill_piece(scene, scratch, count, here, labels[part], darkness[part])


@njit(cache=True, nogil=True, error_model="numpy")
def _make_scratch(nodes: int, voxels: int) -> _Scratch:
    return _Scratch(
        np.empty(nodes, np.int32),
        np.empty(nodes, np.int32),
        np.empty(nodes, np.float32),
        np.empty((3, voxels), np.float32),
        np.empty((64, voxels), np.float32),
        np.empty((2, voxels), np.float32),
        np.empty((2, voxels), np.int32),
        np.empty(voxels, np.int32),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _find_near(scene: Scene, first: tuple[int, int, int], scratch: _Scratch) -> int:
    """List the nodes that can be first or second of any voxel of a block; widen the search until that is certain."""
    nodes, size, block = scene.nodes, scene.voxel_nm, scene.block
    half = 0.5 * math.sqrt((block[0] * size[0]) ** 2 + (block[1] * size[1]) ** 2 + (block[2] * size[2]) ** 2)
    half += scene.roughness_nm
    z = (first[0] + 0.5 * (block[0] - 1)) * size[0]
    y = (first[1] + 0.5 * (block[1] - 1)) * size[1]
    x = (first[2] + 0.5 * (block[2] - 1)) * size[2]
    reach = 2 * half + nodes.thickest
    while True:
        found = _collect(nodes, z, y, x, reach, scratch.near)
        needed = _measure_bound(nodes, scratch.near[:found], z, y, x, half, scene.membrane.reach, scratch.score)
        if needed + nodes.thickest <= reach:
            return _keep(scratch.near[:found], scratch.score, needed, scratch.near)
        reach = needed + nodes.thickest if found > 0 else 2 * reach


@njit(cache=True, nogil=True, error_model="numpy")
def _collect(nodes: Nodes, z: float, y: float, x: float, reach: float, near: np.ndarray) -> int:
    """List the nodes of all cells within reach of a point."""
    nz, ny, nx = nodes.cells
    x0, x1 = max(0, int((x - reach) / nodes.cell_nm)), min(nx - 1, int((x + reach) / nodes.cell_nm))
    count = 0
    for cz in range(max(0, int((z - reach) / nodes.cell_nm)), min(nz - 1, int((z + reach) / nodes.cell_nm)) + 1):
        for cy in range(max(0, int((y - reach) / nodes.cell_nm)), min(ny - 1, int((y + reach) / nodes.cell_nm)) + 1):
            row = (cz * ny + cy) * nx
            if x0 <= x1:
                for node in range(nodes.start[row + x0], nodes.start[row + x1 + 1]):
                    near[count] = node
                    count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _measure_bound(
    nodes: Nodes, near: np.ndarray, z: float, y: float, x: float, half: float, reach: float, score: np.ndarray
) -> float:
    """Score nodes at the middle of a ball of radius `half`; give the score above which none is first or second in it.

    Scores change by at most the distance from the middle, hence twice `half` between one node gaining and another
    losing. A second that is more than `reach` behind the first leaves no mark.
    """
    first, second, label = np.float32(_FAR), np.float32(_FAR), np.int32(0)
    mz, my, mx = np.float32(z), np.float32(y), np.float32(x)
    for k in range(near.size):
        node = near[k]
        dz, dy, dx = nodes.z[node] - mz, nodes.y[node] - my, nodes.x[node] - mx
        score[k] = math.sqrt(dz * dz + dy * dy + dx * dx) - nodes.radius[node]
        if score[k] < first:
            if nodes.label[node] != label:
                second, label = first, nodes.label[node]
            first = score[k]
        elif score[k] < second and nodes.label[node] != label:
            second = score[k]
    return float(min(second, first + reach)) + 2 * half


@njit(cache=True, nogil=True, error_model="numpy")
def _keep(near: np.ndarray, score: np.ndarray, bound: float, kept: np.ndarray) -> int:
    """Copy the candidates that score no more than the bound; `kept` may be `near` itself."""
    count = 0
    for k in range(near.size):
        if score[k] <= bound:
            kept[count] = near[k]
            count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_piece(
    scene: Scene, scratch: _Scratch, count: int, places: np.ndarray, labels: np.ndarray, darkness: np.ndarray
) -> None:
    """Fill one piece of a block, given as views of the slab's arrays, from the block's candidates."""
    z, y, x, half = _enclose(places, scratch.place)
    bound = _measure_bound(scene.nodes, scratch.near[:count], z, y, x, half, scene.membrane.reach, scratch.score)
    kept = _keep(scratch.near[:count], scratch.score, bound, scratch.few)
    _compare(scene.nodes, scratch.few[:kept], scratch)
    voxel = 0
    for vz in range(labels.shape[0]):
        for vy in range(labels.shape[1]):
            for vx in range(labels.shape[2]):
                labels[vz, vy, vx] = scratch.label[voxel]
                gap = scratch.best[1, voxel] - scratch.best[0, voxel]
                darkness[vz, vy, vx] = _darken(scene, scratch, voxel, gap) if gap < scene.membrane.reach else 0
                voxel += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _enclose(places: np.ndarray, place: np.ndarray) -> tuple[float, float, float, float]:
    """Copy the places of a piece's voxels, (z, y, x, 3) to (3, voxels); give the middle and radius of a ball."""
    voxel, z, y, x, half2 = 0, 0.0, 0.0, 0.0, 0.0
    for vz in range(places.shape[0]):
        for vy in range(places.shape[1]):
            for vx in range(places.shape[2]):
                for axis in range(3):
                    place[axis, voxel] = places[vz, vy, vx, axis]
                z, y, x = z + place[0, voxel], y + place[1, voxel], x + place[2, voxel]
                voxel += 1
    z, y, x = z / voxel, y / voxel, x / voxel
    for k in range(voxel):
        half2 = max(half2, (place[0, k] - z) ** 2 + (place[1, k] - y) ** 2 + (place[2, k] - x) ** 2)
    return z, y, x, math.sqrt(half2)


@njit(cache=True, nogil=True, error_model="numpy")
def _compare(nodes: Nodes, few: np.ndarray, scratch: _Scratch) -> None:
    """Find the nearest node of every voxel of a piece, and the nearest that belongs to another neurite."""
    for v in range(scratch.label.size):
        scratch.best[0, v], scratch.best[1, v], scratch.label[v] = _FAR, _FAR, 0
    for start in range(0, few.size, scratch.scores.shape[0]):
        part = few[start : start + scratch.scores.shape[0]]
        _score(nodes, part, scratch.place, scratch.scores)
        _rank(nodes, part, scratch)


@njit(cache=True, nogil=True, error_model="numpy")
def _score(nodes: Nodes, part: np.ndarray, place: np.ndarray, scores: np.ndarray) -> None:
    """Write distance - radius, (candidates, voxels); apart from the ranking, so that it runs on vector registers."""
    for k in range(part.size):
        node = part[k]
        z, y, x, radius = nodes.z[node], nodes.y[node], nodes.x[node], nodes.radius[node]
        for v in range(scores.shape[1]):
            dz, dy, dx = place[0, v] - z, place[1, v] - y, place[2, v] - x
            scores[k, v] = np.float32(math.sqrt(dz * dz + dy * dy + dx * dx)) - radius


@njit(cache=True, nogil=True, error_model="numpy")
def _rank(nodes: Nodes, part: np.ndarray, scratch: _Scratch) -> None:
    """Update the first and the second of every voxel with some more candidates."""
    best, node, label = scratch.best, scratch.node, scratch.label
    for v in range(label.size):
        first, second, one, two, owner = best[0, v], best[1, v], node[0, v], node[1, v], label[v]
        for k in range(part.size):
            score = scratch.scores[k, v]
            if score < second:
                mine = nodes.label[part[k]]
                if score < first:
                    if mine != owner:
                        second, two, owner = first, one, mine
                    first, one = score, part[k]
                elif mine != owner:
                    second, two = score, part[k]
        best[0, v], best[1, v], node[0, v], node[1, v], label[v] = first, second, one, two, owner


@njit(cache=True, nogil=True, error_model="numpy")
def _darken(scene: Scene, scratch: _Scratch, voxel: int, gap: float) -> int:
    """Return the darkness (0 to 255) of a voxel whose two nearest neurites are `gap` nm apart in score.

    The border runs at right angles to u2 - u1, the difference of the unit vectors to the two nodes, and the gap grows
    by its length with every nm away from the border. The part of a section's thickness that an oblique border spreads
    over is a box of variance (t n_z)^2 / 12.
    """
    nodes, place, membrane = scene.nodes, scratch.place, scene.membrane
    a, b = scratch.node[0, voxel], scratch.node[1, voxel]
    az, ay, ax = nodes.z[a] - place[0, voxel], nodes.y[a] - place[1, voxel], nodes.x[a] - place[2, voxel]
    bz, by, bx = nodes.z[b] - place[0, voxel], nodes.y[b] - place[1, voxel], nodes.x[b] - place[2, voxel]
    near = 1 / max(1e-3, math.sqrt(az * az + ay * ay + ax * ax))
    far = 1 / max(1e-3, math.sqrt(bz * bz + by * by + bx * bx))
    nz, ny, nx = bz * far - az * near, by * far - ay * near, bx * far - ax * near
    slope = max(0.5, math.sqrt(nz * nz + ny * ny + nx * nx))
    variance = membrane.spread**2 + (membrane.section * nz / slope) ** 2 / 12
    distance = gap / slope
    return int(255 * membrane.spread / math.sqrt(variance) * math.exp(-0.5 * distance * distance / variance) + 0.5)
