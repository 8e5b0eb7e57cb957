"""Every kernel of the phantom against a slow twin in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.distance import cdist

from connectomake.config.settings.phantom import NeuriteConfig, OrganelleConfig, PhantomConfig
from connectomake.phantom import neurites as growth
from connectomake.phantom.fields import TILE, displace_slab, make_grain, make_lattice, sample_lattice
from connectomake.phantom.neurites import Neurites, grow_neurites
from connectomake.phantom.organelles import paint_slab, place_organelles
from connectomake.phantom.randomness import draw_normal, draw_uniform, scramble
from connectomake.phantom.rasterise import fill_slab, make_scene
from connectomake.phantom.texture import draw_noise, draw_shades, make_look, shade_slab

SHAPE = (20, 40, 44)
CFG = PhantomConfig(
    shape_zyx=SHAPE,
    voxel_size_zyx_nm=(14, 8, 8),
    neurites=NeuriteConfig(radius_nm=42, radius_range_nm=(37, 80)),
    organelles=OrganelleConfig(
        mitochondrion_every_nm=200,
        mitochondrion_radius_nm=(20, 50),
        mitochondrion_length_nm=(60, 200),
        vesicles_every_nm=200,
        vesicle_count=(3, 8),
        reticulum_every_nm=400,
    ),
)
SEED = 11
ALL = 2**64 - 1


@pytest.fixture(scope="module")
def neurites() -> Neurites:
    return grow_neurites(CFG, SEED)


@pytest.fixture(scope="module")
def places() -> np.ndarray:
    return slow_displace()


def slow_scramble(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & ALL
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & ALL
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & ALL
    return value ^ (value >> 31)


def slow_displace() -> np.ndarray:
    """Place every voxel by scipy's linear interpolation: (Z, Y, X, 3) nm."""
    lattice = make_lattice(CFG, SEED)
    index = np.indices(SHAPE).astype(float)
    at = [plane / spacing for plane, spacing in zip(index, lattice.spacing_vx, strict=True)]
    push = np.stack([map_coordinates(lattice.values[..., c], at, order=1) for c in range(3)], axis=-1)
    return np.moveaxis(index, 0, -1) * CFG.voxel_size_zyx_nm + push


def slow_fill(neurites: Neurites, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare every voxel with every node: labels, darkness, and the lead of the first neurite over the second (nm)."""
    flat = places.reshape(-1, 3)
    score = cdist(flat, neurites.position_nm) - neurites.radius_nm
    first = score.argmin(axis=1)
    label = neurites.label[first]
    score_of_others = np.where(neurites.label[None] == label[:, None], np.inf, score)
    second, row = score_of_others.argmin(axis=1), np.arange(len(flat))
    gap = score_of_others[row, second] - score[row, first]
    ways = [neurites.position_nm[node] - flat for node in (first, second)]
    near, far = (way / np.maximum(1e-3, np.linalg.norm(way, axis=1, keepdims=True)) for way in ways)
    across = far - near
    slope = np.maximum(0.5, np.linalg.norm(across, axis=1))
    spread, section = CFG.image.membrane_width_nm / 2.355, CFG.voxel_size_zyx_nm[0]
    variance = spread**2 + (section * across[:, 0] / slope) ** 2 / 12
    dark = 255 * spread / np.sqrt(variance) * np.exp(-0.5 * (gap / slope) ** 2 / variance)
    dark[gap >= 6 * np.sqrt(spread**2 + section**2 / 12)] = 0
    return label.reshape(SHAPE), dark.reshape(SHAPE), gap.reshape(SHAPE)


def test_random_numbers_are_splitmix64() -> None:
    for value in (0, 1, 12345, ALL):
        assert int(scramble(np.uint64(value))) == slow_scramble(value)
    state, expected = np.array([42], np.uint64), 42
    for _ in range(5):
        expected = (expected + 0x9E3779B97F4A7C15) & ALL
        assert draw_uniform(state) == (slow_scramble(expected) >> 11) / 2**53
    drawn = np.array([draw_normal(state) for _ in range(4000)])
    assert abs(drawn.mean()) < 0.06
    assert drawn.std() == pytest.approx(1, abs=0.05)


def test_noise_is_the_sum_of_four_numbers() -> None:
    for place in (0, 7, 10**9):
        bits = slow_scramble(99 + place)
        total = sum(bits >> shift & 0xFFFF for shift in (0, 16, 32, 48))
        assert draw_noise(99, place) == pytest.approx((total - 131070) / 37837.2)
    drawn = np.array([draw_noise(3, place) for place in range(5000)])
    assert abs(drawn.mean()) < 0.06
    assert drawn.std() == pytest.approx(1, abs=0.05)


def test_clearance_against_all_pairs() -> None:
    rng = np.random.default_rng(0)
    tubes = growth._empty_tubes(np.full(3, 1000.0), 90.0, 200)
    position, radius, label = rng.uniform(0, 1000, (200, 3)), rng.uniform(20, 120, 200), np.repeat(np.arange(1, 5), 50)
    for node in range(200):
        growth._add_node(tubes, node, position[node], radius[node], np.int64(-1), label[node])
    for _ in range(100):
        point, here, root = rng.uniform(0, 1000, (3, 3))
        limit, exempt, mine = rng.uniform(10, 300), 150.0, np.int64(2)
        away = np.linalg.norm(position - point, axis=1)
        closer = away < np.linalg.norm(position - here, axis=1)
        own_counts = closer & (np.linalg.norm(position - root, axis=1) > exempt)
        expected = min(limit, (away - radius)[(label != mine) | own_counts].min())
        assert growth.measure_clearance(tubes, point, limit, mine, here, root, exempt) == pytest.approx(expected)


def test_taking_nodes_back_leaves_no_trace() -> None:
    tubes = growth._empty_tubes(np.full(3, 300.0), 90.0, 40)
    points = np.random.default_rng(1).uniform(0, 300, (40, 3))
    for node in range(25):
        growth._add_node(tubes, node, points[node], 10.0, np.int64(-1), np.int64(1))
    before = tubes.first.copy()
    for node in range(25, 40):
        growth._add_node(tubes, node, points[node], 10.0, np.int64(-1), np.int64(2))
    assert growth._take_back(tubes, np.int64(25), np.int64(40)) == 25
    np.testing.assert_array_equal(tubes.first, before)


def test_tubes_of_two_neurites_never_overlap_and_steps_are_short() -> None:
    tree = grow_neurites(PhantomConfig(shape_zyx=(80, 80, 80)), 3)
    apart = cdist(tree.position_nm, tree.position_nm) - tree.radius_nm - tree.radius_nm[:, None]
    assert apart[tree.label[:, None] != tree.label[None]].min() > -1e-6
    a, b = tree.edges.T
    step = np.linalg.norm(tree.position_nm[a] - tree.position_nm[b], axis=1)
    assert (step <= 0.5 * np.minimum(tree.radius_nm[a], tree.radius_nm[b]) + 1e-6).all()
    assert tree.radius_nm.min() >= 44
    assert tree.radius_nm.max() <= 300
    assert (np.diff(tree.label) >= 0).all()


def test_lattice_and_displacement_against_scipy(places: np.ndarray) -> None:
    lattice = make_lattice(CFG, SEED)
    found = np.empty((SHAPE[0] - 3, *SHAPE[1:], 3), np.float32)
    displace_slab(lattice, np.array(CFG.voxel_size_zyx_nm), 3, found)
    np.testing.assert_allclose(found, places[3:], atol=1e-3)
    at = [[v / s] for v, s in zip((9, 21, 33), lattice.spacing_vx, strict=True)]
    expected = [map_coordinates(lattice.values[..., c], at, order=1)[0] for c in range(4)]
    np.testing.assert_allclose(sample_lattice(lattice, 9, 21, 33), expected, rtol=1e-4, atol=1e-4)
    plain = np.moveaxis(np.indices(SHAPE), 0, -1) * CFG.voxel_size_zyx_nm
    moved = np.linalg.norm(places - plain, axis=-1)
    assert moved.max() <= CFG.neurites.roughness_nm
    assert moved.mean() > 0.2 * CFG.neurites.roughness_nm


@pytest.mark.parametrize("cuts", [(20,), (4, 8, 20)])
def test_fill_against_all_pairs(neurites: Neurites, places: np.ndarray, cuts: tuple[int, ...]) -> None:
    scene = make_scene(neurites, CFG)
    labels, darkness = np.zeros(SHAPE, np.uint32), np.zeros(SHAPE, np.uint8)
    block, start = scene.block[0], 0
    for cut in cuts:
        stop = min(SHAPE[0], -(-cut // block) * block)
        fill_slab(scene, places[start:stop].astype(np.float32), start, stop, labels, darkness)
        start = stop
    expected, dark, gap = slow_fill(neurites, places)
    certain = gap > 1e-2
    np.testing.assert_array_equal(labels[certain], expected[certain])
    assert np.abs(darkness - dark)[certain].max() < 3
    assert certain.mean() > 0.999
    assert len(np.unique(labels)) > 5


def test_organelles_against_every_ball_at_every_voxel(neurites: Neurites, places: np.ndarray) -> None:
    scene, balls = make_scene(neurites, CFG), place_organelles(neurites, CFG, SEED)
    assert set(np.unique(balls.kind)) == {1, 2, 3}
    labels = slow_fill(neurites, places)[0].astype(np.uint32)
    darkness, tone, found = (np.zeros(SHAPE, np.uint8) for _ in range(3))
    for start, stop in ((0, 7), (7, 20)):
        paint_slab(
            balls, scene, places[start:stop].astype(np.float32), (98.0, 0.0), start, stop, labels, darkness, tone, found
        )
    spread = 0.8 * CFG.image.membrane_width_nm / 2.355
    dark, kinds = np.zeros(SHAPE), np.zeros(SHAPE, int)
    depth = balls.radius - np.linalg.norm(places[..., None, :] - balls.position, axis=-1)
    for ball in range(len(balls.radius)):
        wins = labels == balls.label[ball]
        for other, beats in ((balls.before[ball], np.greater), (balls.after[ball], np.greater_equal)):
            if other != ball:
                wins &= ~beats(depth[..., other], depth[..., ball])
        here = depth[..., ball]
        rim = np.where(wins & (np.abs(here) < 2.5 * spread), 255 * 0.75 * np.exp(-0.5 * (here / spread) ** 2), 0)
        dark = np.maximum(dark, rim)
        kinds[(kinds == 0) & wins & (here > 0)] = balls.kind[ball] if balls.kind[ball] < 3 else 0
    assert (np.abs(darkness - dark) < 2).mean() > 0.9999
    assert (found == kinds).mean() > 0.9999
    assert (tone[found == 1] > 0).all()
    assert set(np.unique(found)) == {0, 1, 2}


def test_shading_against_numpy() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 6, SHAPE).astype(np.uint32)
    darkness = rng.integers(0, 256, SHAPE).astype(np.uint8)
    tone = np.where(rng.random(SHAPE) < 0.3, 98, 0).astype(np.uint8)
    lattice, grain = make_lattice(CFG, SEED), make_grain(CFG, SEED)
    look, shades = make_look(CFG.image, SEED), draw_shades(CFG.image, 5, SEED)
    raw = tone.copy()
    for start, stop in ((0, 5), (5, 20)):
        shade_slab(look, lattice, grain, shades, start, stop, labels, darkness, raw)

    index = np.indices(SHAPE)
    turn = np.array([slow_scramble(k) for k in range(6)], np.uint64)[labels]
    offset = [(turn >> np.uint64(shift)).astype(np.int64) for shift in (0, 8, 16)]
    speck = grain[tuple((plane + by) % TILE for plane, by in zip(index, offset, strict=True))]
    at = [plane / spacing for plane, spacing in zip(index, lattice.spacing_vx, strict=True)]
    slow = map_coordinates(lattice.values[..., 3], at, order=1)
    grey = np.where(tone > 0, tone + 0.8 * look.texture * speck, shades[labels] + look.texture * speck + 4 * slow)
    depth = darkness / 255 * (1 - look.variation * np.clip(0.5 + 0.35 * slow, 0, 1))
    grey = grey + depth * (look.membrane - grey)
    bits = [slow_scramble((look.seed + place) & ALL) for place in range(raw.size)]
    noise = (np.array([sum(b >> s & 0xFFFF for s in (0, 16, 32, 48)) for b in bits]) - 131070) / 37837.2
    grey = grey + look.noise * np.sqrt(np.maximum(grey, 0) / 128) * noise.reshape(SHAPE)
    expected = np.clip(grey + 0.5, 1, 255).astype(np.uint8)
    assert (raw == expected).mean() > 0.999
    assert np.abs(raw.astype(int) - expected).max() <= 1


def test_grain_repeats_without_a_seam() -> None:
    grain = make_grain(CFG, SEED)
    inside, seam = np.abs(np.diff(grain, axis=2)).mean(), np.abs(grain[..., 0] - grain[..., -1]).mean()
    assert seam == pytest.approx(inside, rel=0.1)
    assert grain.std() == pytest.approx(1, abs=1e-3)
