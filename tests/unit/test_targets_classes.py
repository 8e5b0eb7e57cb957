"""Classes: which voxels are of which, what is background, and labels in which one does not occur."""

import numpy as np
import pytest

from connectomake.config.targets import ClassesConfig
from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.targets.classes import ClassesTarget, check_classes

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
