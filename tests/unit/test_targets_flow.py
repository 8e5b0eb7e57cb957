"""Flows against a slow twin; where they lead; which objects are learnt."""

import itertools

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.geometry import Box
from connectomake.targets.flow import CLEARLY, ROUNDS, FlowTarget, flows_of_labels
from connectomake.targets.kinds.flow import FlowConfig

seeds = st.integers(0, 2**32 - 1)
few = settings(deadline=None, max_examples=4)


def blobs(seed, is_2d):
    """Return connected lumps of any shape, numbered, with some that touch."""
    rng = np.random.default_rng(seed)
    noise = rng.random((5, 8, 9))
    labels = np.where(noise < 0.65, 1 + (noise < 0.3), 0)
    return np.pad(labels, ((int(not is_2d),) * 2, (1, 1), (1, 1)))


def objects_of(labels, is_2d):
    """List the voxels of each part of a label that faces connect."""
    if is_2d:
        return [
            [(z, *q) for q in of_part] for z, section in enumerate(labels) for of_part in objects_of_section(section)
        ]
    parts = cc3d.connected_components(labels.astype(np.uint32), connectivity=6)
    return [[tuple(p) for p in np.argwhere(parts == part)] for part in range(1, parts.max() + 1)]


def objects_of_section(section):
    parts = cc3d.connected_components(section.astype(np.uint32), connectivity=4)
    return [[tuple(p) for p in np.argwhere(parts == part)] for part in range(1, parts.max() + 1)]


def define_flows(labels, is_2d):
    """Compute it as the docstring says, object by object, with dictionaries."""
    vectors = np.zeros((3, *labels.shape))
    axes = (1, 2) if is_2d else (0, 1, 2)
    faces = [tuple(sign * (a == axis) for a in range(3)) for axis in axes for sign in (-1, 1)]
    corners = [s for s in itertools.product((0,) if is_2d else (-1, 0, 1), (-1, 0, 1), (-1, 0, 1)) if any(s)]
    for voxels in objects_of(labels, is_2d):
        heat, middles = diffuse(voxels, faces)
        for p in voxels:
            if p not in middles:
                vectors[(slice(None), *p)] = define_vector(heat, p, corners)
    return vectors[1:] if is_2d else vectors


def define_vector(heat, p, corners):
    units = np.array(corners) / np.linalg.norm(corners, axis=1, keepdims=True)
    rise = np.array([heat.get(tuple(np.add(p, step)), 0) - heat[p] for step in corners])
    slope = np.maximum(rise, 0) / np.linalg.norm(corners, axis=1)
    vector = slope @ units
    along = units @ vector
    if max(along[rise <= 0], default=0) > CLEARLY * along[rise > 0].max():
        vector = units[np.argmax(slope)]
    return vector / np.linalg.norm(vector)


def diffuse(voxels, faces):
    centre = np.mean(voxels, axis=0)
    squares = np.round([np.sum((p - centre) ** 2) for p in voxels], 9)
    tied = [p for p, square in zip(voxels, squares, strict=True) if square == squares.min()]
    middles = [p for p in tied if np.abs(np.subtract(p, tied[0])).max() <= 1]
    levels, seen = [middles], set(middles)
    while levels[-1]:
        around = {tuple(np.add(p, face).tolist()) for p in levels[-1] for face in faces}
        levels.append(sorted(around & {tuple(map(int, p)) for p in voxels} - seen))
        seen |= set(levels[-1])
    levels = levels[:-1]
    heat = {p: float(p in middles) for p in voxels}
    for _ in range(ROUNDS):
        for level in [*levels[1:], *levels[-2:0:-1]]:
            heat |= {p: np.mean([heat.get(tuple(np.add(p, face)), 0) for face in faces]) for p in level}
    return heat, middles


@pytest.mark.parametrize("is_2d", [False, True])
@few
@given(seeds)
def test_flows_are_as_defined(is_2d, seed):
    labels = blobs(seed, is_2d)
    vectors, known = flows_of_labels(labels, is_2d=is_2d)
    assert known.all()
    np.testing.assert_allclose(vectors, define_flows(labels, is_2d), atol=1e-5)


@pytest.mark.parametrize("is_2d", [False, True])
@few
@given(seeds)
def test_vectors_have_length_one_but_in_the_middle_and_outside(is_2d, seed):
    labels = blobs(seed, is_2d)
    vectors, _ = flows_of_labels(labels, is_2d=is_2d)
    length = np.linalg.norm(vectors, axis=0)
    np.testing.assert_allclose(length[length > 0], 1, atol=1e-5)
    assert not length[labels == 0].any()
    for voxels in objects_of(labels, is_2d):
        assert 1 <= sum(length[p] == 0 for p in voxels) <= 8


def test_a_ball_flows_straight_to_its_middle():
    grid = np.stack(np.meshgrid(*[np.arange(21)] * 3, indexing="ij")) - 10.0
    radius = np.linalg.norm(grid, axis=0)
    vectors, _ = flows_of_labels((radius < 9).astype(int))
    inside = (radius > 0) & (radius < 9)
    towards = -grid[:, inside] / radius[inside]
    assert (vectors[:, inside] * towards).sum(axis=0).min() > 0.95


def test_a_long_thin_object_flows_along_itself():
    """At its ends heat is 1e-280."""
    labels = np.zeros((1, 5, 1000), int)
    labels[0, 2, 1:-1] = 4
    vectors, known = flows_of_labels(labels, is_2d=True)
    assert known.all()
    assert vectors[1, 0, 2, 1:-1].tolist() == [1] * 498 + [0, 0] + [-1] * 498


def test_parts_of_a_label_have_middles_of_their_own():
    labels = np.zeros((1, 5, 14), int)
    labels[0, 1:4, 1:6] = labels[0, 1:4, 8:13] = 3
    vectors, _ = flows_of_labels(labels, is_2d=True)
    assert [tuple(p) for p in np.argwhere((labels > 0) & ~vectors.any(axis=0))] == [(0, 2, 3), (0, 2, 10)]


def test_objects_that_are_not_seen_whole_are_not_learnt():
    labels = np.zeros((9, 30, 30), int)
    labels[2:5, 2:9, 2:9] = 1
    labels[2:5, 2:9, 12:19] = 2
    labels[3, 5, 19] = -1  # beside object 2
    labels[2:5, 20:30, 2:9] = 3  # goes on beyond the array
    labels[2:9, 20:24, 12:16] = 4  # so does this, but not within any section
    for planes, whole in (("3d", {0, 1}), ("2d", {0, 1, 4})):
        target = FlowTarget(FlowConfig(planes=planes), (8.0,) * 3)
        vectors, mask = target.make(labels, Box.of_shape(labels.shape))
        expected = np.isin(labels, list(whole))
        if planes == "2d":
            expected |= (labels == 2) & (np.arange(9)[:, None, None] != 3)
        np.testing.assert_array_equal(mask, np.repeat(expected[None], len(vectors), axis=0))
        assert not vectors[~mask].any()


def test_context_is_the_extent_of_objects():
    assert FlowTarget(FlowConfig(object_extent_nm=300), (40.0, 8.0, 8.0)).context == ((8, 38, 38),) * 2
    assert FlowTarget(FlowConfig(object_extent_nm=300, planes="2d"), (40.0, 8.0, 8.0)).context == ((0, 38, 38),) * 2
