"""Augmentations act as often as they are told to, keep labels and image together, and depend on the generator alone."""

from itertools import permutations, product

import numpy as np
import pytest

from connectomake.augment.orientation import Orientation, draw_orientation
from connectomake.augment.patch import Patch
from connectomake.augment.registry import AUGMENTATIONS, augment
from connectomake.config.augment import (
    AugmentConfig,
    FlipConfig,
    MissingSectionsConfig,
    RotateConfig,
    ShiftSectionsConfig,
)

BEFORE, AFTER = (1, 2, 0), (2, 0, 3)
SHAPE = (12, 14, 16)
# One that acts, and that changes every patch it acts on.
CERTAIN = {
    "shift_sections": {"share": 1, "distance_vx": 3},
    "blur_sections": {"share": 0.5},
    "intensity": {},
    "noise": {},
    "missing_sections": {"share": 0.01},
    "cutout": {},
}


def make_patch(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, 50, [b + n + a for b, n, a in zip(BEFORE, SHAPE, AFTER, strict=True)])
    return Patch(rng.standard_normal((2, *SHAPE), np.float32), labels, BEFORE)


def linked_patch():
    """Give a patch whose grey values are its labels."""
    patch = make_patch()
    patch.raw = patch.labels[patch.box.slices][None].astype(np.float32)
    return patch


def config(name, **changes):
    return AugmentConfig.model_validate({name: {"probability": 1, **CERTAIN[name], **changes}})


def run(cfg, seed=0):
    patch = make_patch()
    augment(patch, cfg, np.random.default_rng(seed))
    return patch


def test_settings_and_functions_are_the_same():
    assert (
        [n for n in AugmentConfig.model_fields if n not in ("flip", "rotate")] == list(AUGMENTATIONS) == list(CERTAIN)
    )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_same_generator_same_patch(name):
    first, again, other = run(config(name), 1), run(config(name), 1), run(config(name), 2)
    np.testing.assert_array_equal(first.raw, again.raw)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.raw != other.raw).any()
    assert first.raw.dtype == np.float32
    assert first.raw.shape == (2, *SHAPE)
    assert np.isfinite(first.raw).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("probability", [0, 0.3, 1])
def test_probability_is_kept(name, probability):
    before = make_patch()
    changed = sum((run(config(name, probability=probability), seed).raw != before.raw).any() for seed in range(300))
    assert abs(changed - 300 * probability) <= (0 if probability in (0, 1) else 4 * np.sqrt(300 * 0.21))


@pytest.mark.parametrize("name", [n for n in AUGMENTATIONS if n != "shift_sections"])
def test_labels_stay_where_the_image_does(name):
    np.testing.assert_array_equal(run(config(name)).labels, make_patch().labels)


@pytest.mark.parametrize("axis", ["z", "any"])
def test_missing_sections_are_whole_and_few(axis):
    cfg = AugmentConfig(missing_sections=MissingSectionsConfig(probability=1, share=0.2, axis=axis))
    axes, lost = set(), []
    for seed in range(60):
        gone = (run(cfg, seed).raw == 0).all(0)
        along = [gone.all(tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        found = [a for a in range(3) if along[a].any()]
        assert len(found) == 1
        axes.add(found[0])
        lost.append(along[found[0]].mean())
        assert gone.sum() == along[found[0]].sum() * gone.size // len(along[found[0]])
    assert axes == ({0} if axis == "z" else {0, 1, 2})
    assert 0.15 < np.mean(lost) < 0.27


@pytest.mark.parametrize("seed", range(20))
def test_labels_follow_shifted_sections(seed):
    patch = linked_patch()
    before = patch.raw.copy()
    cfg = ShiftSectionsConfig(probability=1, share=0.5, distance_vx=20, axis="any")
    augment(patch, AugmentConfig(shift_sections=cfg), np.random.default_rng(seed))
    labels = patch.labels[patch.box.slices]
    assert (patch.raw != before).any()
    known = labels != -1
    np.testing.assert_array_equal(patch.raw[0][known], labels[known])


def test_labels_around_a_patch_follow_too():
    """Shift by hand: what was known around the patch moves into it, and what went round is unknown."""
    cfg = AugmentConfig(shift_sections=ShiftSectionsConfig(probability=1, share=1, distance_vx=3))
    before, after = make_patch().labels, run(cfg).labels
    np.testing.assert_array_equal(after[0], before[0])  # before the patch: there is no image that moved
    for old, new in zip(before[1:13], after[1:13], strict=True):
        moves = [
            (dy, dx)
            for dy, dx in product(range(-3, 4), repeat=2)
            if (rolled := np.roll(old, (dy, dx), (0, 1))).shape and ((new == rolled) | (new == -1)).all()
        ]
        assert len(moves) == 1
        (dy, dx) = moves[0]
        rows, columns = (new == -1).all(1), (new == -1).all(0)
        assert rows.sum() == (0 if dy == 0 else 2 + dy if dy > 0 else -dy)
        assert columns.sum() == (0 if dx == 0 else dx if dx > 0 else 3 - dx)


def test_labels_may_stay():
    cfg = ShiftSectionsConfig(probability=1, share=1, labels="stay")
    np.testing.assert_array_equal(run(AugmentConfig(shift_sections=cfg)).labels, make_patch().labels)


ALL = [
    Orientation(order, mirrored) for order in permutations(range(3)) for mirrored in product((False, True), repeat=3)
]


def test_orientations_are_48_different_ones():
    cube = np.arange(27).reshape(3, 3, 3)
    assert len({orientation.apply(cube).tobytes() for orientation in ALL}) == 48


@pytest.mark.parametrize("orientation", ALL)
def test_context_is_read_where_it_will_be(orientation):
    """A box cut out of the turned volume is the turned box cut out of the volume."""
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 1000, (30, 30, 30))
    start, side = np.array([10, 12, 9]), 8
    before, after = orientation.context_in_source(BEFORE, AFTER)
    source = volume[tuple(slice(s - b, s + side + a) for s, b, a in zip(start, before, after, strict=True))]
    turned = orientation.apply(source)
    assert turned.shape == tuple(b + side + a for b, a in zip(BEFORE, AFTER, strict=True))
    inner = turned[tuple(slice(b, b + side) for b in BEFORE)]
    np.testing.assert_array_equal(inner, orientation.apply(volume[tuple(slice(s, s + side) for s in start)]))


def draw(seed, flip=None, rotate=None, size=(8, 8, 8), patch=(16, 16, 16)):
    return draw_orientation(np.random.default_rng(seed), flip, rotate, size, patch)


def test_all_orientations_are_drawn_equally_often():
    drawn = [draw(seed, FlipConfig(), RotateConfig()) for seed in range(48 * 40)]
    counts = np.array([drawn.count(orientation) for orientation in ALL])
    assert (abs(counts - 40) < 5 * np.sqrt(40)).all()


@pytest.mark.parametrize(
    ("size", "patch", "kept"),
    [((40, 4, 4), (16, 16, 16), [0]), ((4, 4, 4), (16, 32, 16), [1]), ((30, 8, 4), (16, 16, 16), [0, 1, 2])],
)
def test_only_equal_axes_are_exchanged(size, patch, kept):
    orders = {draw(seed, None, RotateConfig(), size, patch).order for seed in range(100)}
    assert all(order[axis] == axis for order in orders for axis in kept)
    assert len(orders) == (2 if len(kept) == 1 else 1)


def test_flip_and_rotate_keep_their_probability():
    drawn = [draw(seed, FlipConfig(probability=0.2, axes="zx"), RotateConfig(probability=0.6)) for seed in range(2000)]
    shares = np.mean([o.mirrored for o in drawn], 0)
    assert abs(shares[0] - 0.2) < 0.04
    assert shares[1] == 0
    assert abs(shares[2] - 0.2) < 0.04
    assert abs(np.mean([o.order != (0, 1, 2) for o in drawn]) - 0.6 * 5 / 6) < 0.05
    assert all(draw(seed) == Orientation() for seed in range(50))
