"""The distance map that stands for labels in a generator."""

import numpy as np
import pytest

from connectomake.synth.distance import distance_map

NM = (30.0, 10.0, 10.0)


def slow_map(labels, nm, distance_nm):
    """Do the same voxel by voxel."""
    inside = labels > 0
    border = np.zeros_like(inside)
    for place in np.argwhere(inside):
        for axis in range(3):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                if 0 <= other[axis] < labels.shape[axis] and labels[tuple(other)] != labels[tuple(place)]:
                    border[tuple(place)] = True
    ends = np.argwhere(border | ~inside)
    result = np.full(labels.shape, -1.0)
    for place in np.argwhere(inside):
        steps = (ends - place) * nm
        nearest = np.sqrt((steps**2).sum(1)).min() if len(ends) else np.inf
        result[tuple(place)] = 0 if border[tuple(place)] else min(nearest / distance_nm, 1)
    return result


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(-1, 3, (2, 2, 2)), np.ones((3, 4, 5), np.int64))
    np.testing.assert_allclose(distance_map(labels, NM, 35.0), slow_map(labels, NM, 35.0), atol=1e-6)


def test_touching_objects_are_told_apart_and_the_ends_are_no_border():
    labels = np.ones((1, 1, 20), np.uint32)
    labels[..., 10:] = 2
    found = distance_map(labels, NM, 40.0)[0, 0]
    assert found[9] == found[10] == 0
    np.testing.assert_allclose(found[:5], 1)
    np.testing.assert_allclose(found[10:15], [0, 0.25, 0.5, 0.75, 1])


def test_one_object_without_a_border_is_deep_everywhere():
    assert (distance_map(np.ones((4, 4, 4), np.uint8), NM, 100.0) == 1).all()


@pytest.mark.parametrize("value", [0, -1])
def test_background_and_unknown_are_outside(value):
    found = distance_map(np.full((3, 3, 3), value, np.int32), NM, 100.0)
    assert found.dtype == np.float32
    assert (found == -1).all()
