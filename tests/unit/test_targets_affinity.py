"""Affinities against a definition written out voxel by voxel; erosion; the two conventions."""

import itertools

import numpy as np
import pytest

from connectomake.channels import name_offset
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.decode.channels import to_destination, to_source
from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.targets.affinity import AffinityTarget, affinities_of_labels
from connectomake.targets.binary import BinaryTarget
from connectomake.targets.erosion import erode_labels
from connectomake.targets.kinds.affinity import AffinityConfig
from connectomake.targets.kinds.binary import BinaryConfig
from connectomake.targets.registry import Targets

NM = (8.0, 8.0, 8.0)
OFFSETS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, -2, 3), (4, 0, 0), (9, 0, 0)]


def define_affinities(labels, offsets):
    """Compute it as the docstring says."""
    values = np.zeros((len(offsets), *labels.shape), np.uint8)
    mask = np.zeros(values.shape, bool)
    for c, p in itertools.product(range(len(offsets)), np.ndindex(labels.shape)):
        q = tuple(np.add(p, offsets[c]))
        if all(0 <= i < n for i, n in zip(q, labels.shape, strict=True)) and -1 not in (labels[p], labels[q]):
            mask[(c, *p)] = True
            values[(c, *p)] = labels[p] == labels[q] != 0
    return values, mask


def some_labels(seed=0, shape=(6, 7, 8), low=-1):
    return np.random.default_rng(seed).integers(low, 3, shape)


@pytest.mark.parametrize("seed", range(3))
def test_affinities_are_as_defined(seed):
    labels = some_labels(seed)
    values, mask = affinities_of_labels(labels, OFFSETS)
    expected_values, expected_mask = define_affinities(labels, OFFSETS)
    np.testing.assert_array_equal(mask, expected_mask)
    np.testing.assert_array_equal(values, expected_values)
    assert values.dtype == np.uint8
    assert mask.dtype == bool


def test_box_is_a_part_of_the_whole():
    labels = some_labels(3)
    box = Box((1, 2, 0), (5, 6, 7))
    for whole, part in zip(
        affinities_of_labels(labels, OFFSETS), affinities_of_labels(labels, OFFSETS, box), strict=True
    ):
        np.testing.assert_array_equal(part, whole[(slice(None), *box.slices)])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int32])
def test_every_integer_type_gives_the_same(dtype):
    labels = some_labels(low=0)
    values, mask = affinities_of_labels(labels.astype(dtype), OFFSETS)
    np.testing.assert_array_equal(values, affinities_of_labels(labels, OFFSETS)[0])
    np.testing.assert_array_equal(mask, affinities_of_labels(labels, OFFSETS)[1])


def test_large_labels_stay_apart():
    labels = np.array([[[2**53, 2**53 + 1, 2**53 + 1]]], np.uint64)
    assert affinities_of_labels(labels, [(0, 0, 1)])[0].tolist() == [[[[0, 1, 0]]]]


@pytest.mark.parametrize("labels", [np.zeros((3, 3), int), np.zeros((3, 3, 3), float)])
def test_what_is_no_labels_is_refused(labels):
    with pytest.raises(DataError, match="integer array"):
        affinities_of_labels(labels, OFFSETS)


def test_conventions_store_one_edge_at_its_two_ends():
    labels = some_labels(4, low=0)
    source, _ = affinities_of_labels(labels, OFFSETS)
    destination = to_destination(source, OFFSETS)
    for c, p in itertools.product(range(len(OFFSETS)), np.ndindex(labels.shape)):
        start = tuple(np.subtract(p, OFFSETS[c]))
        inside = all(0 <= i < n for i, n in zip(start, labels.shape, strict=True))
        assert destination[(c, *p)] == (source[(c, *start)] if inside else 0)
    np.testing.assert_array_equal(to_source(destination, OFFSETS), source)


def define_erosion(labels, rounds):
    """Compute it as the docstring says, voxel by voxel."""
    eroded = labels.copy()
    for done in range(max(rounds)):
        before = eroded.copy()
        for p in np.ndindex(labels.shape):
            around = []
            for axis, step in itertools.product(range(3), (-1, 1)):
                q = list(p)
                q[axis] += step
                if done < rounds[axis]:
                    around.append(before[tuple(q)] if 0 <= q[axis] < labels.shape[axis] else -1)
            if before[p] > 0 and {*around} - {-1, before[p]}:
                eroded[p] = 0
            elif before[p] > 0 and -1 in around:
                eroded[p] = -1
    return eroded


@pytest.mark.parametrize("rounds", [(1, 1, 1), (0, 2, 2), (3, 0, 1)])
def test_erosion_is_as_defined(rounds):
    labels = np.kron(some_labels(5, (2, 2, 3)), np.ones((5, 5, 4), int))
    before = labels.copy()
    eroded = erode_labels(labels, rounds)
    np.testing.assert_array_equal(eroded, define_erosion(labels, rounds))
    np.testing.assert_array_equal(labels, before)
    assert (eroded != labels).any()
    assert ((eroded == labels) | (eroded <= 0)).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rounds", [(1, 1, 1), (0, 2, 1)])
def test_nothing_unknown_can_change_what_erosion_calls_known(seed, rounds):
    """Whatever stands in place of -1, and beyond the array, what is known stays as it is."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 3, (3, 4, 4)), np.ones((4, 4, 4), int))
    labels = np.where(rng.random(truth.shape) < 0.01, -1, truth)
    inner = (slice(3, -3),) * 3
    eroded = erode_labels(labels[inner], rounds)
    other = np.where(labels == -1, rng.integers(0, 3, truth.shape), truth)
    known = eroded != -1
    np.testing.assert_array_equal(eroded[known], erode_labels(other, rounds)[inner][known])
    assert known.mean() > 0.3


@pytest.mark.parametrize("rounds", [(0, 0, 0), (1, 2, 0)])
def test_foreground_is_what_erosion_leaves(rounds):
    labels = np.kron(some_labels(8, (3, 3, 3)), np.ones((5, 5, 4), int))
    patch = Box((2, 3, 0), (9, 11, 12))
    target = BinaryTarget(BinaryConfig(erosion_zyx_vx=rounds), NM)
    values, mask = target.make(labels, patch)
    eroded = define_erosion(labels, rounds)[patch.slices]
    np.testing.assert_array_equal(values[0], eroded > 0)
    np.testing.assert_array_equal(mask[0], eroded != -1)
    assert (values.dtype, mask.dtype) == (np.uint8, bool)
    assert target.context == (rounds, rounds)


def test_no_erosion_changes_nothing():
    labels = some_labels()
    np.testing.assert_array_equal(erode_labels(labels, (0, 0, 0)), labels)


@pytest.mark.parametrize("erosion", [(0, 0, 0), (1, 0, 2)])
def test_context_is_enough_and_not_more(erosion):
    """Inside a patch with its context the target is that of the whole volume; with one voxel less it is not."""
    labels = np.kron(some_labels(6, (6, 6, 6), low=0), np.ones((7, 7, 7), int))
    target = AffinityTarget(
        AffinityConfig(offsets_zyx_vx=[(1, 0, 0), (0, -3, 0), (0, 0, 3)], erosion_zyx_vx=erosion), NM
    )
    patch = Box((14, 14, 14), (24, 24, 24))  # ends where an object's border is 2 voxels past the longest edge
    whole = target.make(labels, Box.of_shape(labels.shape))
    before, after = target.context

    def make(before, after):
        around = Box(np.subtract(patch.start_zyx, before), np.add(patch.stop_zyx, after))
        return target.make(labels[around.slices], patch.shift(np.negative(around.start_zyx)))

    def differs(made):
        return any((a != b[(slice(None), *patch.slices)]).any() for a, b in zip(made, whole, strict=True))

    assert not differs(make(before, after))
    assert differs(make(before, np.subtract(after, (0, 0, 1))))
    assert differs(make(np.subtract(before, (0, 1, 0)), after))


def test_channels_and_their_names():
    cfg = TargetsConfig(affinity={"offsets_zyx_vx": [[1, 0, 0], [0, 10, 0], [0, -1, 2]]})
    targets = Targets(cfg, NM)
    assert targets.channels == cfg.channels
    assert [c.name for c in cfg.channels] == ["affinity z+1", "affinity y+10", "affinity y-1 x+2"]
    assert targets.context == ((0, 1, 0), (1, 10, 2))
    values, mask = targets.make(some_labels(), Box.of_shape((6, 7, 8)))
    assert values.shape == mask.shape == (3, 6, 7, 8)
    assert name_offset((0, 0, 1)) == "affinity x+1"
