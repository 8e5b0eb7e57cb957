"""Grey values from disk to [-1, 1] and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from connectomake.config.settings.synth import ExamplesConfig
from connectomake.errors import DataError
from connectomake.synth.intensity import check_values, find_intensity, to_disk, to_network
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import open_volume

BYTES = (0.0, 255.0)


@given(arrays(np.uint8, 50))
def test_bytes_come_back_as_they_were(values):
    inside = to_network(values, BYTES)
    assert inside.dtype == np.float32
    assert np.abs(inside).max() <= 1
    np.testing.assert_array_equal(to_disk(inside, BYTES, np.uint8), values)


@given(arrays(np.int32, 20, elements=st.integers(2**30, 2**30 + 100)))
def test_large_numbers_keep_their_differences(values):
    intensity = (2.0**30, 2.0**30 + 100)
    np.testing.assert_array_equal(to_disk(to_network(values, intensity), intensity, np.int32), values)


def test_the_range_becomes_minus_one_and_one_and_what_is_beyond_the_nearest():
    found = to_network(np.array([-2000, -1000, 0, 1000, 5000], np.int16), (-1000.0, 1000.0))
    np.testing.assert_array_equal(found, [-1, -1, 0, 1, 1])


def test_what_the_network_gives_beyond_one_is_cut():
    np.testing.assert_array_equal(to_disk(np.array([-1.5, 0.0, 1.5]), BYTES, np.uint8), [0, 128, 255])
    np.testing.assert_array_equal(to_disk(np.array([-1.0, 1.0]), (-10.0, 300.0), np.uint8), [0, 255])
    assert to_disk(np.array([0.5]), (0.0, 2.0), np.float32) == np.float32(1.5)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(np.uint8, (0, 255)), (np.int8, (-128, 127)), (np.uint16, (0, 1)), (np.float32, (0, 1))]
)
def test_the_default_range_goes_by_type(tmp_path, dtype, expected):
    assert find_intensity(stored(tmp_path, np.zeros((4, 4, 4), dtype)), ExamplesConfig()) == expected


def test_percentiles_are_those_of_the_volume(tmp_path):
    volume = stored(tmp_path, np.arange(1000, dtype=np.uint16).reshape(10, 10, 10))
    cfg = ExamplesConfig(percentiles=(1, 99))
    low, high = find_intensity(volume, cfg)
    assert (low, high) == (pytest.approx(9.99), pytest.approx(989.01))
    check_values(volume.read(), "v", (low, high), cfg)


def test_a_constant_volume_has_a_range_too(tmp_path):
    assert find_intensity(stored(tmp_path, np.full((4, 4, 4), 7, np.uint16)), ExamplesConfig(percentiles=(1, 99))) == (
        7,
        8,
    )


def test_a_volume_without_finite_values_has_none(tmp_path):
    volume = stored(tmp_path, np.full((4, 4, 4), np.nan, np.float32))
    with pytest.raises(DataError, match="no grey value"):
        find_intensity(volume, ExamplesConfig(percentiles=(1, 99)))


def test_values_outside_are_refused_unless_they_are_clipped():
    values = np.array([0, 300], np.uint16)
    with pytest.raises(
        DataError, match=r"outside .* 0 to 1, the default for their type; got 0 to 300; set .*intensity"
    ):
        check_values(values, "volume 'v'", (0, 1), ExamplesConfig())
    check_values(values, "volume 'v'", (0, 1), ExamplesConfig(outside="clip"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_even_so(bad):
    with pytest.raises(DataError, match="not finite"):
        check_values(np.array([0, bad]), "volume 'v'", (0, 1), ExamplesConfig(outside="clip"))


def stored(folder, array):
    write_store(folder / "v.zarr", array, voxel_size_zyx_nm=(10.0, 10.0, 10.0))
    return open_volume(folder / "v.zarr")
