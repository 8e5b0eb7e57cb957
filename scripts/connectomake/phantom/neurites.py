"""Grow skeletons: branching tubes that are packed without overlap, each a random walk that gives way to the others.

Why the skeletons are exact. Call s the distance of neighbouring nodes of a skeleton, h half the diagonal of a voxel and
a the largest displacement of borders. A voxel that an edge passes through has its centre within b = s/2 + h + a of one
of its nodes, of radius r, after displacement. No two tubes overlap, so every node of another neurite, of radius r', is
at least r + r' - b away. Voxels go to the neurite with the smallest (distance to a node - radius of that node): here at
most b - r against at least r - b. Hence every voxel along every edge is its own neurite's when b < r; the voxels that
an edge passes through are 6-connected, so the skeleton holds its label together. Steps make s <= r/2, which leaves h +
a < 0.75 r: `PhantomConfig` refuses anything else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from connectomake.config.settings.phantom import NeuriteConfig, PhantomConfig
from connectomake.errors import DataError
from connectomake.phantom.randomness import draw_normal, draw_uniform

STEP = (
    0.4  # distance from node to node, in radii; with SHRINK it keeps neighbours within half the smaller radius of both
)
SHRINK = 0.8  # the smallest ratio of a node's radius to that of the node before it
_TRIES = 14  # directions to try before a tip gives up
_TRUNK_NODES, _BRANCH_NODES = 30, 12  # shorter ones are taken back, unless half the volume's side is as short
_ATTEMPTS = 0.1  # places to start at, for each cube of the smallest radius
_MEMORY = 0.92  # correlation of the varicosity from one step to the next


Index = int | np.int64


@dataclass(frozen=True)
class Neurites:
    """Skeletons as trees of nodes; the nodes of one neurite lie together, each after its parent.

    Attributes
    ----------
    position_nm
        (N, 3) float64, z, y, x; the centre of voxel (0, 0, 0) is the origin.
    radius_nm
        (N,) float64, radius of the tube at the node.
    parent
        (N,) int64, the node before it; -1 at a root.
    label
        (N,) int64, the neurite's id, 1 to n without gaps.
    """

    position_nm: np.ndarray
    radius_nm: np.ndarray
    parent: np.ndarray
    label: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """The (E, 2) int64 pairs of parent and child."""
        child = np.flatnonzero(self.parent >= 0)
        return np.stack([self.parent[child], child], axis=1)


class _Tubes(NamedTuple):
    """What is grown so far, with the nodes of each cell of a grid as a linked list."""

    position: np.ndarray
    radius: np.ndarray
    parent: np.ndarray
    label: np.ndarray
    first: np.ndarray  # (cells z, y, x) last node put into the cell, -1 = none
    following: np.ndarray  # (N,) next node of the same cell, -1 = none
    cell_nm: float
    thickest: np.ndarray  # (1,) largest radius so far
    extent: np.ndarray  # (3,) nm between the centres of the first and the last voxel


class _Habits(NamedTuple):
    """The part of the settings that the kernels read."""

    least: float
    most: float
    median: float
    spread: float
    turn: float
    varicosity: float
    branch_every: float


def grow_neurites(cfg: PhantomConfig, seed: int) -> Neurites:
    """Pack a volume with branching tubes, thick and thin as they come, until hardly any more fit.

    Cost: about 15 microseconds a node; at the default settings there is one for about 1,000 voxels.

    Parameters
    ----------
    cfg
        Shape, voxel size and the section `neurites`.
    seed
        Number that the result depends on.

    Raises
    ------
    DataError
        When the volume is too small for a single neurite of these radii.
    """
    extent = (np.array(cfg.shape_zyx) - 1) * np.array(cfg.voxel_size_zyx_nm)
    habits, least = _habits_of(cfg.neurites), cfg.neurites.radius_range_nm[0]
    volume = float(np.prod(extent + least))
    tubes = _empty_tubes(extent, cfg.neurites.radius_nm, int(volume / least**3) + 64)
    state = np.random.default_rng([seed, 1]).integers(2**63, size=1, dtype=np.uint64)
    count = _fill(tubes, habits, state, int(_ATTEMPTS * volume / least**3) + 1000)
    if count == 0:
        raise DataError(
            "no neurite fits into the phantom",
            got=f"shape_zyx {cfg.shape_zyx}",
            hint="raise shape_zyx or lower neurites.radius_nm",
        )
    return Neurites(*(a[:count].copy() for a in (tubes.position, tubes.radius, tubes.parent, tubes.label)))


def _habits_of(cfg: NeuriteConfig) -> _Habits:
    low, high = cfg.radius_range_nm
    turn = cfg.tortuosity * math.sqrt(STEP)
    return _Habits(low, high, cfg.radius_nm, cfg.radius_spread, turn, cfg.varicosity, cfg.branch_every_nm)


def _empty_tubes(extent: np.ndarray, cell_nm: float, room: int) -> _Tubes:
    cells = tuple(int(n) for n in extent // cell_nm + 1)
    return _Tubes(
        np.empty((room, 3)),
        np.empty(room),
        np.empty(room, np.int64),
        np.empty(room, np.int64),
        np.full(cells, -1, np.int32),
        np.empty(room, np.int32),
        cell_nm,
        np.zeros(1),
        extent.astype(np.float64),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(tubes: _Tubes, habits: _Habits, state: np.ndarray, attempts: int) -> Index:
    """Start neurites at random places as thick as they fit there; give the number of nodes in all."""
    count: Index = np.int64(0)  # plain numbers would have every function compiled twice
    label: Index = np.int64(1)
    point = np.empty(3)
    for _ in range(attempts):
        for axis in range(3):
            point[axis] = draw_uniform(state) * tubes.extent[axis]
        calibre = habits.median * math.exp(habits.spread * draw_normal(state))
        calibre = min(max(calibre, habits.least), habits.most)
        calibre = min(calibre, measure_clearance(tubes, point, calibre, np.int64(0), point, point, 0.0))
        if calibre < habits.least:
            continue
        stop = _grow_tree(tubes, habits, state, point, calibre, count, label)
        if stop > count:
            count, label = stop, label + 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _grow_tree(
    tubes: _Tubes,
    habits: _Habits,
    state: np.ndarray,
    seed_point: np.ndarray,
    calibre: float,
    start: Index,
    label: Index,
) -> Index:
    """Grow a trunk to both sides of a point, then its branches and theirs; give the node after its last."""
    way = np.empty(3)
    _draw_direction(state, way)
    if start >= tubes.radius.size:
        return start
    _add_node(tubes, start, seed_point, calibre, np.int64(-1), label)
    stop = _grow_path(tubes, habits, state, start, way, calibre, start + 1)
    for axis in range(3):
        way[axis] = -way[axis]
    stop = _grow_path(tubes, habits, state, start, way, calibre, stop)
    across = min(tubes.extent[0], tubes.extent[1], tubes.extent[2])
    if stop - start < min(_TRUNK_NODES, 0.5 * across / (STEP * calibre)):
        return _take_back(tubes, start, stop)
    node = start
    while node < stop:  # nodes of branches join the queue
        radius = tubes.radius[node]
        if draw_uniform(state) * habits.branch_every < STEP * radius:
            _draw_direction(state, way)
            calibre = max(habits.least, radius * (0.5 + 0.4 * draw_uniform(state)))
            end = _grow_path(tubes, habits, state, node, way, calibre, stop)
            stop = end if end - stop >= _BRANCH_NODES else _take_back(tubes, stop, end)
        node += 1
    return stop


@njit(cache=True, nogil=True, error_model="numpy")
def _grow_path(
    tubes: _Tubes, habits: _Habits, state: np.ndarray, root: Index, way: np.ndarray, calibre: float, stop: Index
) -> Index:
    """Walk from a node to a face of the volume or until nothing fits; `stop` and the result are the next free node."""
    here, point, turned = np.empty(3), np.empty(3), np.empty(3)
    _copy(tubes.position[root], here)
    label, before, swing = tubes.label[root], root, 0.0
    radius = min(calibre, tubes.radius[root])
    exempt = 2.2 * tubes.radius[root]  # around its root a branch may touch its parent
    while stop < tubes.radius.size:
        swing = _MEMORY * swing + math.sqrt(1 - _MEMORY**2) * draw_normal(state)
        wanted = min(calibre * math.exp(habits.varicosity * swing), habits.most, 1.25 * radius)
        enough = max(habits.least, SHRINK * radius)
        room, fraction = -1.0, 1.0
        for attempt in range(_TRIES):
            _turn(state, way, habits.turn * (1 + 0.4 * attempt), turned)
            fraction = _step(tubes.extent, here, turned, STEP * radius, point)
            room = measure_clearance(tubes, point, max(wanted, enough), label, here, tubes.position[root], exempt)
            if room >= enough:
                break
        if room < enough or fraction < 0.02:
            return stop
        radius = min(max(wanted, enough), room)
        _add_node(tubes, stop, point, radius, before, label)
        before, stop = stop, stop + 1
        _copy(point, here)
        _copy(turned, way)
        if fraction < 1.0:
            return stop
    return stop


@njit(cache=True, nogil=True, error_model="numpy")
def measure_clearance(
    tubes: _Tubes, point: np.ndarray, limit: float, label: Index, here: np.ndarray, root: np.ndarray, exempt: float
) -> float:
    """Measure how thick a tube may be at a point (nm) before it touches another; nothing above `limit` is looked for.

    Nodes of the own neurite count when the walk comes closer to them than it is now, unless they lie at the root of its
    branch.
    """
    reach = limit + tubes.thickest[0]
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for axis in range(3):
        low[axis] = max(0, int((point[axis] - reach) / tubes.cell_nm))
        high[axis] = min(tubes.first.shape[axis], int((point[axis] + reach) / tubes.cell_nm) + 1)
    room = limit
    for cz in range(low[0], high[0]):
        for cy in range(low[1], high[1]):
            for cx in range(low[2], high[2]):
                node = tubes.first[cz, cy, cx]
                while node >= 0:
                    away2 = _square_distance(point, tubes.position[node])
                    least = room + tubes.radius[node]
                    if away2 < least * least and (
                        tubes.label[node] != label
                        or (
                            away2 < _square_distance(here, tubes.position[node])
                            and _square_distance(root, tubes.position[node]) > exempt * exempt
                        )
                    ):
                        room = math.sqrt(away2) - tubes.radius[node]
                    node = tubes.following[node]
    return room


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _square_distance(a: np.ndarray, b: np.ndarray) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_direction(state: np.ndarray, way: np.ndarray) -> None:
    for axis in range(3):
        way[axis] = 0.0
    _turn(state, way, 1.0, way)


@njit(cache=True, nogil=True, error_model="numpy")
def _turn(state: np.ndarray, way: np.ndarray, spread: float, turned: np.ndarray) -> None:
    """Add a random vector to a direction and bring it back to length one, into `turned`."""
    square = 0.0
    for axis in range(3):
        turned[axis] = way[axis] + spread * draw_normal(state)
        square += turned[axis] ** 2
    for axis in range(3):
        turned[axis] /= math.sqrt(square)


@njit(cache=True, nogil=True, error_model="numpy")
def _step(extent: np.ndarray, here: np.ndarray, way: np.ndarray, length: float, point: np.ndarray) -> float:
    """Go a step, at most to a face of the volume; give the fraction of the step that was possible."""
    fraction = 1.0
    for axis in range(3):
        goal = here[axis] + length * way[axis]
        if goal < 0.0:
            fraction = min(fraction, here[axis] / (here[axis] - goal))
        elif goal > extent[axis]:
            fraction = min(fraction, (extent[axis] - here[axis]) / (goal - here[axis]))
    for axis in range(3):
        point[axis] = min(max(here[axis] + fraction * length * way[axis], 0.0), extent[axis])
    return fraction


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _copy(source: np.ndarray, target: np.ndarray) -> None:
    for axis in range(3):  # an array assignment would take seconds to compile
        target[axis] = source[axis]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _cell_of(tubes: _Tubes, node: Index) -> tuple[int, int, int]:
    z, y, x = tubes.position[node]
    return int(z / tubes.cell_nm), int(y / tubes.cell_nm), int(x / tubes.cell_nm)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_node(tubes: _Tubes, node: Index, point: np.ndarray, radius: float, parent: Index, label: Index) -> None:
    _copy(point, tubes.position[node])
    tubes.radius[node], tubes.parent[node], tubes.label[node] = radius, parent, label
    tubes.thickest[0] = max(tubes.thickest[0], radius)
    cell = _cell_of(tubes, node)
    tubes.following[node] = tubes.first[cell]
    tubes.first[cell] = node


@njit(cache=True, nogil=True, error_model="numpy")
def _take_back(tubes: _Tubes, start: Index, stop: Index) -> Index:
    """Remove the nodes from `start` on, the last first, so that each cell's list loses its head."""
    for node in range(stop - 1, start - 1, -1):
        tubes.first[_cell_of(tubes, node)] = tubes.following[node]
    return start
