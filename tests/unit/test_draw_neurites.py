"""Rays meet what they should, slopes face outwards, and the view is of the right things."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from array_volume import ArrayVolume

from connectomake.draw.figure import add_axes_in, new_figure
from connectomake.draw.planes import Layer
from connectomake.draw.volume.neurites import (
    Bodies,
    choose_bodies,
    draw_bodies,
    measure_slopes,
    render_bodies,
    walk_rays,
)
from connectomake.geometry import Box, TripleNm

in_memory = partial(ArrayVolume, voxel_size_zyx_nm=(10.0, 10.0, 10.0))


def walk_slowly(labels: np.ndarray, start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The twin of `walk_rays`: tiny steps along all rays at once."""
    ids, depth = np.zeros(len(start), np.int64), np.full(len(start), np.inf)
    for length in np.arange(0, 60, 0.002):
        voxel = np.floor(start + length * direction).astype(int)
        inside = ((voxel >= 0) & (voxel < labels.shape)).all(1) & (ids == 0)
        found = np.zeros(len(start), np.int64)
        found[inside] = labels[tuple(voxel[inside].T)]
        ids[found > 0], depth[found > 0] = found[found > 0], length
    return ids, depth


def sphere(radius: float, size: TripleNm = (1.0, 1.0, 1.0)) -> np.ndarray:
    """A ball of label 1 in the middle of (odd) cube of voxels of this size."""
    half = [int(np.ceil(radius / s)) + 2 for s in size]
    grid = np.meshgrid(*[np.arange(-h, h + 1) * s for h, s in zip(half, size, strict=True)], indexing="ij")
    return (sum(g**2 for g in grid) <= radius**2).astype(np.int64)


@pytest.mark.parametrize("direction", [(0, 0, 1), (-0.4, 0.7, 0.6), (0.5, -0.5, -0.7), (0.01, 1.0, 0.0)])
def test_rays_meet_what_tiny_steps_meet(direction):
    random = np.random.default_rng(3)
    labels = random.integers(1, 9, (7, 9, 11)) * (random.random((7, 9, 11)) < 0.06)
    direction = np.array(direction, float)
    start = random.uniform(1, 6, (120, 3)) - 15 * direction
    ids, depth = walk_rays(labels, start, direction)
    slow_ids, slow_depth = walk_slowly(labels, start, direction)
    clear = ids == slow_ids  # tiny steps jump over corners that a ray only grazes
    assert clear.mean() > 0.97
    assert (ids > 0).sum() > 10
    hit = clear & (ids > 0)
    np.testing.assert_allclose(depth[hit], slow_depth[hit], atol=0.003)
    assert np.isinf(depth[ids == 0]).all()


def test_rays_past_the_volume_meet_nothing():
    labels = np.ones((3, 3, 3), np.int64)
    start = np.array([[1.5, -4.0, 5.0], [1.5, -4.0, 1.5]])
    ids, depth = walk_rays(labels, start, np.array([0.0, 1.0, 0.0]))
    np.testing.assert_array_equal(ids, [0, 1])
    np.testing.assert_allclose(depth, [np.inf, 4.0])


@pytest.mark.parametrize("size", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
def test_slopes_of_a_ball_point_away_from_its_middle(size):
    labels = sphere(15.0, size)
    middle = np.array(labels.shape) / 2
    random = np.random.default_rng(0)
    outwards = random.normal(size=(200, 3))
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    place = middle + 14.5 * outwards / size
    slopes = measure_slopes(labels, place, np.ones(200, np.int64), np.array(size))
    assert np.median((slopes * outwards).sum(1)) > 0.97


def test_slopes_of_nothing_are_none():
    slopes = measure_slopes(np.zeros((4, 4, 4), np.int64), np.full((1, 3), np.inf), np.zeros(1, np.int64), np.ones(3))
    assert not slopes.any()


def test_a_ball_looks_round_whatever_its_voxels():
    for size in ((1.0, 1.0, 1.0), (4.0, 1.0, 1.0)):
        view = render_bodies(Bodies(sphere(16.0, size), size), pixels=120)
        seen = view.image[..., 3] > 0
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.12)
        across = np.ptp(columns) / 120 * view.size_nm
        assert across == pytest.approx(32, rel=0.12)


def test_nearer_bodies_hide_farther_ones():
    labels = np.zeros((20, 20, 20), np.int64)
    labels[:, 2:4] = 1
    labels[:, 16:18] = 2  # towards a viewer at high y
    view = render_bodies(Bodies(labels, (1.0, 1.0, 1.0)), pixels=60, azimuth_deg=0, elevation_deg=0)
    alone = render_bodies(
        Bodies(np.where(labels == 2, 2, 0), (1.0, 1.0, 1.0)), pixels=60, azimuth_deg=0, elevation_deg=0
    )
    np.testing.assert_array_equal(view.image[..., 3], alone.image[..., 3])
    middle = view.image[30, 30, :3].astype(float), alone.image[30, 30, :3].astype(float)
    np.testing.assert_allclose(middle[0] / middle[0].max(), middle[1] / middle[1].max(), atol=0.1)


def test_z_points_up():
    labels = np.zeros((20, 20, 20), np.int64)
    labels[15:] = 1
    view = render_bodies(Bodies(labels, (1.0, 1.0, 1.0)), pixels=60)
    rows = np.flatnonzero((view.image[..., 3] > 0).any(1))
    assert rows.mean() < 30


def test_an_empty_volume_gives_a_clear_picture():
    view = render_bodies(Bodies(np.zeros((5, 6, 7), np.int64), (1.0, 1.0, 1.0)), pixels=40)
    assert not view.image[..., 3].any()
    figure = new_figure(3, 3)
    draw_bodies(add_axes_in(figure, 0, 0, 3, 3), view)
    figure.canvas.draw()


def test_box_edges_have_their_lengths():
    view = render_bodies(
        Bodies(np.ones((4, 5, 6), np.int64), (10.0, 1.0, 1.0)), pixels=20, azimuth_deg=0, elevation_deg=0
    )
    lengths = np.sort(np.linalg.norm(view.edges_nm[:, 0] - view.edges_nm[:, 1], axis=1))
    np.testing.assert_allclose(lengths, [0] * 4 + [6] * 4 + [40] * 4, atol=1e-9)
    assert np.abs(view.edges_nm).max() <= view.size_nm / 2


def test_the_longest_are_chosen_and_the_largest_left_out():
    labels = np.zeros((30, 30, 30), np.uint64)
    labels[:12, :12] = 1  # a soma: 16 % of the volume
    labels[20, 20] = 2  # 30 voxels long
    labels[25, 25, :20] = 3
    labels[28, 28, :3] = 4
    bodies = choose_bodies(Layer(in_memory(labels), (0, 0, 0)), Box.of_shape(labels.shape), objects=2)
    np.testing.assert_array_equal(np.unique(bodies.labels), [0, 2, 3])
    assert bodies.voxel_size_zyx_nm == (10.0, 10.0, 10.0)


def test_a_single_huge_object_is_shown():
    labels = np.full((8, 8, 8), 5, np.uint16)
    bodies = choose_bodies(Layer(in_memory(labels), (0, 0, 0)), Box.of_shape(labels.shape))
    assert (bodies.labels == 5).all()


def test_large_volumes_are_thinned_block_by_block():
    labels = np.broadcast_to(np.arange(600)[:, None, None] // 300 + 1, (600, 8, 9)).astype(np.int32)
    layer = Layer(in_memory(labels, voxel_size_zyx_nm=(4.0, 10.0, 10.0)), (10, 20, 30))
    bodies = choose_bodies(layer, Box((110, 20, 30), (610, 28, 39)))
    assert bodies.labels.shape == (250, 8, 9)
    assert bodies.voxel_size_zyx_nm == (8.0, 10.0, 10.0)
    np.testing.assert_array_equal(bodies.labels, labels[100::2])
