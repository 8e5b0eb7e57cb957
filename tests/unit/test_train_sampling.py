"""Which places are worth learning from: as the settings say, and never a volume without anything to learn."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_volume import write_description

from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import SamplingConfig, TrainConfig
from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.split.table import SplitRow
from connectomake.targets.registry import Targets
from connectomake.train.normalisation import Normalisation
from connectomake.train.patches import TrainingPatches
from connectomake.train.sampling import count_labels, draw_place, find_values, is_worthwhile, keep_labelled
from connectomake.train.volumes import LabelledBox, hold_smallest, join_small, open_boxes, shrink
from connectomake.volumes.grey_values import SIDE_VX, measure_grey_values, spread_blocks
from connectomake.volumes.store import write_store

NONE = ((0, 0, 0), (0, 0, 0))
LABELS = hnp.arrays(np.int32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(-1, 4))


def box_of(labels, name="a", source=""):
    raw = np.arange(labels.size, dtype=np.float32).reshape(1, *labels.shape)
    return LabelledBox(name, raw, labels, 1, labels.shape, (8.0, 8.0, 8.0), 1.0, source)


@settings(deadline=None)
@given(LABELS)
def test_counts_are_those_of_numpy(labels):
    assert count_labels(labels, labels.size + 1, 0, 9) == (
        (labels != -1).sum(), (labels > 0).sum(), np.unique(labels[labels > 0]).size
    )  # fmt: skip


@settings(deadline=None)
@given(LABELS, st.integers(0, 20), st.integers(0, 20), st.integers(0, 4))
def test_counting_stops_when_there_is_enough(labels, known, foreground, objects):
    """It says `enough` exactly where all of the voxels would."""
    counted = count_labels(labels, known, foreground, objects)
    everything = (labels != -1).sum(), (labels > 0).sum(), np.unique(labels[labels > 0]).size
    wanted = known, foreground, objects
    assert [c >= w for c, w in zip(counted, wanted, strict=True)] == [
        e >= w for e, w in zip(everything, wanted, strict=True)
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"least_known": 0.75}, True),
        ({"least_known": 0.76}, False),
        ({"least_foreground": 0.5}, True),
        ({"least_foreground": 0.51}, False),
        ({"least_foreground": 0.51, "reject_probability": 0.0}, True),
        ({"least_known": 0.76, "reject_probability": 0.0}, False),
        ({"least_objects": 2}, True),
        ({"least_objects": 3}, False),
    ],
)
def test_patch_is_judged_by_its_labels(changes, expected):
    labels = np.repeat(np.array([-1, 0, 5, 9], np.int32), 2).reshape(2, 2, 2)
    assert is_worthwhile(labels, SamplingConfig(**changes), np.random.default_rng(0)) is expected


def test_poor_patches_are_rejected_as_often_as_told():
    labels, cfg = np.zeros((2, 2, 2), np.int32), SamplingConfig(least_foreground=0.1, reject_probability=0.95)
    rng = np.random.default_rng(0)
    kept = sum(is_worthwhile(labels, cfg, rng) for _ in range(10_000))
    assert abs(kept - 500) < 4.5 * np.sqrt(10_000 * 0.05 * 0.95)


def hits(cfg, count=400):
    """Return how many of `count` patches reach the labelled tenth at the end of a box; they all lie in it or not."""
    labels = np.full((4, 4, 40), -1, np.int32)
    labels[..., 36:] = 3
    box, rng = box_of(labels), np.random.default_rng(0)
    return sum((draw_place(rng, box, (4, 4, 1), NONE, cfg)[1] == 3).all() for _ in range(count))


@pytest.mark.parametrize("attempts", [1, 3, 10])
def test_places_are_drawn_again_as_often_as_told(attempts):
    expected = 1 - 0.9**attempts
    assert abs(hits(SamplingConfig(attempts=attempts)) - 400 * expected) < 4.5 * np.sqrt(400 * expected * 0.9)


def test_place_and_labels_belong_together():
    labels = np.arange(6 * 7 * 8, dtype=np.int32).reshape(6, 7, 8)
    place, found = draw_place(
        np.random.default_rng(0), box_of(labels), (6, 2, 3), ((1, 0, 2), (0, 9, 0)), SamplingConfig()
    )
    assert found.shape == (7, 11, 5)
    inside = found[1:, :2, 2:]
    np.testing.assert_array_equal(inside, labels[place.slices])
    assert (found[0] == -1).all()


def train_settings(**changes):
    return TrainConfig.model_validate({"patch_zyx_vx": (16, 16, 32)} | changes)


def patches_of(boxes, cfg):
    return TrainingPatches(boxes, cfg, AugmentConfig(), Targets(cfg.targets, (8, 8, 8)), Normalisation(0, 1))


def test_volume_without_labels_is_named_before_training():
    good = box_of(np.ones((16, 16, 64), np.int32))
    unknown = box_of(np.full((16, 16, 64), -1, np.int32), "nobody", "synthetic")
    with pytest.raises(DataError, match=r"volume nobody \(source synthetic\) has nothing to learn.*unknown \(-1\)"):
        patches_of([good, unknown], train_settings())


def test_volume_without_objects_is_named_where_objects_are_asked_for():
    good, empty = box_of(np.ones((16, 16, 64), np.int32)), box_of(np.zeros((16, 16, 64), np.int32), "empty")
    patches_of([good, empty], train_settings())
    for sampling in ({"least_foreground": 0.01}, {"least_objects": 1}):
        with pytest.raises(DataError, match=r"volume empty has nothing .*train\.sampling.*no label above 0"):
            patches_of([good, empty], train_settings(sampling=sampling))


@pytest.mark.parametrize("voxel", [(0, 0, 0), (299, 1, 140), (150, 0, 129)])
def test_one_labelled_voxel_is_found(voxel):
    labels = np.full((300, 2, 141), -1, np.int8)
    labels[voxel] = 0
    assert keep_labelled([box_of(labels)], SamplingConfig())


def test_parts_without_labels_are_left_out(caplog):
    good = box_of(np.ones((16, 16, 64), np.int32))
    bad = box_of(np.full((16, 16, 64), -1, np.int32))
    with caplog.at_level(logging.WARNING):
        assert keep_labelled([bad, good, bad], SamplingConfig()) == [good]
    assert "2 of 3 training boxes" in caplog.text


def test_class_that_no_volume_has_is_named():
    labels = np.ones((16, 16, 64), np.int32)
    labels[0, 0, 0] = 7
    targets = {"affinity": None, "classes": {"labels": {"nucleus": [1], "mito": [7, 8]}}}
    patches_of([box_of(labels)], train_settings(targets=targets))
    targets["classes"]["labels"]["golgi"] = [9]
    with pytest.raises(DataError, match="class 'golgi'"):
        patches_of([box_of(labels)], train_settings(targets=targets))


def test_values_are_looked_for_until_all_are_found():
    boxes = [box_of(np.full((4, 4, 4), value, np.int16)) for value in (1, 2, 3)]
    assert find_values(boxes, [(1,), (2, 9)]) == {1, 2}
    assert find_values(boxes, [(9,)]) == {1, 2, 3}


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 255, np.uint8),
        (0, 256, np.uint16),
        (-1, 127, np.int8),
        (-1, 128, np.int16),
        (-1, 40_000, np.int32),
        (0, 70_000, np.int32),
        (0, 2**31, np.uint32),
        (-1, 2**31, np.int64),
    ],
)
def test_labels_are_held_in_the_smallest_type(low, high, dtype):
    labels = np.array([[[low, high]]], np.int64)
    assert shrink(labels).dtype == dtype
    np.testing.assert_array_equal(shrink(labels), labels)
    joined = join_small([shrink(labels[..., :1]), shrink(labels[..., 1:])])
    assert joined.dtype == dtype
    np.testing.assert_array_equal(joined, np.concatenate([labels[..., :1], labels[..., 1:]]))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Two volumes on disk, of 64-bit labels with unknown voxels; a third, not there, of a source without a share."""
    absent = tmp_path_factory.mktemp("absent") / "volume.json"
    made = [SplitRow("never", "train", absent, Box.of_shape((70, 40, 40)), source="never", share=0.0)]
    for name, side, share in (("small", 40, 3.0), ("large", 80, 1.0)):
        folder = tmp_path_factory.mktemp(name)
        shape, rng = (70, side, side), np.random.default_rng(side)
        arrays = {"raw": rng.integers(0, 255, shape, np.uint8), "labels": rng.integers(-1, 300, shape)}
        arrays["labels"][65:] += 70_000
        place = {"voxel_size_zyx_nm": (8.0, 8.0, 8.0), "offset_zyx_nm": (0.0, 0.0, 0.0)}
        entries = {}
        for part, array in arrays.items():
            write_store(folder / f"{part}.zarr", array, **place, attributes={})
            box = [[0, 0, 0], shape]
            entries[part] = {"source": f"{part}.zarr", "axes": "zyx", "box_zyx_vx": box, "dtype": array.dtype.name}
        write_description(folder / "volume.json", {"name": name, "shape_zyx": shape, **place, **entries})
        box = Box((1, 2, 3), shape)
        made.append(SplitRow(name, "train", folder / "volume.json", box, source=name, share=share))
    return made


def test_boxes_in_memory_and_on_disk_give_the_same_patches(rows):
    on_disk, in_memory = open_boxes(rows, "train", 0), open_boxes(rows, "train", 1)
    assert [box.name for box in on_disk] == [box.name for box in in_memory] == ["small", "large"]
    assert all(isinstance(box.labels, np.ndarray) and box.labels.dtype == np.int32 for box in in_memory)
    assert not any(isinstance(box.raw, np.ndarray) for box in on_disk)
    for ours, theirs in zip(on_disk, in_memory, strict=True):
        place = Box((60, -2, 5), (69, 9, 20))
        first, second = (box.read(place, (3, 0, 1), (0, 2, 99)) for box in (ours, theirs))
        np.testing.assert_array_equal(first.raw, second.raw)
        np.testing.assert_array_equal(first.labels, second.labels)


def test_memory_is_given_to_the_smallest_as_far_as_it_goes(rows):
    boxes = open_boxes(rows, "train", 0)
    room = boxes[0].bytes_in_memory
    assert [isinstance(box.raw, np.ndarray) for box in hold_smallest(boxes, room)] == [True, False]
    assert [isinstance(box.raw, np.ndarray) for box in hold_smallest(boxes, room - 1)] == [False, False]
    # What is held is smaller than on disk: 4 bytes a label instead of 8.
    assert hold_smallest(boxes, room)[0].bytes_in_memory == room * 5 // 9


def test_volume_is_measured_as_prediction_measures_it(rows):
    """By its own mean and sd of the whole volume, not of the part that is trained on."""
    boxes = open_boxes([replace(rows[1], box=Box((0, 0, 0), (20, 40, 40)))], "train", 1)
    measured = Normalisation(0, 1, "each_volume").of_all(boxes)[0]
    assert boxes[0].whole is not None
    assert (measured.mean, measured.std) == measure_grey_values(boxes[0].whole)
    everything = boxes[0].whole.read()
    assert (measured.mean, measured.std) == pytest.approx((everything.mean(), everything.std()), rel=1e-9)


@pytest.mark.parametrize("shape", [(65, 70, 40), (2, 65, 70, 40), (1, 300, 300)])
def test_grey_values_of_a_small_volume_are_exact(shape):
    values = np.random.default_rng(0).integers(1000, 1010, shape, np.uint16)
    assert measure_grey_values(values) == pytest.approx((values.mean(), values.std()), rel=1e-9)


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 3000)] * 3), st.integers(1, 64))
def test_blocks_that_are_measured_are_few_and_spread(shape, most):
    boxes = spread_blocks(shape, most)
    assert 1 <= len(boxes) == len(set(boxes)) <= most
    cells = np.prod([-(-side // SIDE_VX) for side in shape])
    assert len(boxes) == cells or len(boxes) > min(cells, most) / 8
    assert all(Box.of_shape(shape).contains(box) and box.size for box in boxes)


@pytest.mark.parametrize("value", [7, np.nan, np.inf])
def test_grey_values_that_cannot_be_normalised_are_refused(value):
    with pytest.raises(DataError, match=r"cannot be normalised.*differ"), np.errstate(invalid="ignore"):
        measure_grey_values(np.full((4, 4, 4), value, np.float32))
