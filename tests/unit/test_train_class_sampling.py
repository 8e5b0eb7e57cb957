"""Balanced classes: each drawn equally often, in a patch that holds some of it, whatever the sizes of crops."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.config.settings.augment import AugmentConfig, FlipConfig, RotateConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.geometry import BlockGrid, Box
from connectomake.targets.combinations import Combinations
from connectomake.targets.registry import Targets
from connectomake.train.class_sampling import ClassPlaces, count_cells
from connectomake.train.mixing import mix_boxes
from connectomake.train.normalisation import Normalisation
from connectomake.train.patches import TrainingPatches
from connectomake.train.sampling import draw_box
from connectomake.train.volumes import LabelledBox

NAMES = ("nuc", "mito", "er")
STATES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, -1], [1, 1, 0], [-1, 0, 0], [-1, -1, 1]])
COMBINATIONS = Combinations.of(NAMES, STATES)
NOTHING, NUC, MITO, BOTH, PARTLY, ER = COMBINATIONS.number(STATES).tolist()
PATCH = (16, 16, 32)


def box_of(labels, name="a", weight=1.0, source="", share=None):
    raw = np.zeros((1, *labels.shape), np.float32)
    place = labels.shape, (8.0, 8.0, 8.0)
    return LabelledBox(name, raw, labels, 1, *place, weight, source, share, combinations=COMBINATIONS)


def train_settings(**changes):
    targets = {"affinity": None, "classes": {"named": NAMES}}
    values = {"patch_zyx_vx": PATCH, "targets": targets, "sampling": {"balance": "classes"}}
    return TrainConfig.model_validate(values | changes)


def patches_of(boxes, augment=None, **changes):
    cfg = train_settings(**changes)
    targets = Targets(cfg.targets, (8, 8, 8), boxes[0].combinations)
    return TrainingPatches(boxes, cfg, augment or AugmentConfig(), targets, Normalisation(0, 1))


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 99))
def test_cells_are_counted_as_voxel_by_voxel(shape, cell, seed):
    labels = np.random.default_rng(seed).choice(COMBINATIONS.number(STATES), shape)
    grid = BlockGrid(shape, cell)
    for c, (cells, voxels) in enumerate(count_cells(box_of(labels), grid)):
        numbers = list(COMBINATIONS.having(NAMES[c]))
        expected = {i: np.isin(labels[block.slices], numbers).sum() for i, block in enumerate(grid)}
        assert dict(zip(cells.tolist(), voxels.tolist(), strict=True)) == {i: n for i, n in expected.items() if n}


def test_cells_of_a_volume_that_is_counted_in_several_blocks():
    labels = np.full((10, 300, 140), NOTHING, np.int32)
    labels[9, 299, 139], labels[0, 130, 0] = MITO, BOTH
    grid = BlockGrid(labels.shape, (8, 24, 40))
    nuc, mito, er = count_cells(box_of(labels), grid)
    assert [np.sort(cells).tolist() for cells, _ in (nuc, mito, er)] == [[5 * 4], [5 * 4, len(grid) - 1], []]
    assert grid[len(grid) - 1] == Box((8, 288, 120), (10, 300, 140))


sides = st.integers(1, 40)


@given(st.data(), st.tuples(sides, sides, sides), st.tuples(sides, sides, sides), st.integers(0, 99))
def test_a_patch_contains_the_cell_and_leaves_the_volume_only_where_it_is_longer(data, shape, patch, seed):
    start = [data.draw(st.integers(0, side - 1)) for side in shape]
    stop = [data.draw(st.integers(a + 1, min(side, a + p))) for a, side, p in zip(start, shape, patch, strict=True)]
    for cell in (None, Box(start, stop)):
        place = draw_box(np.random.default_rng(seed), shape, patch, cell)
        assert place.shape_zyx == patch
        inside = place.intersect(Box.of_shape(shape)).shape_zyx
        assert inside == tuple(map(min, patch, shape))
        assert cell is None or place.contains(cell)


def rare(shape=(40, 40, 64)):
    """Return labels of nuclei, with one voxel of each of the other classes."""
    labels = np.full(shape, NUC, np.int32)
    labels[30, 7, 60], labels[5, 39, 1] = ER, MITO
    return labels


def test_each_class_comes_as_often_however_rare_it_is():
    patches = patches_of([box_of(np.full((60, 60, 64), NUC, np.int32)), box_of(rare(), "b")])
    holds, count = Counter(), 240
    for index in range(count):
        sample = patches[index]
        found = [c for c in range(3) if sample["values"][c].any()]
        assert found
        holds.update(found)
    for c in (1, 2):  # besides those drawn for it, next to none
        assert abs(holds[c] - count / 3) < 4.5 * np.sqrt(count * 2 / 9)


def test_places_are_drawn_by_the_voxels_of_a_class_and_the_weight_of_their_box():
    labels = np.full((16, 16, 160), NOTHING, np.int32)
    labels[:8, :8, :8], labels[8:12, 8:16, 80:88] = NUC, NUC  # 512 voxels and 256, each in one cell
    boxes = [box_of(labels), box_of(labels[..., 64:], "b", weight=3.0)]  # and 3 * 256
    places = ClassPlaces(boxes, PATCH, mix_boxes(boxes))
    drawn = Counter(places.draw(rng) for rng in [np.random.default_rng(0)] for _ in range(1200))
    expected = {(0, Box((0, 0, 0), (8, 8, 8))): 400, (0, Box((8, 8, 80), (16, 16, 88))): 200}
    expected[1, Box((8, 8, 16), (16, 16, 24))] = 600
    assert drawn.keys() == expected.keys()
    assert all(abs(drawn[place] - n) < 4.5 * np.sqrt(n) for place, n in expected.items())


def test_the_source_is_drawn_before_the_class():
    """One that has none of the classes still has its share."""
    boxes = [
        box_of(np.full((16, 16, 64), NUC, np.int32), "a", source="x", share=1.0),
        box_of(np.full((16, 16, 64), MITO, np.int32), "b", source="y", share=2.0),
        box_of(np.full((16, 16, 640), BOTH, np.int32), "c", source="y", share=2.0),
        box_of(np.full((16, 16, 32), NOTHING, np.int32), "d", source="z", share=1.0),
    ]
    places = ClassPlaces(boxes, PATCH, mix_boxes(boxes))
    rng = np.random.default_rng(0)
    drawn = [places.draw(rng) for _ in range(2000)]
    assert [cell is None for _, cell in drawn] == [chosen == 3 for chosen, _ in drawn]
    counts = np.bincount([chosen for chosen, _ in drawn], minlength=4)
    # y: nuclei are in c only; mitochondria in both, by their voxels.
    shares = np.array([0.25, 0.25 / 11, 0.25 + 0.25 * 10 / 11, 0.25])
    assert (abs(counts - 2000 * shares) < 4.5 * np.sqrt(2000 * shares)).all()


def test_a_balanced_patch_is_a_function_of_its_number():
    augment = AugmentConfig(flip=FlipConfig(), rotate=RotateConfig())
    boxes = [box_of(rare()), box_of(np.full((9, 40, 64), ER, np.int32), "thin")]
    first, again = (patches_of(boxes, augment) for _ in range(2))
    backwards = {i: again[i] for i in reversed(range(8))}
    for i in range(8):
        assert first.volume_of(i) in ("a", "thin")
        for name, value in first[i].items():
            np.testing.assert_array_equal(value, backwards[i][name])
    assert len({first.volume_of(i) for i in range(20)}) == 2


def test_flat_patches_hold_the_class_too():
    labels = np.full((30, 40, 64), NOTHING, np.int32)
    labels[17, 20, 33], labels[2, 3, 4], labels[0, 39, 63] = NUC, MITO, ER
    patches = patches_of([box_of(labels)], patch_zyx_vx=(1, 32, 32), model={"dimensions": 2})
    assert all(patches[i]["values"].any() for i in range(12))


def test_only_classes_by_name_are_balanced():
    with pytest.raises(ValueError, match=r"sampling\.balance: classes needs targets\.classes\.named"):
        train_settings(targets={})
