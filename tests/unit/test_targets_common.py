"""What holds for every target: patches are parts of the whole, the unknown is not learnt, mirrors, decoders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from connectomake.channels import name_channels
from connectomake.config.registries import TARGETS
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import DECODERS
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.geometry import Box
from connectomake.targets.registry import Targets
from connectomake.targets.target import MOST_CONTEXT_VX

SIZE_NM = (20.0, 10.0, 10.0)
CLASSES = {"labels": {"odd": [1, 3, 5, 7], "four": [4, 8]}}

SECTIONS = {
    "affinity": {"affinity": {"offsets_zyx_vx": [[1, 0, 0], [0, -2, 1]], "erosion_zyx_vx": [0, 1, 1]}},
    "binary": {"binary": {}},
    "eroded": {"binary": {"erosion_zyx_vx": [1, 2, 1]}},
    "contour": {"contour": {}},
    "contour 2d": {"contour": {"between": "objects", "planes": "2d", "thickness_vx": 2}},
    "signed": {"distance": {"kind": "signed", "scale_inside_nm": 10, "scale_outside_nm": 8}},
    "signed 2d": {"distance": {"kind": "signed", "planes": "2d", "scale_inside_nm": 10, "scale_outside_nm": 8}},
    "semantic": {"distance": {"kind": "semantic", "scale_inside_nm": 8, "scale_outside_nm": 8}},
    "instance": {"distance": {"scale_inside_nm": 20}},
    "flow": {"flow": {"object_extent_nm": 300}},
    "flow 2d": {"flow": {"planes": "2d", "object_extent_nm": 150}},
    "descriptors": {"descriptors": {"sigma_nm": 15}},
    "classes": {"classes": CLASSES},
    "exclusive": {"classes": CLASSES | {"exclusive": True}},
}
DEPENDS_ON_WHAT_IS_SEEN = {"instance"}  # an object's deepest voxel may lie where nobody looks

every_target = pytest.mark.parametrize("name", SECTIONS)
seeds = st.integers(0, 2**32 - 1)
few = settings(deadline=None, max_examples=8)


def config(name):
    return TargetsConfig.model_validate({"affinity": None} | SECTIONS[name])


def make_targets(name, size_nm=SIZE_NM):
    return Targets(config(name), size_nm)


def make_labels(seed, shape=(14, 20, 22), points=9, gap=1.5):
    """Return cells 1 to 9 with background between them."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance, nearest = cKDTree(rng.random((points, 3)) * shape).query(grid, k=2)
    return np.where(distance[..., 1] - distance[..., 0] < gap, 0, nearest[..., 0] + 1)


def with_unknown(labels, seed):
    """Make a box and some voxels unknown."""
    rng = np.random.default_rng(seed)
    corner = [rng.integers(0, n) for n in labels.shape]
    unknown = rng.random(labels.shape) < 0.001
    unknown[tuple(slice(c, c + 3) for c in corner)] = True
    return np.where(unknown, -1, labels)


def whole(labels):
    return Box.of_shape(labels.shape)


@every_target
def test_values_and_mask_are_of_the_kinds_that_losses_take(name):
    labels, targets = with_unknown(make_labels(0), 0), make_targets(name)
    before = labels.copy()
    patch = Box((2, 3, 4), (12, 13, 20))
    values, mask = targets.make(labels, patch)
    channels = config(name).channels
    assert values.shape == mask.shape == (len(channels), *patch.shape_zyx)
    assert targets.channels == channels
    assert values.dtype == (np.uint8 if all(channel.binary for channel in channels) else np.float32)
    assert mask.dtype == bool
    assert mask.any()
    assert not mask[:, labels[patch.slices] == -1].any()
    assert not values[~mask].any()
    lowest = {"tanh": -1, "sigmoid": 0, "softmax": 0}
    for channel, of_channel in zip(channels, values, strict=True):
        assert lowest[channel.activation] <= of_channel.min() <= of_channel.max() <= 1
    np.testing.assert_array_equal(labels, before)


@every_target
@few
@given(seeds)
def test_a_patch_with_its_context_is_a_part_of_the_whole(name, seed):
    """Exactly, of what is known; and known is all, but for objects that are larger than the context."""
    labels = make_labels(seed, (40, 44, 46), points=160)
    targets = make_targets(name)
    patch = Box((16, 17, 18), (24, 25, 30))
    values, mask = targets.make(labels, patch)
    of_whole, known = (a[(slice(None), *patch.slices)] for a in targets.make(labels, whole(labels)))
    assert (mask <= known).all()
    if name in DEPENDS_ON_WHAT_IS_SEEN:
        assert ((values > 0) == (of_whole > 0))[mask].all()
        return
    np.testing.assert_array_equal(values[mask], of_whole[mask])
    assert mask.sum() >= 0.95 * known.sum()
    if not name.startswith("flow"):
        np.testing.assert_array_equal(mask, known)


@every_target
@few
@given(seeds)
def test_nothing_unknown_could_change_what_is_learnt(name, seed):
    """Other labels in place of -1 and beyond the array leave all known values as they are."""
    rng = np.random.default_rng(seed)
    truth = make_labels(seed)
    labels = with_unknown(truth, seed)
    inside = Box((2, 3, 3), (13, 18, 19))
    other = np.where(labels == -1, rng.integers(0, 9, truth.shape), truth)
    targets = make_targets(name)
    values, mask = targets.make(labels[inside.slices], Box.of_shape(inside.shape_zyx))
    of_other, _ = targets.make(other, inside)
    if name in DEPENDS_ON_WHAT_IS_SEEN:
        values, of_other = values > 0, of_other > 0
    if name == "flow 2d" or name == "flow":  # what has no middle in the other labels is cut there by the array
        mask = mask & targets.make(other, inside)[1]
    np.testing.assert_array_equal(values[mask], of_other[mask])


@every_target
def test_mirrored_labels_give_mirrored_targets(name):
    labels, targets = make_labels(3), make_targets(name)
    values, mask = targets.make(labels, whole(labels))
    for axis in range(3):
        mirrored, known = targets.make(np.flip(labels, axis).copy(), whole(labels))
        back = np.flip(mirrored, axis + 1).copy()
        for c, channel in enumerate(targets.channels):
            parts = channel.name.split()
            if parts[0] == "flow" and parts[1] == "zyx"[axis]:
                back[c] *= -1
            elif parts[1:2] in (["offset"], ["correlation"]) and "zyx"[axis] in parts[2]:
                back[c] = 1 - back[c]
        if name == "affinity":  # an edge's other end: told by the test of the two conventions
            continue
        np.testing.assert_array_equal(np.flip(known, axis + 1), mask)
        both = np.where(mask & (labels > 0), back - values.astype(float), 0)
        np.testing.assert_allclose(both, 0, atol=2e-5)


@pytest.mark.parametrize("name", [name for name in SECTIONS if "2d" not in name and name not in ("affinity", "eroded")])
def test_turned_labels_give_turned_targets_where_voxels_are_cubes(name):
    labels = make_labels(4)
    targets = make_targets(name, (10.0, 10.0, 10.0))
    values, mask = targets.make(labels, whole(labels))
    turned, known = targets.make(np.ascontiguousarray(labels.transpose(1, 2, 0)), whole(labels.transpose(1, 2, 0)))
    back, known = (a.transpose(0, 3, 1, 2) for a in (turned, known))
    new_name = str.maketrans("yxz", "zyx")  # axis y of the labels is axis z of the turned ones
    names = [channel.name for channel in targets.channels]
    for c, channel in enumerate(targets.channels):
        first, *middle, axes = channel.name.split() if name in ("flow", "descriptors") else (channel.name, "")
        moved = " ".join([first, *middle, axes.translate(new_name)]).strip()
        if moved not in names:  # the correlation of two axes has one order
            moved = " ".join([first, *middle, axes.translate(new_name)[::-1]])
        if channel.name == "descriptor size":
            moved = channel.name
        np.testing.assert_array_equal(known[names.index(moved)], mask[c])
        np.testing.assert_allclose(back[names.index(moved)], values[c], atol=2e-5)


def test_targets_come_one_after_another_with_the_largest_context():
    cfg = TargetsConfig.model_validate(
        {"affinity": {"offsets_zyx_vx": [[1, 0, 0], [0, 0, -5]]}, "binary": {}, "contour": {"thickness_vx": 2}}
        | {"distance": {"kind": "signed", "scale_inside_nm": 10, "scale_outside_nm": 10}, "classes": CLASSES}
    )
    targets = Targets(cfg, SIZE_NM)
    assert [c.target for c in targets.channels] == ["affinity"] * 2 + ["binary", "contour", "distance"] + [
        "classes"
    ] * 2
    assert targets.context == ((2, 3, 5), (2, 3, 3))
    labels = with_unknown(make_labels(1), 1)
    patch = Box((3, 4, 6), (9, 12, 15))
    values, mask = targets.make(labels, patch)
    for part, start, stop in zip(targets.parts, (0, 2, 3, 4, 5), (2, 3, 4, 5, 7), strict=True):
        np.testing.assert_array_equal(values[start:stop], part.make(labels, patch)[0])
        np.testing.assert_array_equal(mask[start:stop], part.make(labels, patch)[1])
    assert values.dtype == np.float32


@every_target
@pytest.mark.parametrize("size_nm", [(40.0, 4.0, 4.0), (8.0, 8.0, 8.0), (1.0, 1.0, 1.0)])
def test_context_is_bounded(name, size_nm):
    assert max(map(max, make_targets(name, size_nm).context)) <= MOST_CONTEXT_VX


def all_channels():
    sections = {name: {} for name in TARGETS} | {"classes": CLASSES | {"exclusive": True}}
    return TargetsConfig.model_validate(sections)


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_target_says_which_decoders_read_it(decoder):
    """Of the channels of all targets together, a decoder reads some of just those targets that name it."""
    cfg = all_channels()
    chosen = DecodeConfig(decoder=decoder).choose_channels(name_channels(cfg.channels))
    assert {cfg.channels[c].target for c in chosen} == {
        name for name in cfg.names if decoder in getattr(cfg, name).decoders
    }


def test_all_targets_but_the_descriptors_have_a_decoder():
    cfg = all_channels()
    assert set(TARGETS) == set(cfg.names)
    assert [name for name in cfg.names if not getattr(cfg, name).decoders] == ["descriptors"]


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"affinity": None}, "a network has to predict something"),
        ({"distance": {"skeleton_falloff": 0.5}}, "skeleton_falloff changes nothing: kind is instance"),
        ({"distance": {"kind": "skeleton", "scale_outside_nm": 9}}, "scale_outside_nm changes nothing"),
        ({"descriptors": {"parts": ["size", "size"]}}, "each part is named once"),
        ({"classes": {"labels": {"er": []}}}, "class 'er' needs values above 0"),
        ({"classes": {"labels": {"er": [0]}}}, "class 'er' needs values above 0"),
        ({"classes": {"labels": {"er": [1], "mito": [2, 1]}, "exclusive": True}}, "value 1 is of the classes 'er' and"),
        ({"binary": {}, "classes": {"labels": {"binary": [1]}}}, "two channels are called 'binary'"),
    ],
)
def test_targets_that_cannot_be_meant_are_refused(sections, problem):
    with pytest.raises(ValueError, match=problem):
        TargetsConfig.model_validate(sections)
