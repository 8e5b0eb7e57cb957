"""Distances against a definition that looks at all pairs of voxels; what is known of them; skeletons."""

import builtins

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from connectomake.errors import MissingPackageError
from connectomake.geometry import Box
from connectomake.targets.distance import REACH, DistanceTarget, border_distances
from connectomake.targets.kinds.distance import DistanceConfig
from connectomake.targets.skeleton_distance import distance_to_skeletons

SIZE_NM = (20.0, 10.0, 8.0)
seeds = st.integers(0, 2**32 - 1)


def some_labels(seed, unknown=0.01):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 3, (3, 3, 3)), np.ones((3, 3, 4), int))
    return np.where(rng.random(labels.shape) < unknown, -1, labels)


def define_distances(labels, is_2d):
    """Return the distance to the nearest known other label, and to the nearest that is unknown, in nm."""
    padded = np.pad(labels, 1, constant_values=-1)
    voxels = np.argwhere(padded > -9)
    of_voxel = padded[tuple(voxels.T)]
    between = cdist(voxels * np.array(SIZE_NM), voxels * np.array(SIZE_NM))
    if is_2d:
        between[voxels[:, :1] != voxels[:, 0]] = np.inf
    inside = (slice(1, -1),) * 3
    other = np.where((of_voxel[:, None] != of_voxel) & (of_voxel != -1), between, np.inf).min(axis=1)
    unknown = np.where(of_voxel == -1, between, np.inf).min(axis=1)
    return other.reshape(padded.shape)[inside], unknown.reshape(padded.shape)[inside]


@pytest.mark.parametrize("is_2d", [False, True])
@pytest.mark.parametrize("unknown", [0, 0.01])
@settings(deadline=None, max_examples=4)
@given(seeds)
def test_distances_are_as_defined(is_2d, unknown, seed):
    labels = some_labels(seed, unknown)
    distance, sure = border_distances(labels, SIZE_NM, is_2d)
    other, to_unknown = define_distances(labels, is_2d)
    known = labels != -1
    np.testing.assert_allclose(distance[known], np.minimum(other, to_unknown)[known], rtol=1e-6)
    np.testing.assert_array_equal(sure[known], (other < to_unknown * (1 - 1e-6))[known])


@pytest.mark.parametrize("planes", ["3d", "2d"])
@pytest.mark.parametrize("kind", ["signed", "semantic"])
@settings(deadline=None, max_examples=4)
@given(seeds)
def test_signed_values_are_as_defined(planes, kind, seed):
    labels = some_labels(seed)
    cfg = DistanceConfig(kind=kind, planes=planes, scale_inside_nm=9, scale_outside_nm=6)
    values, mask = DistanceTarget(cfg, SIZE_NM).make(labels, Box.of_shape(labels.shape))
    other, to_unknown = define_distances(np.minimum(labels, 1) if kind == "semantic" else labels, planes == "2d")
    scale = np.where(labels > 0, 9, 6)
    seen = np.minimum(other, to_unknown)
    known = (labels != -1) & ((other < to_unknown * (1 - 1e-6)) | (seen >= REACH * scale))
    np.testing.assert_array_equal(mask[0], known)
    expected = np.where(labels > 0, 1, -1) * np.tanh(np.minimum(seen / scale, REACH))
    np.testing.assert_allclose(values[0], np.where(known, expected, 0), atol=1e-6)


@pytest.mark.parametrize("planes", ["3d", "2d"])
@settings(deadline=None, max_examples=4)
@given(seeds)
def test_instance_values_are_shares_of_the_deepest(planes, seed):
    labels = some_labels(seed)
    values, mask = DistanceTarget(DistanceConfig(planes=planes), SIZE_NM).make(labels, Box.of_shape(labels.shape))
    other, to_unknown = define_distances(labels, planes == "2d")
    seen = np.minimum(other, to_unknown)
    sections = [slice(z, z + 1) for z in range(len(labels))] if planes == "2d" else [slice(None)]
    expected = np.where(labels == 0, -1.0, 0)
    for section in sections:
        for label in set(np.unique(labels[section])) - {0, -1}:
            of_label = labels[section] == label
            expected[section][of_label] = seen[section][of_label] / seen[section][of_label].max()
    known = (labels == 0) | (labels > 0) & (other < to_unknown * (1 - 1e-6))
    np.testing.assert_array_equal(mask[0], known)
    np.testing.assert_allclose(values[0], np.where(known, expected, 0), rtol=1e-5)


def test_an_object_cut_by_the_patch_has_no_border_there():
    labels = np.zeros((9, 9, 40), int)
    labels[2:7, 2:7, 3:] = 1
    values, mask = DistanceTarget(DistanceConfig(kind="signed"), (8.0,) * 3).make(labels, Box((0, 0, 30), (9, 9, 40)))
    middle = values[0, 4, 4]
    assert (middle[mask[0, 4, 4]] == middle[0]).all()
    assert mask[0, 4, 4].tolist() == [True] * 7 + [False] * 3  # 3 voxels to the border; in the last ones it may be less


def test_context_covers_three_scales():
    size = (40.0, 8.0, 8.0)
    assert DistanceTarget(DistanceConfig(kind="signed", scale_inside_nm=80), size).context == ((6, 30, 30),) * 2
    assert DistanceTarget(DistanceConfig(scale_inside_nm=80, planes="2d"), size).context == ((0, 30, 30),) * 2
    assert DistanceTarget(DistanceConfig(kind="semantic", scale_outside_nm=99), size).context == ((8, 38, 38),) * 2


def thin_and_thick(is_2d=False):
    """Return a bar that is thin on one side and thick on the other, and a voxel by itself."""
    labels = np.zeros((13, 20, 60), int)
    labels[5:8, 8:11, 2:30] = labels[2:11, 4:15, 30:58] = 7
    labels[1, 1, 1] = 3
    return labels


@pytest.mark.parametrize("planes", ["3d", "2d"])
def test_skeleton_values_are_high_where_objects_are_thin_too(planes):
    pytest.importorskip("kimimaro")
    labels = thin_and_thick()
    size = (8.0, 8.0, 8.0)
    target = DistanceTarget(DistanceConfig(kind="skeleton", planes=planes), size)
    values, mask = target.make(labels, Box.of_shape(labels.shape))
    is_2d = planes == "2d"
    to_skeleton, (depth, _) = distance_to_skeletons(labels, size, is_2d), border_distances(labels, size, is_2d)
    inside = labels > 0
    np.testing.assert_allclose(values[0][inside & mask[0]], ((depth / (depth + to_skeleton)) ** 0.8)[inside & mask[0]])
    assert (values[0][labels == 0] == -1).all()
    assert (values[0][(to_skeleton == 0) & inside & mask[0]] == 1).all()
    highest = values[0].max(axis=(0, 1))
    assert (highest[10:50] == 1).all()  # as high in the thin part as in the thick one
    by_depth = DistanceTarget(DistanceConfig(planes=planes), size).make(labels, Box.of_shape(labels.shape))[0][0]
    assert by_depth[:, :, 5:25].max() < 0.5
    assert values[0, 1, 1, 1] == (1 if mask[0, 1, 1, 1] else 0)
    border = inside & (depth == 8)
    assert values[0][border & (to_skeleton > 30)].max() < 0.3


def test_distances_to_skeletons_are_to_those_of_the_own_object():
    pytest.importorskip("kimimaro")
    labels = np.zeros((9, 20, 40), int)
    labels[:, :4], labels[:, 4:] = 1, 2
    both = distance_to_skeletons(labels, SIZE_NM)
    for label in (1, 2):
        alone = distance_to_skeletons(np.where(labels == label, 5, 0), SIZE_NM)
        np.testing.assert_array_equal(both[labels == label], alone[labels == label])
    assert not distance_to_skeletons(np.zeros((3, 3, 3), int), SIZE_NM).any()


def test_without_kimimaro_the_kind_is_refused(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "kimimaro":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match="skeleton needs kimimaro"):
        distance_to_skeletons(thin_and_thick(), SIZE_NM)
