"""Classes: which voxels are of which, what is background or unknown, and labels in which one does not occur."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from connectomake.config.settings.train_target_kinds import ClassesConfig
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.targets.classes import ClassesTarget, check_classes, check_named
from connectomake.targets.combinations import Combinations
from connectomake.targets.registry import Targets

LABELS = {"cell": (1, 2, 7), "mito": (2, 2**40), "er": (3,)}
ROW = np.array([[[0, 1, 2, 3, -1, 7, 9, 2**40]]])


def made(**settings):
    cfg = ClassesConfig(**settings)
    values, mask = ClassesTarget(cfg, (8.0, 8.0, 8.0)).make(ROW, Box.of_shape(ROW.shape))
    return [c.name for c in cfg.channels], values[:, 0, 0].tolist(), mask[:, 0, 0].tolist()


def test_a_voxel_may_be_of_several_classes():
    names, values, mask = made(labels=LABELS)
    assert names == ["cell", "mito", "er"]
    assert values == [[0, 1, 1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0, 0, 0]]
    assert mask == [[True, True, True, True, False, True, True, True]] * 3


def test_exclusive_classes_leave_the_rest_to_the_background():
    names, values, mask = made(labels={"cell": (1, 7), "mito": (2,)}, exclusive=True)
    assert names == ["background", "cell", "mito"]
    assert values == [[1, 0, 0, 1, 0, 0, 1, 1], [0, 1, 0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0]]
    assert np.sum(values, axis=0).tolist() == mask[0] == mask[1] == mask[2]


def test_each_voxel_of_random_labels():
    labels = np.random.default_rng(0).integers(-1, 6, (5, 6, 7))
    cfg = ClassesConfig(labels={"a": (1, 4), "b": (2,)}, exclusive=True)
    patch = Box((1, 2, 0), (4, 6, 5))
    values, mask = ClassesTarget(cfg, (8.0, 8.0, 8.0)).make(labels, patch)
    channel_of = {-1: None, 0: 0, 1: 1, 2: 2, 3: 0, 4: 1, 5: 0}
    for p in np.ndindex(patch.shape_zyx):
        channel = channel_of[int(labels[tuple(np.add(p, patch.start_zyx))])]
        assert values[(slice(None), *p)].tolist() == [int(c == channel) for c in range(3)]
        assert mask[(slice(None), *p)].tolist() == [channel is not None] * 3


def test_a_class_that_does_not_occur_is_told_with_what_does():
    cfg = ClassesConfig(labels=LABELS)
    check_classes(cfg, {-1, 0, 1, 2, 3})
    with pytest.raises(DataError, match=r"no voxel of the class 'er'; expected 3; got the values 0, 1, 2;"):
        check_classes(cfg, {-1, 0, 1, 2})
    with pytest.raises(DataError, match=r"'mito'; expected 2 or 1099511627776; got the values 1, 3, 10, .*27, \.\.\.;"):
        check_classes(cfg, {1, 3, *range(10, 1000)})
    with pytest.raises(DataError, match="got no known voxel"):
        check_classes(cfg, {-1})


STATES = hnp.arrays(np.int8, st.tuples(st.integers(0, 30), st.integers(1, 4)), elements=st.integers(-1, 1))


@given(STATES)
def test_numbers_of_combinations_say_by_their_sign_what_is_there(states):
    names = tuple("abcd"[: states.shape[1]])
    combinations = Combinations.of(names, states)
    for number, row in zip(combinations.number(states).tolist(), states, strict=True):
        np.testing.assert_array_equal(combinations.states[number - combinations.lowest], row)
        assert (number > 0) == (row == 1).any()
        assert (number == 0) == (row == 0).all()
        assert (number == -1) == (row == -1).all()
        assert [number in combinations.having(name) for name in names] == (row == 1).tolist()
    everything = np.arange(len(combinations.states)) + combinations.lowest
    np.testing.assert_array_equal(combinations.number(combinations.states), everything)


@given(STATES, st.randoms())
def test_combinations_do_not_depend_on_order(states, random):
    rows = states.tolist() * 2
    random.shuffle(rows)
    first, again = (Combinations.of("abcd"[: states.shape[1]], s) for s in (states, np.array(rows, np.int8)))
    assert first.lowest == again.lowest
    np.testing.assert_array_equal(first.states, again.states)


def test_each_class_of_a_crop_is_known_or_not_by_itself():
    names, states = ("nuc", "mito"), np.array([[1, -1], [0, -1], [0, 0], [-1, -1], [1, 1], [-1, 1]])
    combinations = Combinations.of(names, states)
    cfg = TargetsConfig(affinity=None, classes=ClassesConfig(named=names))
    chosen = np.random.default_rng(0).integers(0, len(states), (5, 6, 7))
    labels = combinations.number(states)[chosen].astype(np.int64)
    patch = Box((1, 2, 0), (4, 6, 5))
    targets = Targets(cfg, (8.0, 8.0, 8.0), combinations)
    values, mask = targets.make(labels, patch)
    assert [channel.name for channel in targets.channels] == list(names)
    assert (values.dtype, mask.dtype, targets.context) == (np.uint8, np.bool_, ((0, 0, 0), (0, 0, 0)))
    truth = np.moveaxis(states[chosen[patch.slices]], -1, 0)
    np.testing.assert_array_equal(values, truth == 1)
    np.testing.assert_array_equal(mask, truth >= 0)


def test_a_named_class_that_no_crop_holds_is_told_with_those_that_they_hold():
    combinations = Combinations.of(("nuc", "mito", "er"), np.array([[1, 0, -1], [0, 1, 0], [0, 0, 1]]))
    numbers = combinations.number(np.array([[1, 0, -1], [0, 1, 0], [0, 0, 1]])).tolist()
    check_named(combinations, numbers)
    with pytest.raises(DataError, match=r"no training crop holds a voxel of the class 'er'; got voxels of nuc, mito;"):
        check_named(combinations, numbers[:2])
    with pytest.raises(DataError, match=r"'nuc'; got no voxel of any of the classes"):
        check_named(combinations, {0, -1})


def test_classes_by_name_need_labels_that_tell_them():
    cfg = TargetsConfig(affinity=None, classes=ClassesConfig(named=("mito",)))
    with pytest.raises(DataError, match="do not say which classes they hold"):
        Targets(cfg, (8.0, 8.0, 8.0))
