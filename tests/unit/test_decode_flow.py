"""The decoder of flows: which neighbour a vector points at, where ways end, which ends are one object."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.config.settings.decode import DecodeConfig
from connectomake.decode import decode
from connectomake.decode.channels import Channels
from connectomake.decode.flow_basins import STEPS_ZYX, choose_moves, follow_moves, stitch_sections
from connectomake.errors import ConfigError, DataError
from connectomake.targets.flow import flows_of_labels

IN_SPACE = Channels(("binary", "flow z", "flow y", "flow x"), (None,) * 4, activations=("sigmoid", *("tanh",) * 3))
IN_SECTION = Channels(("binary", "flow y", "flow x"), (None,) * 3, activations=("sigmoid", "tanh", "tanh"))
seeds = st.integers(0, 2**32 - 1)


def config(**settings_of):
    shared = {key: settings_of.pop(key) for key in ("min_size_vx", "remove_small") if key in settings_of}
    return DecodeConfig(decoder="flow", flow=settings_of, **shared)


def row(x, binary=None):
    """Return maps of a row of voxels along x with these vectors along x."""
    maps = np.zeros((4, 1, 1, len(x)), np.float32)
    maps[0] = 1 if binary is None else binary
    maps[3] = x
    return maps


def decoded(maps, **settings_of):
    return decode(maps, config(**settings_of), channels=IN_SPACE)[0, 0].tolist()


def test_voxels_that_flow_to_one_place_are_one_object():
    x = [1, 1, 0, -1, -1, 1, 1, 1, 0, -1]
    assert decoded(row(x)) == [1] * 5 + [2] * 5
    assert decoded(row(x, [1, 1, 1, 0.4, 1, 1, 0.5, 1, 1, 1]), gather_vx=1) == [1, 1, 1, 0, 2, 2, 0, 3, 3, 3]


def test_two_that_point_at_each_other_are_an_end():
    assert decoded(row([1, 1, -1, -1, 1, 1, -1, 1])) == [1, 1, 1, 1, 2, 2, 2, 2]


def test_short_vectors_and_those_that_point_outside_are_ends():
    assert decoded(row([1, 1, 0.1, 1, 1, 1]), gather_vx=1) == [1, 1, 1, 2, 2, 2]
    assert decoded(row([1, 1, 0.1, 1, 1, 1]), gather_vx=1, least_length=0.05) == [1] * 6


def test_ends_near_each_other_are_one():
    x = [1, 1, 0, 0.5, 0, -1, 1, 1, 0, -1]
    x[3] = 0
    assert decoded(row(x), gather_vx=3) == [1] * 6 + [2] * 4
    assert decoded(row(x), gather_vx=4) == [1] * 10
    apart = [0, 1, 0, -1, 0]
    assert decoded(row(apart), gather_vx=1) == [1, 2, 2, 2, 3]
    assert decoded(row(apart), gather_vx=2) == [1] * 5


def test_small_objects_are_dropped():
    assert decoded(row([1, 0, 1, 1, 1, 0, -1]), min_size_vx=3, gather_vx=1) == [0, 0, 1, 1, 1, 1, 1]


def define_labels(moves):
    """Follow every voxel by itself until it has been everywhere it can go; objects share the places they end in."""
    ends = {}
    for p in map(tuple, np.argwhere(moves < 27)):
        q = p
        for _ in range(moves.size):
            q = tuple(np.add(q, STEPS_ZYX[moves[q]]))
        circle = set()
        while q not in circle:
            circle.add(q)
            q = tuple(np.add(q, STEPS_ZYX[moves[q]]))
        ends[p] = frozenset(circle)
    return ends


def random_maps(seed, shape, is_2d):
    rng = np.random.default_rng(seed)
    maps = rng.uniform(-1, 1, (3 if is_2d else 4, *shape)).astype(np.float32)
    maps[0] = rng.random(shape) < 0.8
    return maps, IN_SECTION if is_2d else IN_SPACE


@settings(deadline=None, max_examples=15)
@given(seeds, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)), st.booleans())
def test_ways_are_followed_to_their_ends(seed, shape, is_2d):
    maps, channels = random_maps(seed, shape, is_2d)
    cfg = config().flow
    foreground = maps[0] > 0.5
    moves = choose_moves(maps[1:], foreground, channels, cfg.least_length)
    before = moves.copy()
    for p in np.ndindex(shape):
        assert moves[p] == define_move(maps, foreground, p, is_2d, cfg.least_length)
    basins, sinks, basin_of_sink = follow_moves(moves)
    np.testing.assert_array_equal(moves, before)
    ends = define_labels(moves)
    circle_of = {}
    for p in np.ndindex(shape):
        assert (basins[p] > 0) == (p in ends)
        if p in ends:
            assert circle_of.setdefault(basins[p], ends[p]) == ends[p]
    assert len(set(circle_of.values())) == len(circle_of)
    assert {tuple(p): b for p, b in zip(sinks.tolist(), basin_of_sink, strict=True)} == {
        tuple(map(int, p)): b for b, circle in circle_of.items() for p in circle
    }


def define_move(maps, foreground, p, is_2d, least_length):
    if not foreground[p]:
        return 27
    vector = np.concatenate([[0] * is_2d, maps[(slice(1, None), *p)]])
    along = np.full(27, -np.inf)
    for m, step in enumerate(STEPS_ZYX):
        q = tuple(np.add(p, step))
        if not any(step) or (is_2d and step[0]) or not all(0 <= i < n for i, n in zip(q, maps.shape[1:], strict=True)):
            continue
        if foreground[q]:
            along[m] = vector @ step / np.linalg.norm(step)
    return int(np.argmax(along)) if np.linalg.norm(vector) >= least_length and along.max() > 0 else 13


@pytest.mark.parametrize("is_2d", [False, True])
def test_threads_and_types_change_nothing(is_2d):
    maps, channels = random_maps(0, (9, 20, 20), is_2d)
    maps[1:] = np.rint(127.5 * (maps[1:] + 1)) / 127.5 - 1
    stored = np.rint(np.concatenate([255 * maps[:1], 127.5 * (maps[1:] + 1)])).astype(np.uint8)
    before = maps.copy()
    labels = decode(maps, config(gather_vx=1, least_length=0.05), channels=channels)
    assert labels.dtype == np.uint32
    assert labels.max() > 3
    for other in (maps.astype(np.float64), stored):
        for threads in (1, 2, 5):
            np.testing.assert_array_equal(
                decode(other, config(gather_vx=1, least_length=0.05), channels=channels, threads=threads), labels
            )
    np.testing.assert_array_equal(maps, before)


def test_objects_within_sections_are_joined_where_they_overlap():
    labels = np.zeros((4, 6, 12), np.uint32)
    labels[0, 1:5, 1:5] = 1
    labels[1, 1:5, 2:6] = 2  # shares 12 of 20 voxels
    labels[2, 1:5, 5:9] = 3  # 4 of 28
    labels[3, 1:5, 5:9] = 4
    labels[3, 0, 0] = 5
    assert [int(stitch_sections(labels.copy(), 0.5)[labels == n][0]) for n in range(1, 6)] == [1, 1, 2, 2, 3]
    assert [int(stitch_sections(labels.copy(), 0.1)[labels == n][0]) for n in range(1, 6)] == [1, 1, 1, 1, 2]
    assert int(stitch_sections(labels.copy(), 0.61).max()) == 4
    np.testing.assert_array_equal(stitch_sections(labels.copy(), 0.1) == 0, labels == 0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 4), (0, 4, 4), (4, 4, 0)])
@pytest.mark.parametrize("channels", [IN_SPACE, IN_SECTION])
def test_thin_empty_and_full_volumes_decode(shape, channels):
    empty = np.zeros((len(channels.names), *shape), np.float32)
    assert not decode(empty, config(gather_vx=1, least_length=0.05), channels=channels).any()
    full = empty + 1
    assert decode(full, config(), channels=channels).shape == shape
    assert (decode(full, config(), channels=channels) > 0).all()


@pytest.mark.parametrize("is_2d", [False, True])
def test_noise_makes_no_objects(is_2d):
    """Two cells that touch come back from vectors with an error of some 20 degrees."""
    grid = np.stack(np.meshgrid(np.arange(14), np.arange(16), np.arange(28), indexing="ij"), axis=-1)
    centres = np.array([[6.5, 7.5, 7.5], [6.5, 7.5, 19.5]])
    radius = np.linalg.norm(
        (grid[..., None, :] - centres) * [0, 1, 1] if is_2d else grid[..., None, :] - centres, axis=-1
    )
    labels = np.where(radius.min(axis=-1) < 6.3, 1 + radius.argmin(axis=-1), 0)
    flows, _ = flows_of_labels(labels, is_2d=is_2d)
    noise = np.random.default_rng(0).normal(0, 0.25, flows.shape)
    maps = np.concatenate([(labels > 0)[None], np.clip(flows + noise, -1, 1)]).astype(np.float32)
    found = decode(maps, config(min_size_vx=50), channels=IN_SECTION if is_2d else IN_SPACE)
    assert found.max() == 2
    for label in (1, 2):
        alike = found[labels == label]
        assert (alike == np.bincount(alike).argmax()).mean() > 0.95


def test_channels_that_are_missing_are_told():
    maps = np.zeros((3, 4, 4, 4), np.float32)
    with pytest.raises(ConfigError, match="flow reads channels named binary and flow y, flow x"):
        decode(maps, config(), channels=Channels(("binary", "flow z", "flow y"), (None,) * 3))
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(maps, config(), channels=IN_SPACE)
