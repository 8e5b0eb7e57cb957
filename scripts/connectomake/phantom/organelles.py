"""Put mitochondria, vesicles and endoplasmic reticulum into neurites, and draw them.

An organelle is a chain of balls inside the tube of one neurite. Tubes lie wholly in their own label
(phantom/neurites.py), and organelles are displaced together with the borders, so no organelle leaves its neurite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit

from connectomake.config.settings.phantom import OrganelleConfig, PhantomConfig
from connectomake.phantom.neurites import Neurites
from connectomake.phantom.rasterise import Scene

NONE, MITOCHONDRION, VESICLE = 0, 1, 2
CLASSES = {"none": NONE, "mitochondrion": MITOCHONDRION, "vesicle": VESICLE}
_RETICULUM = 3  # drawn, but no class of the truth
_MARGIN_NM = 8.0  # cytoplasm left between an organelle and the wall of its tube
_FILLING = 0.72  # radius of a mitochondrion over that of its tube, at most
_RIM = 0.75  # darkness of an organelle's membrane over that of a neurite's
_RIM_REACH = 2.5  # sds to which that membrane is drawn
_CRISTA_NM = 42.0  # from one crista to the next


class Balls(NamedTuple):
    """Organelles as chains of balls, in nm, before displacement.

    Attributes
    ----------
    position, axis
        (N, 3) float64, z, y, x: the middle, and the unit vector along the organelle.
    radius, along
        (N,) float64: radius, and the distance along the organelle from some origin.
    before, after
        (N,) int64: neighbours in the chain; the ball itself at an end.
    kind, label
        (N,) int64: class, and the neurite that the organelle lies in.
    """

    position: np.ndarray
    axis: np.ndarray
    radius: np.ndarray
    along: np.ndarray
    before: np.ndarray
    after: np.ndarray
    kind: np.ndarray
    label: np.ndarray


class _Walk(NamedTuple):
    """Skeletons as paths to choose from."""

    neurites: Neurites
    length_nm: np.ndarray  # (N,) from each node's parent to it, 0 at roots
    free: np.ndarray  # (N,) bool, no mitochondrion there; changed in place
    rng: np.random.Generator


Chain = tuple[int, int, np.ndarray, np.ndarray]  # kind, label, (n, 3) position and (n,) radius in nm


def place_organelles(neurites: Neurites, cfg: PhantomConfig, seed: int) -> Balls:
    """Choose where organelles lie: along the skeletons, each kind with its own mean distance.

    Parameters
    ----------
    neurites
        Skeletons with the radii of their tubes.
    cfg
        Its section `organelles` is read.
    seed
        Number that the result depends on.
    """
    parent = np.where(neurites.parent < 0, np.arange(len(neurites.parent)), neurites.parent)
    length = np.linalg.norm(neurites.position_nm - neurites.position_nm[parent], axis=1)
    walk = _Walk(neurites, length, np.ones(len(length), bool), np.random.default_rng([seed, 4]))
    cfgs = cfg.organelles
    chains = [*_place_mitochondria(walk, cfgs), *_place_reticulum(walk, cfgs), *_place_vesicles(walk, cfgs)]
    return _join(chains)


def _draw_starts(walk: _Walk, suitable: np.ndarray, every_nm: float) -> list[int]:
    """Draw nodes at a mean distance of `every_nm` of path."""
    return np.flatnonzero((walk.rng.random(len(walk.length_nm)) < walk.length_nm / every_nm) & suitable).tolist()


def _follow(walk: _Walk, start: int, suitable: np.ndarray, length_nm: float) -> np.ndarray:
    """List the nodes of the path from `start` on while they are suitable and free, up to a length or a branch's end."""
    stop, travelled = start, 0.0
    parent = walk.neurites.parent
    while travelled < length_nm and stop < len(parent) and walk.free[stop] and suitable[stop]:
        if stop > start and parent[stop] != stop - 1:
            break
        travelled += walk.length_nm[stop]
        stop += 1
    return np.arange(start, stop)


def _shift(walk: _Walk, nodes: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Move a chain of balls sideways by as much as their tube allows; give the positions."""
    way = walk.rng.standard_normal(3)
    room = float(np.min(walk.neurites.radius_nm[nodes] - _MARGIN_NM - radius))
    way *= max(0.0, room) * walk.rng.uniform(0.2, 1.0) / np.linalg.norm(way)
    return walk.neurites.position_nm[nodes] + way


def _place_mitochondria(walk: _Walk, cfg: OrganelleConfig) -> Iterator[Chain]:
    """Lay mitochondria along stretches that are thick enough, and mark these as taken."""
    low, high = cfg.mitochondrion_radius_nm
    room = np.minimum(_FILLING * walk.neurites.radius_nm, walk.neurites.radius_nm - _MARGIN_NM)
    for start in _draw_starts(walk, room >= low, cfg.mitochondrion_every_nm):
        nodes = _follow(walk, start, room >= low, walk.rng.uniform(*cfg.mitochondrion_length_nm))
        if len(nodes) > 2:
            radius = np.clip(walk.rng.uniform(0.75, 1.0) * room[nodes], low, high)
            yield MITOCHONDRION, int(walk.neurites.label[start]), _shift(walk, nodes, radius), radius
            walk.free[max(0, start - 2) : nodes[-1] + 3] = False


def _place_reticulum(walk: _Walk, cfg: OrganelleConfig) -> Iterator[Chain]:
    """Lay thin tubules along neurites: what a threshold on grey values takes for membranes."""
    for start in _draw_starts(walk, walk.free, cfg.reticulum_every_nm):
        nodes = _follow(walk, start, walk.free, walk.rng.uniform(150.0, 900.0))
        if len(nodes) > 2:
            radius = walk.rng.uniform(9.0, 20.0, len(nodes))
            yield _RETICULUM, int(walk.neurites.label[start]), *_refine(_shift(walk, nodes, radius), radius)


def _refine(position: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put balls between those of a chain until neighbours are no further apart than the smallest radius."""
    longest = np.linalg.norm(np.diff(position, axis=0), axis=1).max()
    times = max(1, math.ceil(longest / radius.min()))
    coarse, fine = np.arange(len(radius)), np.linspace(0, len(radius) - 1, (len(radius) - 1) * times + 1)
    return np.stack([np.interp(fine, coarse, column) for column in position.T], axis=1), np.interp(fine, coarse, radius)


def _place_vesicles(walk: _Walk, cfg: OrganelleConfig) -> Iterator[Chain]:
    """Fill stretches of some neurites with vesicles that do not overlap."""
    room = walk.neurites.radius_nm - cfg.vesicle_radius_nm - _MARGIN_NM
    for start in _draw_starts(walk, walk.free & (room > cfg.vesicle_radius_nm / 2), cfg.vesicles_every_nm):
        nodes = _follow(walk, start, room > 0, walk.rng.uniform(100.0, 300.0))
        count = int(walk.rng.integers(*cfg.vesicle_count, endpoint=True))
        chosen = walk.rng.choice(nodes, 3 * count)
        way = walk.rng.standard_normal((3 * count, 3))
        way *= (room[chosen] * walk.rng.random(3 * count) ** (1 / 3) / np.linalg.norm(way, axis=1))[:, None]
        for position in _thin_out(walk.neurites.position_nm[chosen] + way, 2.1 * cfg.vesicle_radius_nm)[:count]:
            radius = cfg.vesicle_radius_nm * walk.rng.uniform(0.85, 1.1)
            yield VESICLE, int(walk.neurites.label[start]), position[None], np.array([radius])


def _thin_out(points: np.ndarray, distance: float) -> np.ndarray:
    """Keep points, the first first, that are no closer than a distance to those kept before."""
    close = ((points[:, None] - points[None]) ** 2).sum(axis=-1) < distance**2
    kept: list[int] = []
    for k in range(len(points)):
        if not close[k, kept].any():
            kept.append(k)
    return points[kept]


def _join(chains: list[Chain]) -> Balls:
    """Write chains one after the other."""
    size = np.array([len(radius) for *_, radius in chains], np.int64)
    position = np.concatenate([np.empty((0, 3)), *(p for _, _, p, _ in chains)])
    radius = np.concatenate([np.empty(0), *(r for *_, r in chains)])
    index, stop = np.arange(len(radius)), np.repeat(np.cumsum(size), size)
    before = np.maximum(index - 1, stop - np.repeat(size, size))
    after = np.minimum(index + 1, stop - 1)
    step = np.linalg.norm(position - position[before], axis=1)
    along = np.cumsum(step)
    axis = position[after] - position[before]
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-9)
    kind = np.repeat(np.array([kind for kind, *_ in chains], np.int64), size)
    label = np.repeat(np.array([label for _, label, *_ in chains], np.int64), size)
    return Balls(position, axis, radius, along, before, after, kind, label)


@njit(cache=True, nogil=True, error_model="numpy")
def paint_slab(
    balls: Balls,
    scene: Scene,
    places: np.ndarray,
    look: tuple[float, float],
    start: int,
    stop: int,
    labels: np.ndarray,
    darkness: np.ndarray,
    tone: np.ndarray,
    organelles: np.ndarray,
) -> None:
    """Draw the organelles of the z planes `start` to `stop`.

    Parameters
    ----------
    balls, scene
        Where organelles lie, and the sizes of voxels and membranes.
    places
        (stop - start, Y, X, 3) float32 nm, from `phantom.fields.displace_slab`.
    look
        Grey value inside mitochondria, and half the range of their cristae.
    start, stop
        First plane and the one after the last.
    labels
        (Z, Y, X) uint32; nothing is drawn outside the organelle's own neurite.
    darkness
        (Z, Y, X) uint8, raised in place where the organelle's membrane is.
    tone
        (Z, Y, X) uint8, set in place to the grey value inside mitochondria; 0 elsewhere.
    organelles
        (Z, Y, X) uint8, set in place to the class.
    """
    size, spread = scene.voxel_nm, 0.8 * scene.membrane.spread
    for ball in range(balls.radius.size):
        outside = balls.radius[ball] + _RIM_REACH * spread
        reach = outside + scene.roughness_nm
        z0, z1 = _range_of(balls.position[ball, 0] - reach, balls.position[ball, 0] + reach, size[0], start, stop)
        y0, y1 = _range_of(
            balls.position[ball, 1] - reach, balls.position[ball, 1] + reach, size[1], 0, labels.shape[1]
        )
        for z in range(z0, z1):
            for y in range(y0, y1):
                low, high = _clip_row(balls, ball, z * size[0], y * size[1], reach, scene.roughness_nm)
                x0, x1 = _range_of(low, high, size[2], 0, labels.shape[2])
                for x in range(x0, x1):
                    place = (places[z - start, y, x, 0], places[z - start, y, x, 1], places[z - start, y, x, 2])
                    if (
                        _square_distance(balls, ball, place) < outside * outside
                        and labels[z, y, x] == balls.label[ball]
                    ):
                        depth = _measure_depth(balls, ball, place)
                        if abs(depth) < _RIM_REACH * spread:
                            rim = int(255 * _RIM * math.exp(-0.5 * (depth / spread) ** 2))
                            darkness[z, y, x] = max(darkness[z, y, x], rim)
                        if depth > 0:
                            _mark(balls, ball, look, place, (z, y, x), tone, organelles)


@njit(cache=True, nogil=True, error_model="numpy")
def _range_of(low: float, high: float, size: float, start: int, stop: int) -> tuple[int, int]:
    """Return the first voxel and the one after the last whose centres lie between two coordinates (nm)."""
    return max(start, math.ceil(max(low, 0.0) / size)), min(stop, int(max(high, -1.0) / size + 1.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _clip_row(balls: Balls, ball: int, z: float, y: float, reach: float, roughness: float) -> tuple[float, float]:
    """Return part of a row along x (nm) in which this ball can hold a voxel deeper than its neighbours in the chain.

    Beyond the plane half way to a neighbour the neighbour is deeper; differing radii bend that plane, displacement
    moves it.
    """
    dz, dy, middle = z - balls.position[ball, 0], y - balls.position[ball, 1], balls.position[ball, 2]
    half = math.sqrt(max(0.0, reach * reach - dz * dz - dy * dy))
    low, high = middle - half, middle + half
    for other in (balls.before[ball], balls.after[ball]):
        ez = balls.position[other, 0] - balls.position[ball, 0]
        ey = balls.position[other, 1] - balls.position[ball, 1]
        ex = balls.position[other, 2] - middle
        away = math.sqrt(ez * ez + ey * ey + ex * ex)
        bend = abs(balls.radius[other] - balls.radius[ball]) * reach
        rest = away * (0.5 * away + roughness) + bend - ez * dz - ey * dy
        if other != ball and ex > 0:
            high = min(high, middle + rest / ex)
        elif other != ball and ex < 0:
            low = max(low, middle + rest / ex)
    return low, high


@njit(cache=True, nogil=True, error_model="numpy")
def _measure_depth(balls: Balls, ball: int, place: tuple[float, float, float]) -> float:
    """Measure how deep a point lies in a ball (nm); far outside, where a neighbour in the chain holds it deeper."""
    depth = balls.radius[ball] - math.sqrt(_square_distance(balls, ball, place))
    before, after = balls.before[ball], balls.after[ball]
    if before != ball and balls.radius[before] - math.sqrt(_square_distance(balls, before, place)) > depth:
        return -math.inf
    if after != ball and balls.radius[after] - math.sqrt(_square_distance(balls, after, place)) >= depth:
        return -math.inf
    return depth


@njit(cache=True, nogil=True, error_model="numpy")
def _square_distance(balls: Balls, ball: int, place: tuple[float, float, float]) -> float:
    dz, dy, dx = (
        balls.position[ball, 0] - place[0],
        balls.position[ball, 1] - place[1],
        balls.position[ball, 2] - place[2],
    )
    return dz * dz + dy * dy + dx * dx


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(
    balls: Balls,
    ball: int,
    look: tuple[float, float],
    place: tuple[float, float, float],
    voxel: tuple[int, int, int],
    tone: np.ndarray,
    organelles: np.ndarray,
) -> None:
    """Set the class of a voxel inside an organelle, and the stripes of cristae where it is a mitochondrion."""
    kind = balls.kind[ball]
    if kind == MITOCHONDRION:
        along, across = balls.along[ball], 0.0
        for axis in range(3):
            away = place[axis] - balls.position[ball, axis]
            along += away * balls.axis[ball, axis]
            across += away * balls.axis[ball, (axis + 1) % 3]
        wave = math.cos(2 * math.pi * (along + 0.35 * across + 9.0 * math.cos(across / 31.0)) / _CRISTA_NM)
        tone[voxel] = int(look[0] + look[1] * wave * (0.6 + 0.4 * math.cos(along / 57.0 + across / 41.0)))
    if kind != _RETICULUM and organelles[voxel] == NONE:
        organelles[voxel] = kind
