"""Training patches: a function of their number alone, drawn as told, with their volume's affinities."""

import itertools

import numpy as np
import pytest

from connectomake.augment.orientation import Orientation
from connectomake.config.augment import AugmentConfig, FlipConfig, NoiseConfig, RotateConfig
from connectomake.config.train import TrainConfig
from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.targets.affinity import affinities_of_labels
from connectomake.targets.registry import Targets
from connectomake.train.loading import Batches
from connectomake.train.patches import (
    Normalisation,
    TrainingPatches,
    ValidationPatches,
    check_sizes,
    measure_grey_values,
    tile_boxes,
)
from connectomake.train.volumes import LabelledBox

OFFSETS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 7, 0), (0, 0, -5))
PLAIN = Normalisation(0.0, 1.0)


def settings(**changes):
    values = {"patch_zyx_vx": (16, 16, 32), "targets": {"affinity": {"offsets_zyx_vx": OFFSETS}}, "seed": 3}
    return TrainConfig.model_validate(values | changes)


def make_box(shape=(40, 44, 60), seed=0, weight=1.0, name="a"):
    """Give a volume in which the grey value of each voxel is its number, and labels of blocks."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 4, [-(-n // 4) for n in shape]), np.ones((4, 4, 4), int))
    raw = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    return LabelledBox(name, raw, labels[tuple(map(slice, shape))], 1, shape, (8.0, 8.0, 8.0), weight)


def patches_of(boxes, augment=None, **changes):
    cfg = settings(**changes)
    return TrainingPatches(boxes, cfg, augment or AugmentConfig(), Targets(cfg.targets), PLAIN)


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


def test_volumes_are_drawn_by_size_and_weight():
    small, large = make_box((16, 16, 32)), make_box((32, 32, 64))
    chances = patches_of([small, large]).chances
    assert chances.tolist() == pytest.approx([1 / 9, 8 / 9])
    assert patches_of([make_box((16, 16, 32), weight=8.0), large]).chances.tolist() == pytest.approx([0.5, 0.5])
    patches = patches_of([small, large])
    drawn = [patches[i]["raw"][0, 0, 1, 0] - patches[i]["raw"][0, 0, 0, 0] == 32 for i in range(300)]
    assert abs(np.mean(drawn) - 1 / 9) < 0.08


def test_unlabelled_places_are_avoided():
    box = make_box((16, 16, 320))
    box.labels[:, :, 64:] = -1
    shares = [patches_of([box])[i]["mask"].mean() for i in range(40)]
    assert np.mean(np.array(shares) > 0.05) > 0.6  # 2 of 10 places know anything; each patch has 10 attempts


def test_grey_values_are_normalised():
    cfg = settings()
    box = make_box()
    np.random.default_rng(0).shuffle(box.raw.reshape(-1))
    measured = measure_grey_values([box], cfg)
    assert measured.mean == pytest.approx(box.raw.mean(), rel=0.01)
    assert measured.std == pytest.approx(box.raw.std(), rel=0.01)
    patches = TrainingPatches([box], cfg, AugmentConfig(), Targets(cfg.targets), Normalisation(10.0, 4.0))
    np.testing.assert_allclose(patches[0]["raw"], (patches_of([box])[0]["raw"] - 10) / 4, rtol=1e-5, atol=1e-4)
    assert measure_grey_values([box], settings(raw_mean=0, raw_std=255)) == Normalisation(0, 255)
    assert measure_grey_values([box], settings(raw_std=255)).std == 255


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_grey_values_without_contrast_are_refused(value):
    box = make_box()
    box.raw[:] = value
    with pytest.raises(DataError, match="cannot be normalised"):
        measure_grey_values([box], settings())


def test_volume_smaller_than_a_patch_is_refused():
    check_sizes([make_box((16, 16, 32))], settings())
    with pytest.raises(DataError, match=r"volume b .*expected at least \[16, 16, 32\].*a patch of \[16, 16, 16\] fits"):
        check_sizes([make_box(), make_box((16, 30, 31), name="b")], settings())
    with pytest.raises(DataError, match="leave this volume out"):
        check_sizes([make_box((4, 30, 31))], settings())


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
    patches = [ValidationPatches([make_box(), make_box(seed=1)], cfg, Targets(cfg.targets), PLAIN) for _ in range(2)]
    assert len(patches[0]) == 5
    for i in range(5):
        np.testing.assert_array_equal(patches[0][i]["values"], patches[1][i]["values"])
    assert len({place[1] for place in patches[0].places}) > 1
    few = ValidationPatches([make_box((16, 16, 40))], cfg, Targets(cfg.targets), PLAIN)
    assert len(few) == 2


def test_thin_validation_volume_is_unknown_beyond_its_border():
    cfg = settings()
    box = make_box((10, 16, 32))
    sample = ValidationPatches([box], cfg, Targets(cfg.targets), PLAIN)[0]
    np.testing.assert_array_equal(sample["raw"][0, 10:], box.raw[0, :3:-1])
    assert not sample["mask"][:, 10:].any()
    assert not sample["mask"][0, 9].any()
    assert sample["mask"][1, :10, :15].all()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_patches_in_order_from_any_step(workers):
    patches = patches_of([make_box()])
    batches = list(Batches(patches, lambda: 2, 5, 2, workers))
    assert len(batches) == 3
    for step, batch in zip((2, 3, 4), batches, strict=True):
        for k in range(2):
            for name, value in patches[2 * step + k].items():
                np.testing.assert_array_equal(batch[name][k].numpy(), value)


def test_last_validation_batch_is_smaller():
    cfg = settings(validate_patches=3)
    patches = ValidationPatches([make_box()], cfg, Targets(cfg.targets), PLAIN)
    assert [len(batch["raw"]) for batch in Batches(patches, lambda: 0, 2, 2, 0, 3)] == [2, 1]


def test_error_in_the_thread_reaches_the_training():
    patches = patches_of([make_box((8, 8, 8))])  # too small: drawing a place fails
    with pytest.raises(ValueError, match="high"):
        next(iter(Batches(patches, lambda: 0, 5, 2, 0)))


def test_batches_that_nobody_wants_are_not_made():
    made = []

    class Counted:
        def __getitem__(self, number):
            made.append(number)
            return {"raw": np.zeros(1)}

    stream = iter(Batches(Counted(), lambda: 0, 1000, 1, 0))
    next(stream)
    stream.close()
    assert len(made) <= 4
