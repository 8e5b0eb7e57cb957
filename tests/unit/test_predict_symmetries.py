"""What a network that knows the truth says of a turned window must, turned back, be what it says of the window."""

import itertools
import logging

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, label

from connectomake.channels import Channel, name_offset
from connectomake.config.settings.predict import TtaConfig
from connectomake.errors import ConfigError
from connectomake.geometry import Box
from connectomake.predict.network.symmetries import OverSymmetries, check_symmetries, list_symmetries
from connectomake.predict.network.turned_channels import Symmetry
from connectomake.targets.affinity import affinities_of_labels
from connectomake.targets.contour import ContourTarget
from connectomake.targets.descriptors import DescriptorTarget
from connectomake.targets.flow import FlowTarget
from connectomake.targets.kinds.contour import ContourConfig
from connectomake.targets.kinds.descriptors import DescriptorsConfig
from connectomake.targets.kinds.flow import FlowConfig

ALL = TtaConfig(flip=("z", "y", "x"), permute=("zy", "yx"))
IN_SECTION = TtaConfig(flip=("z", "y", "x"), rotate=("yx",))
VOXEL_SIZE = (10.0, 10.0, 10.0)
OFFSETS = [
    (1, 0, 0), (0, 1, 0), (0, 0, 1),  # short
    (4, 0, 0), (0, 3, 0), (0, 0, 4),  # long, and along y by another length
    (0, -2, 0), (-3, 0, 0), (0, 0, 2), (0, 0, -2),  # negative, and both ways
    (1, 1, 0), (0, 1, -1), (2, -1, 3), (0, 20, 0),  # diagonal, and beyond the window
]  # fmt: skip


def make_affinities(offsets):
    return [Channel(name_offset(offset), "affinity", offset) for offset in offsets]


def make_objects(shape):
    """Irregular objects, numbered, on a background; none reaches the window's faces."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=shape), 1.5)
    inside = np.pad(np.ones([side - 2 for side in shape], bool), 1)
    return label((noise > np.quantile(noise, 0.75)) & inside)[0]


def make_cells(shape):
    """Cells of two voxels a side, of two labels and background."""
    cells = np.random.default_rng(0).choice([0, 1, 2, 2, 2], [-(-side // 2) for side in shape])
    return np.kron(cells, np.ones((2, 2, 2), int))[tuple(slice(side) for side in shape)]


def as_windows(labels):
    return torch.from_numpy(labels.astype(np.int16))[None, None]


def knowing(make):
    """Return a network that computes (C, Z, Y, X) from the labels of a window, and remembers."""
    known = {}

    def evaluate(windows):
        labels = np.ascontiguousarray(windows[0, 0].numpy(), np.int64)
        if labels.tobytes() not in known:
            known[labels.tobytes()] = torch.from_numpy(make(labels).astype(np.float32))[None]
        return known[labels.tobytes()]

    return evaluate


def each_alone(channels, symmetries, windows, evaluate):
    """Give, for every symmetry, the least and the largest of its prediction and the window's own."""
    for symmetry in symmetries:
        yield tuple(OverSymmetries(channels, (Symmetry(), symmetry), m)(windows, evaluate)[0] for m in ("min", "max"))


def find_spoken(channels, symmetry, window):
    """Return where a symmetry adds a prediction to the window's own."""
    calls = itertools.count()

    def evaluate(windows):
        return torch.full((1, len(channels), *windows.shape[2:]), float(next(calls)))

    return OverSymmetries(channels, (Symmetry(), symmetry), "max")(torch.zeros(1, 1, *window), evaluate)[0] == 1


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 1),
        ({"flip": ("x",)}, 2),
        ({"permute": ("yx",)}, 2),
        ({"flip": ("z", "x")}, 4),
        ({"rotate": ("yx",)}, 4),
        ({"permute": ("zy", "yx")}, 6),
        ({"flip": ("z", "y", "x")}, 8),
        ({"flip": ("y",), "rotate": ("yx",)}, 8),
        ({"flip": ("z", "y", "x"), "rotate": ("yx",)}, 16),
        ({"rotate": ("zy", "yx")}, 24),
        ({"flip": ("z", "y", "x"), "permute": ("zy", "yx")}, 48),
        ({"flip": ("x",), "rotate": ("zy", "zx", "yx"), "permute": ("zx",)}, 48),
    ],
)
def test_lists_the_whole_group_once(options, size):
    symmetries = list_symmetries(TtaConfig(**options), (4, 4, 4))
    assert symmetries[0] == Symmetry()
    assert len(symmetries) == len(set(symmetries)) == size
    assert {a.after(b) for a in symmetries for b in symmetries} == set(symmetries)


def test_a_quarter_turn_turns_by_a_quarter():
    window = torch.arange(2 * 3 * 3).reshape(2, 3, 3)
    found = {tuple(s.apply(window).flatten().tolist()) for s in list_symmetries(TtaConfig(rotate=("yx",)), (2, 3, 3))}
    assert found == {tuple(torch.rot90(window, k, (1, 2)).flatten().tolist()) for k in range(4)}


def test_undoing_gives_the_window_back():
    window = torch.arange(2 * 27).reshape(2, 3, 3, 3)
    turned = [symmetry.apply(window) for symmetry in list_symmetries(ALL, (3, 3, 3))]
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 48
    for symmetry, t in zip(list_symmetries(ALL, (3, 3, 3)), turned, strict=True):
        assert torch.equal(symmetry.undo(t), window)


@pytest.mark.parametrize(("cfg", "shape"), [(ALL, (9, 9, 9)), (IN_SECTION, (7, 10, 10)), (IN_SECTION, (3, 9, 9))])
def test_affinities_are_those_of_the_same_edges(cfg, shape):
    channels, labels = make_affinities(OFFSETS), make_cells(shape)
    truth = knowing(lambda turned: affinities_of_labels(turned, OFFSETS)[0])
    expected = truth(as_windows(labels))[0]
    assert 0.2 < expected.mean() < 0.6
    for least, most in each_alone(channels, list_symmetries(cfg, shape), as_windows(labels), truth):
        assert torch.equal(least, expected)
        assert torch.equal(most, expected)


def test_affinities_may_stand_at_the_end_of_their_edges():
    offsets = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 3, 0), (0, 2, -1)]
    labels, symmetries = make_cells((4, 9, 9)), list_symmetries(IN_SECTION, (4, 9, 9))
    truth = knowing(lambda turned: affinities_of_labels(turned, -np.array(offsets))[0])
    over = OverSymmetries(make_affinities(offsets), symmetries, "max", edge_convention="destination")
    assert torch.equal(over(as_windows(labels), truth), truth(as_windows(labels)))
    wrong = OverSymmetries(make_affinities(offsets), symmetries, "max")
    assert not torch.equal(wrong(as_windows(labels), truth), truth(as_windows(labels)))


def test_every_orientation_says_something_about_every_edge_of_a_symmetric_set():
    shape, offsets = (6, 6, 6), [(1, 0, 0), (0, -1, 0), (0, 0, 1), (3, 0, 0), (0, 3, 0), (0, 0, 3)]
    mask = torch.from_numpy(affinities_of_labels(np.ones(shape, int), offsets)[1])
    for symmetry in list_symmetries(ALL, shape)[1:]:
        spoken = find_spoken(make_affinities(offsets), symmetry, shape)
        assert (spoken | ~mask).all()
        for place, offset in enumerate(offsets):
            fetched = symmetry.turn(offset) not in offsets
            assert torch.equal(spoken[place], mask[place] if fetched else torch.ones_like(mask[place]))


def test_an_orientation_says_nothing_about_an_edge_that_no_channel_holds():
    exchange = list_symmetries(TtaConfig(permute=("yx",)), (6, 6, 6))[1]
    spoken = find_spoken(make_affinities([(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 3, 0), (0, 0, 2)]), exchange, (6, 6, 6))
    assert spoken.flatten(1).any(1).tolist() == [True, True, True, False, False]


def test_flows_are_those_of_the_same_objects():
    labels, target = make_objects((24, 24, 24)), FlowTarget(FlowConfig(), VOXEL_SIZE)
    truth = knowing(lambda turned: target.make(turned, Box.of_shape(turned.shape))[0])
    expected = truth(as_windows(labels))[0]
    assert (expected.abs().flatten(1).amax(1) > 0.9).all()
    for least, most in each_alone(target.channels, list_symmetries(ALL, labels.shape), as_windows(labels), truth):
        assert torch.allclose(least, expected, atol=1e-4)
        assert torch.allclose(most, expected, atol=1e-4)


def test_descriptors_are_those_of_the_same_objects():
    labels, target = make_objects((14, 14, 14)), DescriptorTarget(DescriptorsConfig(sigma_nm=12), VOXEL_SIZE)
    box = Box.of_shape(labels.shape)
    truth = knowing(lambda turned: target.make(turned, box)[0])
    expected = truth(as_windows(labels))[0]
    known = torch.from_numpy((labels > 0) & target.make(labels.astype(np.int64), box)[1][0])
    assert (expected[:, known].std(1) > 0.02).all()
    for least, most in each_alone(target.channels, list_symmetries(ALL, labels.shape), as_windows(labels), truth):
        assert torch.allclose(least[:, known], expected[:, known], atol=1e-5)
        assert torch.allclose(most[:, known], expected[:, known], atol=1e-5)


@pytest.mark.parametrize(
    "target",
    [FlowTarget(FlowConfig(planes="2d"), VOXEL_SIZE), ContourTarget(ContourConfig(planes="2d"), VOXEL_SIZE)],
    ids=["flow", "contour"],
)
def test_what_is_seen_in_sections_is_not_taken_from_sections_across_another_axis(target):
    labels = make_objects((16, 16, 16))
    truth = knowing(lambda turned: target.make(turned, Box.of_shape(turned.shape))[0])
    expected, symmetries = truth(as_windows(labels))[0], list_symmetries(ALL, labels.shape)
    assert OverSymmetries(target.channels, symmetries, "mean").counts == (16,) * len(target.channels)
    for least, most in each_alone(target.channels, symmetries, as_windows(labels), truth):
        assert torch.allclose(least, expected, atol=1e-4)
        assert torch.allclose(most, expected, atol=1e-4)


@pytest.mark.parametrize("merge", ["mean", "min", "max"])
@pytest.mark.parametrize(("activation", "none"), [("sigmoid", 0.5), ("tanh", 0.0), ("identity", 0.0)])
def test_opposite_components_cancel_as_they_are_coded(activation, none, merge):
    channels = [
        Channel("z", "vector", axes="z", activation=activation),
        Channel("zz", "matrix", axes="zz", activation=activation),
        Channel("yx", "matrix", axes="yx", activation=activation),
        Channel("class", "classes", activation=activation),
    ]
    over = OverSymmetries(channels, list_symmetries(TtaConfig(flip=("z",)), (2, 2, 2)), merge)
    values = iter([0.3, 0.4])
    found = over(torch.zeros(1, 1, 2, 2, 2), lambda windows: torch.full((1, 4, 2, 2, 2), next(values)))
    merged = {"mean": 0.35, "min": 0.3, "max": 0.4}[merge]
    assert torch.allclose(found[0, :, 0, 0, 0], torch.tensor([none - 0.05, merged, 0.35, merged]))


def test_channels_that_are_not_kept_help_those_that_are():
    offsets = [(1, 0, 0), (0, 2, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2)]
    shape, symmetries = (5, 5, 5), list_symmetries(TtaConfig(permute=("yx",)), (5, 5, 5))
    over = OverSymmetries(make_affinities(offsets), symmetries, "mean", kept=(2, 0))
    assert over.needed == (2, 0, 3)
    assert over.counts == (2, 2)
    field = torch.rand(1, 5, *shape)
    found = over(torch.zeros(1, 1, *shape), lambda windows: field[:, list(over.needed)])
    whole = OverSymmetries(make_affinities(offsets), symmetries, "mean")(torch.zeros(1, 1, *shape), lambda w: field)
    assert torch.equal(found, whole[:, [2, 0]])
    assert not torch.equal(found, field[:, [2, 0]])


def test_an_orientation_that_says_nothing_is_not_computed():
    symmetries = list_symmetries(TtaConfig(permute=("yx",)), (5, 5, 5))
    over, calls = OverSymmetries(make_affinities([(0, 1, 0)]), symmetries, "mean"), []
    field = torch.rand(1, 1, 5, 5, 5)
    assert torch.equal(over(field, lambda windows: calls.append(1) or field), field)
    assert len(calls) == len(over) == 1


@pytest.mark.parametrize("merge", ["mean", "min", "max"])
def test_bits_depend_neither_on_threads_nor_on_the_batch_nor_on_the_network_s_memory(merge):
    side, offsets = 40, [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 9)]
    over = OverSymmetries(make_affinities(offsets), list_symmetries(IN_SECTION, (side,) * 3), merge)
    field, memory = torch.rand(1, 4, side, side, side), torch.empty(1, 4, side, side, side)
    windows = torch.randint(0, 255, (2, 1, side, side, side), dtype=torch.uint8)

    def run(windows, evaluate=lambda windows: windows / 255 * field):
        return over(windows, evaluate)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = run(windows)
        torch.set_num_threads(3)
        assert torch.equal(run(windows), expected)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.cat([run(windows[:1]), run(windows[1:])]), expected)
    reused = run(windows[1:], lambda windows: memory.copy_(windows / 255 * field))
    assert torch.equal(reused, expected[1:])
    laid_out = run(windows, lambda windows: (windows / 255 * field).contiguous(memory_format=torch.channels_last_3d))
    assert torch.equal(laid_out, expected)


@pytest.mark.parametrize("key", ["rotate", "permute"])
def test_refuses_to_exchange_different_sides(key):
    cfg = TtaConfig(flip=("z",), **{key: ("zx",)})
    with pytest.raises(ConfigError, match=rf"{key} exchanges z and x.*equal sides.*32 and 64 voxels.*window_zyx_vx"):
        list_symmetries(cfg, (32, 64, 64))
    assert len(list_symmetries(TtaConfig(flip=("z",), **{key: ("yx",)}), (32, 64, 64))) in (4, 8)


def test_refuses_to_exchange_axes_of_clearly_different_voxels(caplog):
    with pytest.raises(ConfigError, match=r"rotate exchanges z and y.*factor of 3.33.*30 and 9 nm.*flip"):
        check_symmetries(TtaConfig(rotate=("zy",)), (8, 8, 8), (30, 9, 9))
    with caplog.at_level(logging.WARNING):
        check_symmetries(TtaConfig(flip=("z", "y", "x"), rotate=("yx",)), (4, 8, 8), (30, 9, 9))
        check_symmetries(TtaConfig(permute=("zy",)), (8, 8, 8), (9.05, 9, 9))
        assert not caplog.messages
        check_symmetries(TtaConfig(permute=("zx",)), (8, 8, 8), (10, 9, 9))
    assert [m for m in caplog.messages if "permute exchanges z and x" in m and "10 and 9 nm" in m]


def test_warns_of_channels_about_which_orientations_say_nothing(caplog):
    channels = make_affinities([(1, 0, 0), (0, 1, 0), (0, 0, 1), (4, 0, 0)])
    with caplog.at_level(logging.WARNING):
        check_symmetries(TtaConfig(flip=("z", "y", "x")), (8, 8, 8), VOXEL_SIZE, channels)
        assert not caplog.messages
        check_symmetries(ALL, (8, 8, 8), VOXEL_SIZE, channels)
    assert len(caplog.messages) == 1
    assert "in 32 of 48 orientations" in caplog.messages[0]
    assert "affinity z+4" in caplog.messages[0]


def test_refuses_channels_that_cannot_be_told_apart():
    channels = [Channel("mito y+1", "output", (0, 1, 0)), Channel("er y+1", "output", (0, 1, 0))]
    with pytest.raises(ConfigError, match=r"'mito y\+1' and 'er y\+1'.*target of its own"):
        check_symmetries(TtaConfig(flip=("y",)), (8, 8, 8), VOXEL_SIZE, channels)
    check_symmetries(TtaConfig(), (8, 8, 8), VOXEL_SIZE, channels)
