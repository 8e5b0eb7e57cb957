"""Merging over orientations: the same bits as a loop over voxels, and as blind to orientation as it should be."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connectomake.channels import Channel, name_offset
from connectomake.config.settings.predict import TtaConfig
from connectomake.predict.network.symmetries import OverSymmetries, list_symmetries
from connectomake.predict.network.turned_channels import Symmetry, slice_overlap

PLANES = ("zy", "zx", "yx")
configs = st.builds(
    TtaConfig,
    flip=st.sets(st.sampled_from("zyx")).map(tuple),
    rotate=st.sets(st.sampled_from(PLANES), max_size=1).map(tuple),
    permute=st.sets(st.sampled_from(PLANES)).map(tuple),
)
orders = st.permutations(range(3)).map(tuple)
symmetries = st.builds(Symmetry, orders, st.tuples(*[st.booleans()] * 3))
steps = st.integers(-2, 2)
offsets = st.lists(st.tuples(steps, steps, steps).filter(any), min_size=1, max_size=5, unique=True)
others = st.lists(
    st.sampled_from(
        [
            Channel("class", "classes"),
            *(Channel(f"flow {a}", "flow", activation="tanh", axes=a) for a in "zyx"),
            *(Channel(f"shape {a}", "shape", axes=a) for a in ("z", "y", "x", "zz", "yy", "xx", "zy", "zx", "xy")),
        ]
    ),
    max_size=4,
    unique=True,
)


def make_channels(offsets, others=()):
    return [Channel(name_offset(offset), "affinity", offset) for offset in offsets] + list(others)


def make_network(channels, window, seed=0):
    """Return something that differs in every voxel, in every orientation and channel."""
    generator = torch.Generator().manual_seed(seed)
    field = torch.rand(len(channels), *window, generator=generator)
    kernel = torch.rand(len(channels), 1, 1, 1, 2, generator=generator)

    def evaluate(windows):
        padded = torch.nn.functional.pad(windows.float(), (0, 1))
        return (torch.nn.functional.conv3d(padded, kernel) * field).sigmoid()

    return evaluate


def make_windows(window, count=1):
    return torch.from_numpy(np.random.default_rng(1).integers(0, 3, (count, 1, *window)).astype(np.uint8))


def cube(draw, cfg):
    """Draw the sides of a window, equal where the settings exchange them."""
    sides = [draw(st.integers(2, 4)) for _ in range(3)]
    return (sides[0],) * 3 if cfg.rotate or cfg.permute else tuple(sides)


def merge_by_hand(windows, evaluate, channels, symmetries, merge, kept):
    """Look at each voxel of each channel by itself, with the turn measured on the voxels' coordinates."""
    shape = windows.shape[2:]
    coordinates = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    voxels = list(itertools.product(*(range(n) for n in shape)))
    found = {(n, k, p): [] for n in range(len(windows)) for k in range(len(kept)) for p in voxels}
    for symmetry in symmetries:
        turned = symmetry.apply(torch.from_numpy(coordinates)).numpy()
        place = {tuple(map(int, turned[:, *q])): np.array(q) for q in voxels}  # turned windows have the same shape
        matrix = np.stack([place[unit] - place[0, 0, 0] for unit in ((1, 0, 0), (0, 1, 0), (0, 0, 1))], 1)
        values = evaluate(symmetry.apply(windows)).numpy()
        for k, c in enumerate(kept):
            for p in voxels:
                at = look_up(channels, channels[c], p, matrix, place)
                if at is not None:
                    channel, q, sign = at
                    for n in range(len(windows)):
                        value = values[n, channel, *q]
                        flipped = -value if channels[c].activation == "tanh" else np.float32(1) - value
                        found[n, k, p].append(value if sign > 0 else flipped)
    result = np.empty((len(windows), len(kept), *shape), np.float32)
    for (n, k, p), values in found.items():
        axes = channels[kept[k]].axes
        if merge == "mean" or len(axes) == 1 or len(set(axes)) == 2:  # what has a sign is always averaged
            result[n, k, *p] = np.add.accumulate(np.array(values, np.float32))[-1] / np.float32(len(values))
        else:
            result[n, k, *p] = min(values) if merge == "min" else max(values)
    return result


def look_up(channels, wanted, p, matrix, place):
    """Find the channel, the voxel of the turned window, and the sign, or None."""
    if wanted.offset_zyx_vx:
        turned = matrix @ wanted.offset_zyx_vx
        for sign, at in ((1, p), (-1, tuple(np.add(p, wanted.offset_zyx_vx)))):
            for number, channel in enumerate(channels):
                if channel.offset_zyx_vx == tuple(sign * turned):
                    return (number, place[at], 1) if at in place else None
        return None
    parts = [matrix[:, "zyx".index(axis)] for axis in wanted.axes]
    axes = sorted("zyx"[int(np.flatnonzero(part)[0])] for part in parts)
    for number, channel in enumerate(channels):
        if channel.target == wanted.target and sorted(channel.axes) == axes:
            return number, place[tuple(p)], int(np.prod([part.sum() for part in parts]))
    return None


@given(configs, st.permutations("zyx"), st.permutations(PLANES))
def test_a_group_is_closed_and_does_not_depend_on_the_order_of_the_settings(cfg, axes, planes):
    found = list_symmetries(cfg, (4, 4, 4))
    assert found[0] == Symmetry()
    assert len(set(found)) == len(found)
    assert 48 % len(found) == 0
    assert {a.after(b) for a in found for b in found} == set(found)
    shuffled = TtaConfig(
        flip=tuple(a for a in axes if a in cfg.flip),
        rotate=tuple(p for p in planes if p in cfg.rotate),
        permute=tuple(p for p in planes if p in cfg.permute),
    )
    assert list_symmetries(shuffled, (4, 4, 4)) == found


@given(symmetries, symmetries, st.tuples(*[st.integers(1, 4)] * 3), st.tuples(steps, steps, steps))
def test_turning_can_be_undone_and_repeated(first, second, shape, offset):
    window = torch.arange(2 * np.prod(shape)).reshape(2, *shape)
    assert torch.equal(first.undo(first.apply(window)), window)
    assert torch.equal(second.after(first).apply(window), second.apply(first.apply(window)))
    assert second.after(first).turn(offset) == second.turn(first.turn(offset))


@settings(max_examples=40, deadline=None)
@given(configs, offsets, others, st.sampled_from(["mean", "min", "max"]), st.data())
def test_is_the_loop_over_voxels_bit_by_bit(cfg, offsets, others, merge, data):
    window, channels = cube(data.draw, cfg), make_channels(offsets, others)
    kept = data.draw(st.lists(st.sampled_from(range(len(channels))), min_size=1, unique=True))
    symmetries, network = list_symmetries(cfg, window), make_network(channels, window)
    over = OverSymmetries(channels, symmetries, merge, kept)
    found = over(make_windows(window, 2), lambda windows: network(windows)[:, list(over.needed)])
    expected = merge_by_hand(make_windows(window, 2), network, channels, symmetries, merge, kept)
    np.testing.assert_array_equal(found.numpy(), expected)


@settings(max_examples=40, deadline=None)
@given(configs, offsets, others, st.sampled_from(["mean", "min", "max"]), st.data())
def test_a_network_that_depends_on_orientation_no_longer_does(cfg, offsets, others, merge, data):
    # A network that holds an edge and its opposite says two things of it; each is turned into its own kind.
    assume(not {tuple(-step for step in offset) for offset in offsets} & set(offsets))
    window, channels = cube(data.draw, cfg), make_channels(offsets, others)
    symmetries, network = list_symmetries(cfg, window), make_network(channels, window)
    merged = OverSymmetries(channels, symmetries, merge)
    windows = make_windows(window)
    expected = merged(windows, network)[0]
    for symmetry in data.draw(st.lists(st.sampled_from(symmetries), max_size=3, unique=True)):
        for extreme in ("min", "max"):
            alone = OverSymmetries(channels, (Symmetry(), symmetry), extreme)
            found = alone(windows, lambda turned: merged(turned, network))[0]
            for channel, a, b in zip(channels, found, expected, strict=True):
                inside = slice_overlap(channel.offset_zyx_vx or (0, 0, 0))[0]  # an edge outside has one end to ask
                assert torch.allclose(a[inside], b[inside], atol=1e-6)


def test_the_networks_of_these_tests_depend_on_orientation():
    channels, window = make_channels([(1, 0, 0), (0, 1, 0), (0, 0, 1)]), (4, 4, 4)
    network, windows = make_network(channels, window), make_windows(window)
    for symmetry in list_symmetries(TtaConfig(flip=("z", "y", "x"), permute=PLANES), window)[1:]:
        alone = OverSymmetries(channels, (Symmetry(), symmetry), "max")(windows, network)
        assert (alone - network(windows)).max() > 0.1


@pytest.mark.parametrize("shift", [(0, 0, 0), (2, -1, 0), (5, 0, 0), (0, 0, -9)])
def test_an_overlap_pairs_each_voxel_with_its_neighbour(shift):
    field = np.stack(np.meshgrid(*(np.arange(4),) * 3, indexing="ij"))
    here, there = slice_overlap(shift)
    assert field[here].shape[1:] == tuple(max(0, 4 - abs(step)) for step in shift)
    assert (field[there] - field[here] == np.reshape(shift, (3, 1, 1, 1))).all()
