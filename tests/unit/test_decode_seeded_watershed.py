"""The seeded watershed: what makes a seed, where objects meet, what is refused."""

import logging

import numpy as np
import pytest

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import decode
from connectomake.decode.channels import Channels
from connectomake.decode.seeded_flood import find_foreground, find_seeds
from connectomake.errors import ConfigError, DataError

NAMES = ("binary", "contour", "distance")
METHODS = ["binary", "binary_contour", "binary_contour_distance"]
CHANNELS = Channels(NAMES, (None,) * 3)


def config(method="binary", min_seed_vx=1, **settings):
    shared = {key: settings.pop(key) for key in ("min_size_vx", "remove_small") if key in settings}
    section = {"method": method, "min_seed_vx": min_seed_vx, **settings}
    return DecodeConfig(decoder="seeded_watershed", seeded_watershed=section, **shared)


def line(binary, contour=None, distance=None):
    """Return maps of a row of voxels along x; where not given, no contour, and the distance of an inside."""
    rows = [binary, np.zeros(len(binary)) if contour is None else contour, binary if distance is None else distance]
    return np.array(rows, np.float32)[:, None, None, :]


def decoded(maps, cfg):
    return decode(maps, cfg, channels=CHANNELS)[0, 0].tolist()


def test_a_seed_grows_over_the_foreground_and_no_further():
    binary = [0.1, 0.87, 0.95, 0.95, 0.87, 0.1, 0.95, 0.87, 0.8]
    assert decoded(line(binary), config()) == [0, 1, 1, 1, 1, 0, 2, 2, 0]


def test_foreground_without_a_seed_is_background():
    binary = [0.87, 0.87, 0.1, 0.95, 0.95, 0.95]
    assert decoded(line(binary), config()) == [0, 0, 0, 1, 1, 1]
    assert decoded(line(binary), config(min_seed_vx=4)) == [0] * 6


def test_two_seeds_meet_half_way_or_on_the_contour_or_in_the_valley():
    binary = [0.95, 0.95, 0.88, 0.88, 0.88, 0.88, 0.95, 0.95]
    contour = [0, 0, 0.1, 0.2, 0.3, 0.9, 0, 0]
    distance = [0.9, 0.9, 0.2, 0.4, 0.4, 0.4, 0.9, 0.9]
    maps = line(binary, contour, distance)
    assert decoded(maps, config("binary")) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert decoded(maps, config("binary_contour")) == [1, 1, 1, 1, 1, 2, 2, 2]
    assert decoded(maps, config("binary_contour_distance")) == [1, 1, 1, 2, 2, 2, 2, 2]


def test_seeds_are_high_in_binary_and_distance_and_low_in_contour():
    maps = {
        "binary": np.full((1, 1, 4), 0.95, np.float32),
        "contour": np.array([[[0.9, 0, 0, 0]]], np.float32),
        "distance": np.array([[[0.9, 0.4, 0.9, -0.1]]], np.float32),
    }
    own = config("binary_contour_distance").seeded_watershed
    assert find_seeds(maps, own)[0, 0].tolist() == [0, 0, 1, 0]
    assert find_foreground(maps, own)[0, 0].tolist() == [True, True, True, False]


def test_seeds_that_touch_by_an_edge_alone_are_two():
    maps = np.zeros((3, 1, 4, 4), np.float32)
    maps[0, 0, :2, :2] = maps[0, 0, 2:, 2:] = 1
    labels = decode(maps, config(), channels=CHANNELS)
    assert labels.max() == 2


def test_the_border_lies_where_the_object_is_thin_in_its_own_voxel_size():
    binary = np.zeros((1, 7, 17), np.float32)
    binary[0, 1:6, 1:16] = 0.87
    binary[0, [1, 2, 4, 5], 5] = 0  # a waist, one voxel wide
    binary[0, 3, [2, 3, 13, 14]] = 0.95
    maps = np.stack([binary] * 3)
    isotropic = decode(maps, config(), channels=CHANNELS)
    assert (isotropic[0, 1:6, 1:5] == 1).all()
    assert (isotropic[0, 1:6, 6:16] == 2).all()
    flat = decode(maps, config(sampling_zyx=(1, 100, 1)), channels=CHANNELS)  # along y nothing is thin
    assert flat[0, 3, 6] == 1


def test_small_objects_are_dropped_after_the_flood():
    binary = [0.95, 0.87, 0.1, 0.95, 0.87, 0.87]
    assert decoded(line(binary), config(min_size_vx=3)) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.float32, np.float64])
def test_types_of_maps_give_the_same_and_are_not_changed(method, dtype):
    maps = (line([1, 1, 0, 1, 1, 0]) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    before = maps.copy()
    labels = decode(maps, config(method), channels=CHANNELS)
    assert labels.dtype == np.uint32
    assert labels[0, 0].tolist() == [1, 1, 0, 2, 2, 0]
    np.testing.assert_array_equal(maps, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape_zyx", [(1, 1, 1), (1, 4, 4), (2, 1, 5), (0, 4, 4), (4, 4, 0)])
def test_thin_empty_and_full_volumes_decode(method, shape_zyx):
    maps = np.ones((3, *shape_zyx), np.float32)
    maps[1] = 0
    np.testing.assert_array_equal(decode(maps, config(method), channels=CHANNELS), np.ones(shape_zyx))
    assert not decode(np.zeros((3, *shape_zyx), np.uint8), config(method), channels=CHANNELS).any()


def test_nan_is_background_and_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert decoded(line([0.95, 0.95, np.nan, 0.95], distance=np.ones(4)), config()) == [1, 1, 0, 2]
    assert "1 of 4 values are NaN" in caplog.text


def test_channels_are_found_by_their_names():
    maps = line([0.95, 0.95, 0.1, 0.95], [0.9, 0, 0, 0])
    shuffled = Channels(("contour", "binary"), (None,) * 2)
    labels = decode(maps[[1, 0]], config("binary_contour"), channels=shuffled)
    np.testing.assert_array_equal(labels, decode(maps, config("binary_contour"), channels=CHANNELS))
    with pytest.raises(ConfigError, match=r"binary, contour and distance.*which are not there; got contour, binary"):
        decode(maps[[1, 0]], config("binary_contour_distance"), channels=shuffled)


@pytest.mark.parametrize(
    ("maps", "problem"),
    [(np.zeros((3, 4, 4), np.float32), "cannot be decoded"), (np.zeros((3, 4, 4, 4), np.int8), "int8")],
)
def test_maps_of_another_kind_are_refused(maps, problem):
    with pytest.raises(DataError, match=problem):
        decode(maps, config(), channels=CHANNELS)
