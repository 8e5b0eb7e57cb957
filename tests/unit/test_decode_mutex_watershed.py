"""The mutex watershed: which edges join, what becomes background, what is refused."""

import logging
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from connectomake.channels import name_offset
from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import decode
from connectomake.decode.channels import Channels, to_destination
from connectomake.decode.mutex_edges import find_foreground
from connectomake.errors import ConfigError, DataError, MissingPackageError

OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 3), (0, 2, 0), (2, 0, 0))
CHANNELS = Channels(tuple(map(name_offset, OFFSETS)), OFFSETS)
needs_mwatershed = pytest.mark.skipif(find_spec("mwatershed") is None, reason="mwatershed is not installed")


def config(**settings):
    shared = {key: settings.pop(key) for key in ("min_size_vx", "remove_small", "fill") if key in settings}
    return DecodeConfig(decoder="mutex_watershed", mutex_watershed=settings, **shared)


def line(near, far, dtype=np.float32):
    """Return affinities of a row of voxels along x: to the next voxel, and to the third."""
    affinities = np.zeros((6, 1, 1, len(near)), dtype)
    affinities[2, 0, 0], affinities[3, 0, 0] = near, far
    return affinities


def decoded(near, far, channels=CHANNELS, **settings):
    return decode(line(near, far), config(**settings), channels=channels)[0, 0].tolist()


def slow_mutex_watershed(weights, offsets):
    """Take edges one by one, by falling absolute weight; sets of voxels, and pairs of sets that stay apart."""
    shape = weights.shape[1:]
    group = {p: {p} for p in np.ndindex(*shape)}
    apart = {p: set() for p in np.ndindex(*shape)}  # voxels that p's own edges keep it from
    edges = []
    for c, offset in enumerate(offsets):
        for p in np.ndindex(*shape):
            q = tuple(a + b for a, b in zip(p, offset, strict=True))
            if all(0 <= a < n for a, n in zip(q, shape, strict=True)):
                edges.append((abs(weights[(c, *p)]), weights[(c, *p)] > 0, p, q))
    for _, joins, p, q in sorted(edges, reverse=True):
        if any(other in group[q] for member in group[p] for other in apart[member]):
            continue
        if joins:
            group[p] |= group[q]
            for member in group[p]:
                group[member] = group[p]
        elif q not in group[p]:
            apart[p].add(q)
            apart[q].add(p)
    return group


@needs_mwatershed
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("convention", ["source", "destination"])
def test_the_answer_is_that_of_taking_edges_one_by_one(seed, convention):
    affinities = np.random.default_rng(seed).random((6, 3, 4, 5)).astype(np.float32)
    group = slow_mutex_watershed(affinities - np.float32(0.4), OFFSETS)
    channels = CHANNELS
    if convention == "destination":
        affinities, channels = to_destination(affinities, OFFSETS), Channels(CHANNELS.names, OFFSETS, 1)
    labels = decode(affinities, config(bias_nearest=-0.4, bias_long=-0.4, foreground=0), channels=channels)
    for p in np.ndindex(*labels.shape):
        members = sorted(group[p])
        assert [q for q in np.ndindex(*labels.shape) if labels[q] == labels[p] or q == p] == members or (
            labels[p] == 0 and len(members) == 1
        )


@needs_mwatershed
def test_a_sure_long_edge_keeps_apart_what_weak_edges_would_join():
    near, far = [0.9, 0.9, 0.6, 0.9, 0.9, 0], [0.5, 0.05, 0.5, 0, 0, 0]
    assert decoded(near, far) == [1, 1, 1, 2, 2, 2]
    assert decoded(near, np.full(6, 0.5)) == [1] * 6


@needs_mwatershed
def test_bias_moves_the_border_between_joining_and_keeping_apart():
    near, far = [0.9, 0.9, 0.45, 0.9, 0.9, 0], np.full(6, 0.5)
    assert decoded(near, far) == [1, 1, 1, 2, 2, 2]
    assert decoded(near, far, bias_nearest=-0.4, foreground=0.3) == [1] * 6


@needs_mwatershed
def test_long_edges_are_taken_at_every_so_many_voxels():
    near, far = [0.9, 0.9, 0.6, 0.9, 0.9, 0], [0.5, 0.05, 0.5, 0, 0, 0]
    assert decoded(near, far, long_stride_zyx_vx=(1, 1, 2)) == [1] * 6


@needs_mwatershed
def test_a_voxel_without_a_strong_nearest_edge_is_background():
    near, far = [0.9, 0.2, 0.2, 0.9, 0, 0], np.full(6, 0.95)
    assert decoded(near, far) == [1, 1, 0, 1, 1, 0]
    assert decoded(near, far, foreground=0.1) == [1, 1, 2, 1, 1, 0]


def test_foreground_is_both_ends_of_a_strong_nearest_edge():
    affinities = line([0, 0.9, 0, 0, 0], np.full(5, 0.9))
    assert find_foreground(affinities, OFFSETS, 0.5)[0, 0].tolist() == [False, True, True, False, False]
    backwards = [tuple(-step for step in offset) for offset in OFFSETS]
    assert find_foreground(affinities, backwards, 0.5)[0, 0].tolist() == [True, True, False, False, False]


@needs_mwatershed
def test_backward_offsets_give_the_same_objects():
    near, far = [0.9, 0.9, 0.2, 0.9, 0.9, 0], np.zeros(6)
    backwards = tuple(tuple(-step for step in offset) for offset in OFFSETS)
    channels = Channels(tuple(map(name_offset, backwards)), backwards, 1)
    assert decoded(near, far, channels) == decoded(near, far) == [1, 1, 1, 2, 2, 2]


@needs_mwatershed
def test_small_objects_and_gaps_are_treated_as_for_every_decoder():
    near, far = [0.9, 0.9, 0.2, 0.9, 0, 0], np.zeros(6)
    assert decoded(near, far) == [1, 1, 1, 2, 2, 0]
    assert decoded(near, far, min_size_vx=3) == [1, 1, 1, 0, 0, 0]
    assert decoded(near, far, min_size_vx=3, remove_small="neighbor") == [1, 1, 1, 1, 1, 0]
    assert decoded(near, far, fill="watershed") == [1, 1, 1, 2, 2, 2]


@needs_mwatershed
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.float32, np.float64])
def test_types_of_affinities_give_the_same_and_are_not_changed(dtype):
    affinities = line([1, 1, 0, 1, 1, 0], np.zeros(6), dtype) * (255 if dtype == np.uint8 else dtype(1))
    before = affinities.copy()
    labels = decode(affinities, config(), channels=CHANNELS)
    assert labels.dtype == np.uint32
    assert labels[0, 0].tolist() == [1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(affinities, before)


@needs_mwatershed
def test_nan_is_no_edge_and_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert decoded([0.9, 0.9, np.nan, 0.9, 0.9, 0], np.zeros(6)) == [1, 1, 1, 2, 2, 2]
    assert "1 of 12 values are NaN" in caplog.text


@needs_mwatershed
@pytest.mark.parametrize("shape_zyx", [(1, 1, 1), (1, 4, 4), (2, 1, 5), (0, 4, 4), (4, 4, 0)])
def test_thin_and_empty_volumes_decode(shape_zyx):
    labels = decode(np.ones((6, *shape_zyx), np.float32), config(), channels=CHANNELS)
    np.testing.assert_array_equal(labels, np.full(shape_zyx, np.prod(shape_zyx) > 1))
    assert not decode(np.zeros((6, *shape_zyx), np.uint8), config(), channels=CHANNELS).any()


def test_long_affinities_are_needed():
    with pytest.raises(ConfigError, match="at least one long-range affinity, which are not there; got affinity z"):
        decode(np.zeros((3, 4, 4, 4), np.float32), config())


@pytest.mark.parametrize(
    ("maps", "problem"),
    [
        (np.zeros((6, 4, 4), np.float32), "cannot be decoded"),
        (np.zeros((5, 4, 4, 4), np.float32), "C >= 6"),
        (np.zeros((6, 4, 4, 4), np.int32), "int32"),
    ],
)
def test_maps_that_are_no_affinities_are_refused(maps, problem):
    with pytest.raises(DataError, match=problem):
        decode(maps, config(), channels=CHANNELS)


def test_the_package_is_named_when_it_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "mwatershed", None)
    with pytest.raises(MissingPackageError, match=r"not installed; pip install mwatershed==0\.5\.4"):
        decode(line([1] * 6, [1] * 6), config(), channels=CHANNELS)
