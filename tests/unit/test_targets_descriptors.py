"""Descriptors against the weighted statistics they are, voxel by voxel; what cells of several voxels cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.errors import ConfigError
from connectomake.geometry import Box
from connectomake.targets.descriptors import DescriptorTarget
from connectomake.targets.kinds.descriptors import DescriptorsConfig

PARTS = ("offset", "variance", "correlation", "size")


def define_descriptors(labels, p, sigma_vx):
    """Return the ten values of a voxel from all voxels of its object within 3 sd along each axis."""
    u = (np.argwhere(labels > -9) - p) / sigma_vx
    near = (np.abs(u) <= 3 + 1e-9).all(axis=1)
    weights = np.exp(-(u**2).sum(axis=1) / 2) * near
    # the Gaussian sums to 1 over the whole lattice, cut as it is
    total = np.prod([np.exp(-((np.arange(-int(3 * s), int(3 * s) + 1) / s) ** 2) / 2).sum() for s in sigma_vx])
    weights *= labels.ravel() == labels[tuple(p)]
    size = weights.sum() / total
    mean = weights @ u / weights.sum()
    covariance = (weights[:, None] * u).T @ u / weights.sum() - np.outer(mean, mean)
    variance = np.maximum(np.diag(covariance), 1e-3)
    pairs = ([0, 0, 1], [1, 2, 2])
    correlation = covariance[pairs] / np.sqrt(variance[pairs[0]] * variance[pairs[1]])
    return np.clip(np.concatenate([(mean + 1) / 2, variance, (correlation + 1) / 2, [size]]), 0, 1)


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**32 - 1))
def test_descriptors_are_as_defined(seed):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 3, (7, 6, 6)), np.ones((2, 3, 4), int))
    size_nm = (20.0, 10.0, 8.0)
    target = DescriptorTarget(DescriptorsConfig(sigma_nm=16), size_nm)
    assert target.context == ((2, 4, 6),) * 2
    patch = Box((5, 6, 8), (9, 12, 16))
    values, mask = target.make(labels, patch)
    assert mask.all()
    for p in rng.integers(0, patch.shape_zyx, (20, 3)):
        at = p + patch.start_zyx
        expected = define_descriptors(labels, at, 16 / np.array(size_nm)) if labels[tuple(at)] else np.zeros(10)
        np.testing.assert_allclose(values[(slice(None), *p)], expected, atol=2e-5)


def test_an_object_cut_off_by_the_unknown_is_not_learnt():
    labels = np.ones((1, 1, 30), int)
    labels[0, 0, 20:] = 0
    labels[0, 0, 3] = labels[0, 0, 27] = -1
    target = DescriptorTarget(DescriptorsConfig(sigma_nm=8), (100.0, 100.0, 8.0))
    values, mask = target.make(labels, Box.of_shape(labels.shape))
    known = [False] * 7 + [True] * 13 + [x != 27 for x in range(20, 30)]
    assert mask.tolist() == [[[known]]] * 10
    assert not values[:, 0, 0, 20:].any()


def test_a_plain_object_has_the_middle_values():
    target = DescriptorTarget(DescriptorsConfig(sigma_nm=32), (8.0,) * 3)
    values, mask = target.make(np.ones((27, 27, 27), int), Box((12,) * 3, (15,) * 3))
    assert mask.all()
    np.testing.assert_allclose(values[:3], 0.5, atol=1e-5)
    np.testing.assert_allclose(values[3:6], 0.97, atol=0.02)  # that of a Gaussian cut at 3 sd
    np.testing.assert_allclose(values[6:9], 0.5, atol=1e-5)
    np.testing.assert_allclose(values[9], 1, atol=1e-5)


def test_cells_of_several_voxels_give_nearly_the_same():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 3, (6, 6, 6)), np.ones((9, 9, 9), int))
    coarse, fine = (DescriptorTarget(DescriptorsConfig(sigma_nm=48), (8.0,) * 3) for _ in range(2))
    assert coarse.cell_zyx == (2, 2, 2)
    fine._divide((6.0,) * 3, (1, 1, 1))
    patch = Box((24,) * 3, (31,) * 3)
    inside = labels[patch.slices] > 0
    made, mask = coarse.make(labels, patch)
    assert mask.all()
    for a, b in zip(made, fine.make(labels, patch)[0], strict=True):
        difference = np.abs(a - b)[inside]
        assert difference.mean() < 0.015
        assert difference.max() < 0.04


def test_patches_in_the_same_place_of_a_cell_agree_exactly():
    labels = np.kron(np.random.default_rng(1).integers(0, 3, (6, 6, 6)), np.ones((9, 9, 9), int))
    target = DescriptorTarget(DescriptorsConfig(sigma_nm=48), (8.0,) * 3)
    large, small = Box((22,) * 3, (32,) * 3), Box((24, 22, 26), (30, 30, 32))
    values, mask = target.make(labels, large)
    inside = small.within(large).slices
    np.testing.assert_array_equal(target.make(labels, small)[0], values[(slice(None), *inside)])
    np.testing.assert_array_equal(target.make(labels, small)[1], mask[(slice(None), *inside)])


@pytest.mark.parametrize("parts", [("size",), ("correlation", "offset"), PARTS])
def test_parts_are_chosen_by_name(parts):
    labels = np.kron(np.random.default_rng(2).integers(0, 3, (6, 6, 6)), np.ones((3, 3, 3), int))
    patch = Box((6,) * 3, (12,) * 3)
    everything, chosen = DescriptorsConfig(sigma_nm=16), DescriptorsConfig(sigma_nm=16, parts=parts)
    of_all = dict(
        zip(
            [c.name for c in everything.channels],
            DescriptorTarget(everything, (8.0,) * 3).make(labels, patch)[0],
            strict=True,
        )
    )
    values, _ = DescriptorTarget(chosen, (8.0,) * 3).make(labels, patch)
    for channel, of_channel in zip(chosen.channels, values, strict=True):
        np.testing.assert_array_equal(of_channel, of_all[channel.name])


def test_an_sd_of_too_many_voxels_is_refused():
    with pytest.raises(ConfigError, match="at most some 96 nm; got 300 nm"):
        DescriptorTarget(DescriptorsConfig(sigma_nm=300), (40.0, 4.0, 4.0))
