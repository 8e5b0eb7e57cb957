"""Augmentations act as often as they are told to, keep labels and image together, and depend on the generator alone."""

from itertools import permutations, product

import numpy as np
import pytest
from augment_patches import AFTER, BEFORE, CERTAIN, SHAPE, config, make_patch, run
from scipy import stats

from connectomake.augment.gaussian import normal_quantiles
from connectomake.augment.grey import GreyScale
from connectomake.augment.orientation import Orientation, draw_orientation
from connectomake.augment.patch import Patch
from connectomake.augment.registry import augment
from connectomake.config.registries import AUGMENTATIONS
from connectomake.config.settings.augment import AugmentConfig, FlipConfig, RotateConfig
from connectomake.errors import DataError

PLACED = ("flip", "rotate", "affine", "elastic")
MOVE_LABELS = ("copy_paste", "misalignment", "shift_sections")
ON_SECTIONS = ("missing_sections", "misalignment", "shift_sections", "missing_parts", "motion_blur", "blur_sections")


def test_settings_and_functions_are_the_same():
    names = [n for n in AugmentConfig.model_fields if n not in (*PLACED, "grey_unit", "read_beyond")]
    assert names == list(AUGMENTATIONS) == list(CERTAIN)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_same_generator_same_patch(name):
    first, again, other = run(config(name), 1), run(config(name), 1), run(config(name), 2)
    np.testing.assert_array_equal(first.raw, again.raw)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.raw != other.raw).any()
    assert first.raw.dtype == np.float32
    assert first.raw.shape == (2, *SHAPE)
    assert first.labels.dtype == make_patch().labels.dtype
    assert first.labels.shape == make_patch().labels.shape
    assert np.isfinite(first.raw).all()


@pytest.mark.parametrize("dtype", [np.int8, np.int32])
def test_labels_of_any_signed_type_give_the_same(dtype):
    everything = AugmentConfig.model_validate({name: {"probability": 1, **CERTAIN[name]} for name in AUGMENTATIONS})
    small = make_patch()
    small.labels = small.labels.astype(dtype)
    small, wide = run(everything, 3, small), run(everything, 3)
    assert small.labels.dtype == dtype
    np.testing.assert_array_equal(small.labels, wide.labels)
    np.testing.assert_array_equal(small.raw, wide.raw)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("probability", [0, 0.3, 1])
def test_probability_is_kept(name, probability):
    before = make_patch()
    changed = sum((run(config(name, probability=probability), seed).raw != before.raw).any() for seed in range(200))
    assert abs(changed - 200 * probability) <= (0 if probability in (0, 1) else 4 * np.sqrt(200 * 0.21))


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name not in MOVE_LABELS])
def test_labels_stay_where_the_image_does(name):
    np.testing.assert_array_equal(run(config(name)).labels, make_patch().labels)


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name not in ("noise", "cut_noise")])
def test_channels_are_treated_alike_and_never_mixed(name):
    """Two equal channels stay equal, and two that change places come out in each other's place."""
    equal = make_patch()
    equal.raw[1] = equal.raw[0]
    partner = make_patch(1)
    partner.raw[1] = partner.raw[0]
    equal.partner = lambda: partner
    swapped = make_patch()
    swapped.raw = swapped.raw[::-1].copy()
    swapped.partner = lambda: Patch(make_patch(1000).raw[::-1], make_patch(1000).labels, BEFORE)
    np.testing.assert_array_equal(*run(config(name), 5, equal).raw)
    np.testing.assert_array_equal(run(config(name), 5, swapped).raw[::-1], run(config(name), 5).raw)


@pytest.mark.parametrize("axis", ["z", "any"])
@pytest.mark.parametrize("name", ON_SECTIONS)
def test_sections_lie_across_the_axis_that_is_named(name, axis):
    changes = {"share": 0.1} if name != "misalignment" else {"slip": 1}
    found = set()
    for seed in range(12):
        before, after = make_patch().raw, run(config(name, axis=axis, **changes), seed).raw
        changed = (before != after).any(0)
        touched = [changed.any(tuple(b for b in range(3) if b != a)).sum() for a in range(3)]
        found.add(int(np.argmin(np.array(touched) / SHAPE)))
        assert min(np.array(touched) / SHAPE) < 0.6
    assert found == {0} if axis == "z" else len(found) == 3


@pytest.mark.parametrize("name", ["brightness", "contrast", "intensity", "noise", "cut_noise"])
def test_unit_range_makes_amounts_those_of_images_from_0_to_1(name):
    """The same settings on an image of 0 to 1, and on one that is normalised in any other way."""
    unit = make_patch()
    unit.raw = np.random.default_rng(0).random(unit.raw.shape, np.float32)
    unit.grey_range, unit.grey_black = 1.0, 0.0
    other = make_patch()
    other.raw = unit.raw * np.float32(255 / 40) - np.float32(3)
    other.grey_range, other.grey_black = 255 / 40, -3.0
    cfg = config(name).model_copy(update={"grey_unit": "range"})
    unit, other = run(cfg, 1, unit), run(cfg, 1, other)
    np.testing.assert_allclose((other.raw + 3) / (255 / 40), unit.raw, atol=2e-6)


def test_unit_sd_changes_contrast_about_the_mean():
    patch = make_patch()
    patch.raw[:] = 0
    np.testing.assert_array_equal(run(config("contrast"), 1, patch).raw, 0)


def test_brightness_and_contrast_keep_to_their_limits():
    flat = [float(run(config("brightness", shift=0.5), seed).raw[0, 0, 0, 0]) for seed in range(300)]
    moved = np.array(flat) - make_patch().raw[0, 0, 0, 0]
    assert 0.45 < moved.max() <= 0.5
    assert -0.5 <= moved.min() < -0.45
    scaled = np.array([float(run(config("contrast", scale=0.2), seed).raw[0, 0, 0, 0]) for seed in range(300)])
    scaled /= make_patch().raw[0, 0, 0, 0]
    assert 0.8 <= scaled.min() < 0.82
    assert 1.18 < scaled.max() <= 1.2 + 1e-6


def test_noise_is_gaussian_and_independent():
    """Moments, distribution and neighbours of the generator's numbers, and of words that follow one another."""
    patch = Patch(np.zeros((1, 64, 64, 61), np.float32), np.zeros((64, 64, 61), int), (0, 0, 0))
    cfg = AugmentConfig.model_validate({"noise": {"probability": 1, "strength": 1}})
    augment(patch, cfg, np.random.default_rng(1))
    values = patch.raw.reshape(-1) / patch.raw.std()
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(values)) < 5 * np.sqrt(24 / values.size)
    for lag in (1, 2, 3, 4, 61, 64 * 61):
        assert abs(np.mean(values[lag:] * values[:-lag])) < 5 / np.sqrt(values.size)
    assert abs(values).max() > 4
    assert abs(normal_quantiles().std() - 1) < 1e-4
    drawn = [run(config("noise", strength=1), seed).raw - make_patch().raw for seed in range(300)]
    assert abs(np.mean([change.std() for change in drawn]) - 0.5) < 0.06  # evenly from 0 to 1


def test_fill_is_what_it_says():
    rng, grey = np.random.default_rng(0), GreyScale.of(make_patch(), "sd")
    assert [grey.fill(kind, rng) for kind in ("mean", "black")] == [0, -2]
    drawn = [grey.fill("random", rng) for _ in range(200)]
    assert -2 <= min(drawn) < -1.9
    assert 1.9 < max(drawn) <= 2


def test_mixup_keeps_the_larger_share_and_the_labels():
    patch = run(config("mixup", weight=[0.8, 0.8]))
    expected = 0.8 * make_patch().raw + 0.2 * make_patch(1000).raw
    np.testing.assert_allclose(patch.raw, expected, atol=1e-6)
    alone = make_patch()
    alone.partner = None
    with pytest.raises(DataError, match="mixup needs a second patch"):
        augment(alone, config("mixup"), np.random.default_rng(0))


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
