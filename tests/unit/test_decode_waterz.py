"""Watershed and agglomeration: what is merged, what becomes background, what is refused."""

import logging
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from connectomake.channels import NEAREST
from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import decode
from connectomake.decode.agglomeration import name_score
from connectomake.decode.channels import Channels, to_destination
from connectomake.errors import DataError, MissingPackageError

needs_waterz = pytest.mark.skipif(find_spec("waterz") is None, reason="waterz is not installed")


def config(**settings):
    shared = {key: settings.pop(key) for key in ("min_size_vx", "remove_small", "fill") if key in settings}
    return DecodeConfig(decoder="waterz", waterz=settings, **shared)


def two_cubes(between, dtype=np.float32):
    """Return affinities of two cubes of 4 voxels that touch in 16 faces, along x, and of background around them."""
    affinities = np.zeros((3, 6, 6, 12), np.float32)
    inside = np.s_[1:5, 1:5, 2:10]
    for axis in range(3):
        values = np.ones((4, 4, 8), np.float32)
        values[(slice(None),) * axis + (slice(-1, None),)] = 0
        affinities[axis][inside] = values
    affinities[2, 1:5, 1:5, 5] = between
    return np.rint(255 * affinities).astype(dtype) if dtype == np.uint8 else affinities.astype(dtype)


def count(maps, channels=None, **settings):
    return int(decode(maps, config(**settings), channels=channels).max())


@needs_waterz
def test_regions_are_merged_below_the_threshold_of_one_minus_affinity():
    assert count(two_cubes(0.6)) == 2
    assert count(two_cubes(0.8)) == 1
    assert count(two_cubes(0.6), threshold=0.5) == 1
    assert count(two_cubes(0.8), threshold=0.1) == 2


@needs_waterz
def test_one_wrong_edge_merges_nothing_by_the_mean():
    between = np.full((4, 4), 0.1, np.float32)
    between[2, 2] = 0.95
    assert count(two_cubes(between), merge_function="mean", threshold=0.5) == 2
    assert count(two_cubes(np.full((4, 4), 0.7)), merge_function="mean", threshold=0.5) == 1


@needs_waterz
@pytest.mark.parametrize("convention", ["source", "destination", "backwards"])
def test_objects_lie_where_the_edges_are_in_every_convention(convention):
    affinities, channels = two_cubes(0.2), Channels.of_nearest()
    if convention == "destination":
        affinities, channels = to_destination(affinities, NEAREST), Channels.of_nearest(1)
    if convention == "backwards":
        backwards = tuple(tuple(-step for step in offset) for offset in NEAREST)
        affinities, channels = to_destination(affinities, NEAREST), Channels(("z", "y", "x"), backwards)
    expected = np.zeros((6, 6, 12), np.uint32)
    expected[1:5, 1:5, 2:6], expected[1:5, 1:5, 6:10] = 1, 2
    labels = decode(affinities, config(), channels=channels)
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels, expected)


@needs_waterz
def test_channels_are_found_by_their_offsets():
    affinities = two_cubes(0.2)
    channels = Channels(("x", "far", "y", "z"), ((0, 0, 1), (0, 0, 9), (0, 1, 0), (1, 0, 0)))
    shuffled = np.stack([affinities[2], np.ones_like(affinities[0]), affinities[1], affinities[0]])
    np.testing.assert_array_equal(decode(shuffled, config(), channels=channels), decode(affinities, config()))


@needs_waterz
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.float64])
def test_types_of_affinities_give_the_same_and_are_not_changed(dtype):
    affinities = two_cubes(0, dtype)
    before = affinities.copy()
    np.testing.assert_array_equal(decode(affinities, config()), decode(two_cubes(0), config()))
    np.testing.assert_array_equal(affinities, before)


@needs_waterz
def test_small_objects_and_gaps_are_treated_as_for_every_decoder():
    affinities = two_cubes(0.2)
    affinities[:, 1:5, 1:5, 8:10] = 0
    affinities[2, 1:5, 1:5, 7] = 0  # the second cube is half as long now
    assert np.bincount(decode(affinities, config()).ravel())[1:].tolist() == [64, 32]
    assert np.bincount(decode(affinities, config(min_size_vx=40)).ravel())[1:].tolist() == [64]
    joined = decode(affinities, config(min_size_vx=40, remove_small="neighbor"))
    assert np.bincount(joined.ravel())[1:].tolist() == [96]
    assert (decode(affinities, config(min_size_vx=40, fill="watershed")) == 1).all()


@needs_waterz
def test_nan_is_no_edge_and_values_beyond_one_are_one(caplog):
    affinities = two_cubes(np.nan)
    with caplog.at_level(logging.WARNING):
        assert count(affinities) == 2
    assert "16 of 1296 values are NaN" in caplog.text
    assert count(two_cubes(7.0)) == 1


@needs_waterz
@pytest.mark.parametrize("shape_zyx", [(1, 1, 1), (1, 4, 4), (2, 1, 5), (0, 4, 4), (4, 4, 0)])
def test_thin_and_empty_volumes_decode(shape_zyx):
    labels = decode(np.ones((3, *shape_zyx), np.float32), config())
    np.testing.assert_array_equal(labels, np.full(shape_zyx, np.prod(shape_zyx) > 1))
    assert not decode(np.zeros((3, *shape_zyx), np.uint8), config()).any()


@needs_waterz
def test_every_score_that_settings_can_name_is_compiled(monkeypatch):
    monkeypatch.setitem(sys.modules, "witty", None)  # what would compile it
    for name in ("mean", *(f"aff{quantile}_his256" for quantile in range(10, 100, 5))):
        assert count(two_cubes(0.8), merge_function=name) == 1


@needs_waterz
def test_a_score_that_cannot_be_compiled_is_told(monkeypatch):
    monkeypatch.setenv("WATERZ_NO_PREBUILT", "1")
    monkeypatch.setitem(sys.modules, "witty", None)
    with pytest.raises(MissingPackageError, match=r"holds no compiled score aff50_his256.*--only-binary waterz"):
        decode(two_cubes(0.8), config())


def test_scores_have_the_names_of_waterz():
    assert name_score("mean") == "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"
    assert name_score("aff85_his256") == "OneMinus<HistogramQuantileAffinity<RegionGraphType, 85, ScoreValue, 256>>"


@pytest.mark.parametrize(
    ("maps", "problem"),
    [
        (np.zeros((3, 4, 4), np.float32), "cannot be decoded"),
        (np.zeros((2, 4, 4, 4), np.float32), "C >= 3"),
        (np.zeros((3, 4, 4, 4), np.uint16), "uint16"),
    ],
)
def test_maps_that_are_no_affinities_are_refused(maps, problem):
    with pytest.raises(DataError, match=problem):
        decode(maps, config())


def test_the_package_is_named_when_it_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "waterz", None)
    with pytest.raises(MissingPackageError, match=r"not installed; pip install waterz==0\.10\.1"):
        decode(two_cubes(0.8), config())
