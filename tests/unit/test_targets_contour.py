"""Contours against their definition, voxel by voxel."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.geometry import Box
from connectomake.targets.contour import ContourTarget
from connectomake.targets.kinds.contour import ContourConfig

NM = (8.0, 8.0, 8.0)


def define_contours(labels, cfg):
    values, mask = np.zeros(labels.shape, int), np.zeros(labels.shape, bool)
    reach = (0 if cfg.planes == "2d" else cfg.thickness_vx, cfg.thickness_vx, cfg.thickness_vx)
    for p in np.ndindex(labels.shape):
        own, around = labels[p], set()
        for step in itertools.product(*(range(-r, r + 1) for r in reach)):
            q = tuple(np.add(p, step))
            around.add(int(labels[q]) if all(0 <= i < n for i, n in zip(q, labels.shape, strict=True)) else -1)
        others = around - {own, -1} - ({0} if cfg.between == "objects" else set())
        in_background = cfg.between == "objects" and own == 0
        values[p] = own != -1 and bool(others) and not in_background
        mask[p] = own != -1 and (values[p] or -1 not in around or in_background)
    return values, mask


@pytest.mark.parametrize("between", ["all", "objects"])
@pytest.mark.parametrize("planes", ["2d", "3d"])
@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2]))
def test_contours_are_as_defined(between, planes, seed, thickness):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 4, (2, 2, 3)), np.ones((3, 4, 3), int)) * 2**60  # ids beyond any smaller type
    labels = np.where(rng.random(labels.shape) < 0.02, -1, labels)
    cfg = ContourConfig(between=between, planes=planes, thickness_vx=thickness)
    values, mask = ContourTarget(cfg, NM).make(labels, Box.of_shape(labels.shape))
    expected, known = define_contours(labels, cfg)
    np.testing.assert_array_equal(values[0], expected)
    np.testing.assert_array_equal(mask[0], known)


def row(labels, **settings_of):
    values, mask = ContourTarget(ContourConfig(planes="2d", **settings_of), NM).make(
        np.array(labels)[None, None].repeat(9, axis=1), Box((0, 4, 0), (1, 5, len(labels)))
    )
    return "".join("?" if not known else "-X"[value] for value, known in zip(values.ravel(), mask.ravel(), strict=True))


def test_a_contour_has_two_sides_and_the_patch_has_none():
    assert row([1, 1, 1, 2, 2, 2, 0, 0, 0]) == "?-XX-XX-?"
    assert row([1, 1, 1, 2, 2, 2, 0, 0, 0], between="objects") == "?-XX-----"
    assert row([1, 1, 1, 2, 2, 2, 2, 2, 2], thickness_vx=2) == "?XXXX--??"
    assert row([1, 1, 1, 1, -1, 2, 2, 2, 2]) == "?--???--?"


def test_context_is_the_thickness():
    assert ContourTarget(ContourConfig(thickness_vx=3), NM).context == ((3, 3, 3), (3, 3, 3))
    assert ContourTarget(ContourConfig(thickness_vx=3, planes="2d"), NM).context == ((0, 3, 3), (0, 3, 3))
