"""Classes of voxels and the objects of a class: which class wins, what ids mean, what is refused."""

import logging

import cc3d
import numpy as np
import pytest

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import decode, split_panoptic
from connectomake.decode.channels import Channels
from connectomake.decode.semantic_classes import join_panoptic
from connectomake.errors import ConfigError, DataError

CHANNELS = Channels(("cell", "mito", "er"), (None,) * 3)


def config(**settings):
    shared = {key: settings.pop(key) for key in ("min_size_vx", "remove_small") if key in settings}
    return DecodeConfig(decoder="semantic", semantic=settings, **shared)


def line(*rows, dtype=np.float32):
    return np.array(rows, dtype)[:, None, None, :]


MAPS = line([0.9, 0.9, 0.9, 0.6, 0.2], [0.1, 0.6, 0.8, 0.7, 0.3], [0.0, 0.0, 0.55, 0.0, 0.4])


def decoded(cfg, maps=MAPS, channels=CHANNELS):
    return decode(maps, cfg, channels=channels)[0, 0].tolist()


def test_the_last_class_above_its_threshold_wins_or_the_most_probable():
    assert decoded(config()) == [1, 2, 3, 2, 0]
    assert decoded(config(method="argmax")) == [1, 1, 1, 2, 0]


def test_each_class_may_have_a_threshold_of_its_own():
    assert decoded(config(class_threshold={"er": 0.3, "mito": 0.75})) == [1, 1, 3, 1, 3]
    assert decoded(config(method="argmax", class_threshold={"cell": 0.95})) == [0, 2, 2, 2, 0]


def test_classes_are_numbered_in_the_order_of_the_settings():
    assert decoded(config(classes=["mito", "cell"])) == [2, 2, 2, 2, 0]
    assert decoded(config(classes=["er"])) == [0, 0, 1, 0, 0]


def test_of_equal_probabilities_the_first_class_is_the_most_probable():
    assert decoded(config(method="argmax"), line([0.7], [0.7], [0.6])) == [1]


def test_affinities_are_no_classes():
    channels = Channels(("affinity z+1", "mito"), ((1, 0, 0), None))
    assert decoded(config(), line([0.9, 0.9], [0.1, 0.9]), channels) == [0, 1]
    with pytest.raises(ConfigError, match="at least one that is a class, which are not there"):
        decode(np.zeros((3, 2, 2, 2), np.float32), config())


def test_objects_of_one_class_alone_are_numbered_from_one():
    maps = line([0.9, 0.9, 0.1, 0.9, 0.1, 0.9, 0.9, 0.9])
    mito = Channels(("mito",), (None,))
    assert decoded(config(instances=["mito"]), maps, mito) == [1, 1, 0, 2, 0, 3, 3, 3]
    assert decoded(config(instances=["mito"], min_size_vx=2), maps, mito) == [1, 1, 0, 0, 0, 2, 2, 2]
    assert decoded(config(instances=["mito"], min_size_vx=9), maps, mito) == [0] * 8


@pytest.mark.parametrize(("connectivity", "objects"), [(6, 4), (18, 2), (26, 1)])
def test_connectivity_says_what_touches(connectivity, objects):
    maps = np.zeros((1, 3, 4, 3), np.float32)
    for p in ((0, 0, 0), (0, 1, 1), (1, 2, 2), (2, 3, 2)):
        maps[(0, *p)] = 1
    labels = decode(maps, config(instances=["mito"], connectivity=connectivity), channels=Channels(("mito",), (None,)))
    assert labels.max() == objects


def test_panoptic_ids_hold_class_and_object():
    maps = line([1, 1, 0, 0, 0, 0, 1], [0, 0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0])
    labels = decode(maps, config(instances=["mito", "er"]), channels=CHANNELS)
    assert labels.dtype == np.uint32
    assert labels[0, 0].tolist() == [2**24, 2**24, 2**25 + 1, 0, 2**25 + 2, 2**25 + 2, 2**24]
    class_number, object_number = split_panoptic(labels)
    assert class_number[0, 0].tolist() == [1, 1, 2, 0, 2, 2, 1]
    assert object_number[0, 0].tolist() == [0, 0, 1, 0, 2, 2, 0]
    dropped = decode(maps, config(instances=["mito"], min_size_vx=2), channels=CHANNELS)
    assert dropped[0, 0].tolist() == [2**24, 2**24, 0, 0, 2**25 + 1, 2**25 + 1, 2**24]


def test_objects_of_touching_classes_stay_apart():
    labels = decode(line([1, 1, 0], [0, 0, 1], [0, 0, 0]), config(instances=["cell", "mito"]), channels=CHANNELS)
    assert labels[0, 0].tolist() == [2**24 + 1, 2**24 + 1, 2**25 + 1]


@pytest.mark.parametrize("seed", range(4))
def test_panoptic_ids_are_those_of_one_class_after_the_other(seed):
    maps = np.random.default_rng(seed).random((3, 5, 6, 7)).astype(np.float32)
    labels = decode(maps, config(method="argmax", instances=["cell", "er"]), channels=CHANNELS)
    class_number, object_number = split_panoptic(labels)
    classes = decode(maps, config(method="argmax"), channels=CHANNELS)
    np.testing.assert_array_equal(class_number, classes)
    assert not object_number[classes == 2].any()
    for number in (1, 3):
        alone, count = cc3d.connected_components(classes == number, connectivity=6, return_N=True)
        pairs = np.unique(np.stack([alone[alone > 0], object_number[alone > 0]]), axis=1)
        assert pairs.shape[1] == count
        first = [np.flatnonzero((object_number == n) & (classes == number))[0] for n in range(1, count + 1)]
        assert first == sorted(first)


def test_many_classes_widen_the_labels():
    classes = np.array([[[1, 0, 300]]], np.uint32)
    objects = np.array([[[1, 0, 2]]], np.uint32)
    labels = join_panoptic(classes, objects, np.arange(301) > 0)
    assert labels.dtype == np.uint64
    assert labels[0, 0].tolist() == [2**40 + 1, 0, 300 * 2**40 + 1]
    assert [part[0, 0].tolist() for part in split_panoptic(labels)] == [[1, 0, 300], [1, 0, 1]]


def test_many_objects_widen_the_labels(monkeypatch):
    monkeypatch.setitem(join_panoptic.__globals__["DIVISORS"], np.dtype(np.uint32), 2)
    objects = np.array([[[1, 0, 2]]], np.uint32)
    labels = join_panoptic((objects > 0).astype(np.uint32), objects, np.array([False, True]))
    assert labels.dtype == np.uint64
    assert labels[0, 0].tolist() == [2**40 + 1, 0, 2**40 + 2]


def test_labels_of_another_type_are_not_split():
    with pytest.raises(DataError, match="int64"):
        split_panoptic(np.zeros((2, 2, 2), np.int64))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.float64])
def test_types_of_maps_give_the_same_and_are_not_changed(dtype):
    maps = (line([1, 0, 1], [0, 1, 0], [0, 0, 0]) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    before = maps.copy()
    assert decoded(config(method="argmax"), maps) == [1, 2, 1]
    np.testing.assert_array_equal(maps, before)


def test_uint8_has_no_value_at_one_half():
    assert decoded(config(), line([127, 128], [0, 0], [0, 0], dtype=np.uint8)) == [0, 1]


@pytest.mark.parametrize("shape_zyx", [(1, 1, 1), (1, 4, 4), (2, 1, 5), (0, 4, 4), (4, 4, 0)])
@pytest.mark.parametrize("instances", [[], ["er"]])
def test_thin_and_empty_volumes_decode(shape_zyx, instances):
    labels = decode(np.ones((3, *shape_zyx), np.float32), config(instances=instances), channels=CHANNELS)
    np.testing.assert_array_equal(labels, np.full(shape_zyx, 3 * 2**24 + 1 if instances else 3))
    nothing = decode(np.zeros((3, *shape_zyx), np.uint8), config(instances=instances), channels=CHANNELS)
    assert nothing.shape == shape_zyx
    assert not nothing.any()


def test_nan_is_no_class_and_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert decoded(config(), line([0.9, np.nan], [0, 0], [0, 0])) == [1, 0]
    assert "1 of 2 values are NaN" in caplog.text


@pytest.mark.parametrize(
    ("maps", "problem"),
    [(np.zeros((3, 4, 4), np.float32), "cannot be decoded"), (np.zeros((3, 4, 4, 4), np.int32), "int32")],
)
def test_maps_of_another_kind_are_refused(maps, problem):
    with pytest.raises(DataError, match=problem):
        decode(maps, config(), channels=CHANNELS)


def test_a_class_that_is_no_channel_is_refused():
    for settings in ({"classes": ["nucleus"]}, {"instances": ["nucleus"]}, {"class_threshold": {"nucleus": 0.3}}):
        with pytest.raises(ConfigError, match=r"the channels that semantic names.*got cell, mito, er"):
            decode(MAPS, config(**settings), channels=CHANNELS)
