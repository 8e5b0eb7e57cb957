"""Training patches: a function of their number alone, turned with their labels, normalised, with exact affinities."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from connectomake.augment.grey import NoiseConfig
from connectomake.augment.orientation import Orientation
from connectomake.config.engine.layers import read_preset
from connectomake.config.settings.augment import AffineConfig, AugmentConfig, FlipConfig, RotateConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.targets.affinity import affinities_of_labels
from connectomake.targets.registry import Targets
from connectomake.train.checks import check_sizes
from connectomake.train.normalisation import Normalisation, find_normalisation
from connectomake.train.patches import TrainingPatches, ValidationPatches, check_known, tile_boxes
from connectomake.train.volumes import LabelledBox

OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 7, 0), (0, 0, -5))
PLAIN = Normalisation(0.0, 1.0)


def settings(**changes):
    values = {"patch_zyx_vx": (16, 16, 32), "targets": {"affinity": {"offsets_zyx_vx": OFFSETS}}, "seed": 3}
    return TrainConfig.model_validate(values | changes)


def make_box(shape=(40, 44, 60), seed=0, weight=1.0, name="a"):
    """Return a volume in which the grey value of each voxel is its number, and labels of blocks."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 4, [-(-n // 4) for n in shape]), np.ones((4, 4, 4), int))
    raw = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    return LabelledBox(name, raw, labels[tuple(map(slice, shape))], 1, shape, (8.0, 8.0, 8.0), weight)


def patches_of(boxes, augment=None, **changes):
    cfg = settings(**changes)
    return TrainingPatches(boxes, cfg, augment or AugmentConfig(), Targets(cfg.targets, (8, 8, 8)), PLAIN)


def test_patch_depends_on_its_number_and_seed_alone():
    augment = AugmentConfig(flip=FlipConfig(), rotate=RotateConfig(), noise=NoiseConfig())
    first, again = (patches_of([make_box()], augment) for _ in range(2))
    other = patches_of([make_box()], augment, seed=4)
    backwards = {i: again[i] for i in reversed(range(6))}
    for i in range(6):
        for name, value in first[i].items():
            np.testing.assert_array_equal(value, backwards[i][name])
    assert len({first[i]["raw"].tobytes() for i in range(6)} | {other[i]["raw"].tobytes() for i in range(6)}) == 12


@pytest.mark.parametrize("read_context", [True, False])
@pytest.mark.parametrize("number", range(6))
def test_targets_are_those_of_the_turned_volume(number, read_context):
    """The patch is found in one of the 48 turned volumes by its grey values; there its affinities must be."""
    box = make_box()
    augment = AugmentConfig(flip=FlipConfig(), rotate=RotateConfig())
    sample = patches_of([box], augment, read_context=read_context)[number]
    raw = sample["raw"][0]
    assert raw.shape == (16, 16, 32)
    for order, mirrored in itertools.product(
        itertools.permutations(range(3)), itertools.product((False, True), repeat=3)
    ):
        turned = Orientation(order, mirrored).apply(box.raw[0])
        start = np.argwhere(turned == raw[0, 0, 0])[0]
        place = Box(start, np.add(start, raw.shape))
        if Box.of_shape(turned.shape).contains(place) and (turned[place.slices] == raw).all():
            break
    else:
        pytest.fail("the patch is no part of the volume")
    values, mask = affinities_of_labels(np.ascontiguousarray(Orientation(order, mirrored).apply(box.labels)), OFFSETS)
    here = (slice(None), *place.slices)
    known = sample["mask"]
    np.testing.assert_array_equal(sample["values"][known], values[here][known])
    assert mask[here][known].all()
    if read_context:
        np.testing.assert_array_equal(known, mask[here])
    else:
        assert known.sum() < mask[here].sum()


def test_places_are_all_reached():
    corners = {int(patches_of([make_box((17, 18, 32))])[i]["raw"][0, 0, 0, 0]) for i in range(80)}
    assert len(corners) == 2 * 3


@pytest.mark.parametrize("each", ["together", "each_volume"])
def test_grey_values_are_normalised(each):
    """Two volumes of other brightness: each by itself has mean 0 and sd 1, or both together have."""
    dark, bright = make_box(), make_box(name="b", seed=1)
    for box in (dark, bright):
        np.random.default_rng(0).shuffle(box.raw.reshape(-1))
    bright.raw[:] = 3 * bright.raw + 1e5
    cfg = settings(normalise=each)
    found = find_normalisation([dark, bright], cfg)
    both = np.concatenate([dark.raw.ravel(), bright.raw.ravel()])
    assert found.each == each
    assert (found.mean, found.std) == pytest.approx((both.mean(dtype=float), both.std(dtype=float)), rel=1e-6)
    targets = Targets(cfg.targets, (8, 8, 8))
    for box in (dark, bright):
        mean, std = (found.mean, found.std) if each == "together" else (box.raw.mean(), box.raw.std())
        assert found.of_all([box])[0].mean == pytest.approx(mean, rel=1e-5)
        plain = TrainingPatches([box], cfg, AugmentConfig(), targets, PLAIN)[0]["raw"]
        ours = TrainingPatches([box], cfg, AugmentConfig(), targets, found)[0]["raw"]
        np.testing.assert_allclose(ours, (plain - mean) / std, atol=1e-4)
        validation = ValidationPatches([box], cfg, targets, found)[0]["raw"]
        np.testing.assert_allclose(validation, (box.raw[:, :16, :16, :32] - mean) / std, atol=1e-4)


def test_grey_values_may_be_told():
    box = make_box()
    assert find_normalisation([box], settings(raw_mean=0, raw_std=255)) == Normalisation(0, 255)
    assert find_normalisation([box], settings(raw_std=255)).std == 255


def test_boxes_count_by_how_often_they_are_drawn_from():
    boxes = [make_box(), make_box((16, 16, 32), name="b")]
    for box, value in zip(boxes, (10, 50), strict=True):
        box.raw[:] = value
    mixed = [replace(b, source=b.name, share=s) for b, s in zip(boxes, (1.0, 3.0), strict=True)]
    found = find_normalisation(mixed, settings())
    assert found.mean == pytest.approx(40)
    assert found.std == pytest.approx(np.sqrt(0.25 * 30**2 + 0.75 * 10**2))


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_grey_values_without_contrast_are_refused(value):
    box = make_box()
    box.raw[:] = value
    with pytest.raises(DataError, match="training data cannot be normalised"):
        find_normalisation([box], settings())
    with pytest.raises(DataError, match=r"volume a: the grey values .* cannot be normalised"):
        Normalisation(0, 1, "each_volume").of(box)


def test_volume_smaller_than_a_patch_is_refused():
    check_sizes([make_box((16, 16, 32))], settings())
    with pytest.raises(DataError, match=r"volume b .*expected at least \[16, 16, 32\].*a patch of \[16, 16, 16\] fits"):
        check_sizes([make_box(), make_box((16, 30, 31), name="b")], settings())
    with pytest.raises(DataError, match="leave this volume out"):
        check_sizes([make_box((4, 30, 31))], settings())
    with pytest.raises(DataError, match="smaller than a patch"):
        patches_of([make_box((15, 30, 32))])


def test_tiles_cover_a_volume():
    shape = (20, 40, 16)
    tiles = tile_boxes(shape, (16, 16, 16))
    count = np.zeros(shape, int)
    for tile in tiles:
        assert tile.shape_zyx == (16, 16, 16)
        count[tile.slices] += 1
    assert count.min() == 1
    assert len(tiles) == 2 * 3 * 1
    assert tile_boxes((5, 16, 20), (16, 16, 16))[0] == Box((0, 0, 0), (16, 16, 16))


def test_validation_looks_at_the_same_places():
    cfg = settings(validate_patches=5)
    patches = [
        ValidationPatches([make_box(), make_box(seed=1)], cfg, Targets(cfg.targets, (8, 8, 8)), PLAIN) for _ in range(2)
    ]
    assert len(patches[0]) == 5
    for i in range(5):
        np.testing.assert_array_equal(patches[0][i]["values"], patches[1][i]["values"])
    assert len({place[1] for place in patches[0].places}) > 1
    few = ValidationPatches([make_box((16, 16, 40))], cfg, Targets(cfg.targets, (8, 8, 8)), PLAIN)
    assert len(few) == 2


def test_thin_validation_volume_is_unknown_beyond_its_border():
    cfg = settings()
    box = make_box((10, 16, 32))
    sample = ValidationPatches([box], cfg, Targets(cfg.targets, (8, 8, 8)), PLAIN)[0]
    np.testing.assert_array_equal(sample["raw"][0, 10:], box.raw[0, :3:-1])
    assert not sample["mask"][:, 10:].any()
    assert not sample["mask"][0, 9].any()
    assert sample["mask"][1, :10, :15].all()


@pytest.mark.parametrize("number", range(8))
def test_flat_patches_know_the_sections_beside_them(number):
    """A patch of one section has valid edges to the sections before and after, except at the volume's border."""
    box = make_box((3, 44, 60))
    offsets = ((1, 0, 0), (-1, 0, 0), (0, 1, 0))
    cfg = settings(patch_zyx_vx=(1, 32, 32), targets={"affinity": {"offsets_zyx_vx": offsets}}, model={"dimensions": 2})
    augment = AugmentConfig(flip=FlipConfig(axes="yx"), rotate=RotateConfig())
    sample = TrainingPatches([box], cfg, augment, Targets(cfg.targets, (8, 8, 8)), PLAIN)[number]
    assert sample["raw"].shape == (1, 1, 32, 32)
    section = int(sample["raw"][0, 0, 0, 0]) // (44 * 60)
    assert sample["mask"].mean((1, 2, 3)).tolist()[:2] == [section < 2, section > 0]
    place = sample["raw"][0, 0].astype(int)
    labels = box.labels.ravel()
    for channel, step in enumerate((44 * 60, -44 * 60)):
        if sample["mask"][channel].all():
            same = (labels[place] == labels[place + step]) & (labels[place] > 0)
            np.testing.assert_array_equal(sample["values"][channel, 0], same)


def test_partner_is_another_patch_of_the_same_shape(monkeypatch):
    seen = []
    monkeypatch.setattr("connectomake.train.patches.augment", lambda patch, cfg, rng: seen.append(patch))
    for _ in range(2):
        patches_of([make_box()], AugmentConfig(affine=AffineConfig(probability=1)))[0]
    first, again = (patch.partner() for patch in seen)
    assert first.raw.shape == seen[0].raw.shape
    assert first.raw.shape > (1, 16, 16, 32)
    assert (first.raw == again.raw).all()
    assert (first.raw != seen[0].raw).any()


def test_patch_knows_what_its_grey_values_mean(monkeypatch):
    seen = []
    monkeypatch.setattr("connectomake.train.patches.augment", lambda patch, cfg, rng: seen.append(patch))
    box = make_box()
    cfg = settings()
    for dtype in (np.uint8, np.float32):
        inside = replace(box, raw=(box.raw % 255).astype(dtype))
        TrainingPatches([inside], cfg, AugmentConfig(), Targets(cfg.targets, (8, 8, 8)), Normalisation(50.0, 10.0))[0]
    assert [(patch.grey_range, patch.grey_black) for patch in seen] == [(25.5, -5.0), (0.1, -5.0)]


def test_every_preset_of_augmentation_makes_patches():
    """All parts together: what is drawn fits the targets' shape, and nothing becomes NaN."""
    presets = sorted((Path(__file__).parents[2] / "config/augment").glob("*.yaml"))
    assert len(presets) > 3
    rng = np.random.default_rng(0)
    box = replace(make_box(), raw=rng.integers(0, 255, (1, 40, 44, 60), np.uint8))
    for preset in presets:
        augment = AugmentConfig.model_validate(read_preset(preset))
        sample = patches_of([box], augment)[1]
        assert {name: value.shape for name, value in sample.items()} == {
            "raw": (1, 16, 16, 32), "values": (5, 16, 16, 32), "mask": (5, 16, 16, 32)
        }, preset  # fmt: skip
        assert np.isfinite(sample["raw"]).all(), preset
        assert sample["mask"].any(), preset


def test_a_target_of_which_nothing_is_known_is_refused():
    box = make_box()
    check_known(patches_of([box]))
    no_background = replace(box, labels=box.labels + 1)
    semantic = {"affinity": None, "distance": {"kind": "semantic"}}
    with pytest.raises(DataError, match=r"nothing is known of channel 'distance' in 16 patches"):
        check_known(patches_of([no_background], targets=semantic, losses=[{"loss": "mse"}]))
