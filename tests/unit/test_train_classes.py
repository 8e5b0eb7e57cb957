"""Training on crops whose labels tell classes: numbers that mean the same in all, nothing read outside, Dice."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_crops import make_crop, make_cubes
from small_training import (
    assert_same_result,
    make_volume,
    read_rows,
    settings,
    stop_at_step,
    train,
    weights_of,
)

from connectomake.augment.mixing import CopyPasteConfig
from connectomake.autoconfig.trial import make_up
from connectomake.channels import Channel
from connectomake.config.engine.layers import read_preset
from connectomake.config.settings.augment import AugmentConfig
from connectomake.errors import ConfigError, DataError
from connectomake.files import read_json, write_json
from connectomake.fitting.scores import Scores
from connectomake.geometry import Box
from connectomake.split.table import SplitRow, write_split
from connectomake.targets.registry import Targets
from connectomake.train.module import Training
from connectomake.train.normalisation import Normalisation
from connectomake.train.patches import TrainingPatches, ValidationPatches, check_known
from connectomake.train.volumes import open_boxes

NAMED = ("mito", "nuc")
STATES = {"a": ["1u0", "000", "uu1", "01u"], "b": ["0u", "11", "u0"]}
CLASSES = {"a": ("nuc", "mito", "er"), "b": ("mito", "nuc")}
SHAPE = (20, 24, 40)
PLAIN = Normalisation(0.0, 1.0)


def class_settings(named=NAMED, **changes):
    return settings(
        **{"targets": {"affinity": None, "classes": {"named": named}}, "losses": [{"loss": "bce"}]} | changes
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return a crop to train on and one to validate on that have other classes, codes and shapes."""
    folder, made = tmp_path_factory.mktemp("crops"), []
    for seed, (name, role) in enumerate((("a", "train"), ("b", "validate"))):
        shape = tuple(side + 3 * seed for side in SHAPE)
        codes = np.random.default_rng(seed).integers(1, len(STATES[name]) + 1, shape)
        made.append(make_crop(folder / name, name, role, codes, STATES[name], CLASSES[name]))
    return made


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Return crops of cubes; the second is thinner than a patch."""
    folder = tmp_path_factory.mktemp("cubes")
    shapes = {"a": SHAPE, "b": (9, 24, 40), "c": SHAPE}
    rows = [
        make_cubes(folder / name, name, "validate" if name == "c" else "train", seed, shape, ("nuc", "mito", "er"))
        for seed, (name, shape) in enumerate(shapes.items())
    ]
    write_split(folder / "split.tsv", rows)
    return folder / "split.tsv"


def patches_of(boxes, cfg, augment=None):
    targets = Targets(cfg.targets, (8, 8, 8), boxes[0].combinations)
    return TrainingPatches(boxes, cfg, augment or AugmentConfig(), targets, PLAIN)


@pytest.mark.parametrize("memory_gb", [0, 1])
@pytest.mark.parametrize("role", ["train", "validate"])
def test_labels_of_all_crops_are_numbers_of_one_table(rows, role, memory_gb):
    """Whichever crops are opened, each voxel has the states that the codes of its own crop say."""
    cfg = class_settings()
    (box,) = open_boxes(rows, role, memory_gb, cfg.targets)
    other = open_boxes(rows, "train" if role == "validate" else "validate", 0, cfg.targets)[0].combinations
    np.testing.assert_array_equal(box.combinations.states, other.states)
    place = Box((-2, 3, 30), (9, 12, 60))
    labels = box.read_labels(place)
    assert labels.dtype == np.int32
    values, mask = Targets(cfg.targets, (8, 8, 8), box.combinations).make(labels, Box.of_shape(labels.shape))
    inside = place.intersect(Box.of_shape(box.shape_zyx))
    codes = np.random.default_rng(role == "validate").integers(1, len(STATES[box.name]) + 1, box.shape_zyx)
    for channel, name in enumerate(NAMED):
        letters = np.array([row[CLASSES[box.name].index(name)] for row in STATES[box.name]])[codes[inside.slices] - 1]
        here = inside.within(place).slices
        np.testing.assert_array_equal(values[channel][here], letters == "1")
        np.testing.assert_array_equal(mask[channel][here], letters != "u")
        assert mask[channel].sum() == (letters != "u").sum()  # outside of the crop nothing is known
    if memory_gb:
        assert box.labels.dtype == np.int8
        assert box.bytes_in_memory == 2 * codes.size


def test_a_code_that_nothing_explains_is_refused(rows, tmp_path):
    row = make_crop(tmp_path, "a", "train", np.full(SHAPE, 3), ["10", "01"], NAMED)
    (box,) = open_boxes([row], "train", 0, class_settings().targets)
    with pytest.raises(DataError, match=r"labels of volume a hold a code .*expected at most 2; got 3; ingest it again"):
        box.read_labels(Box.of_shape(SHAPE))


def test_chunks_that_were_never_written_are_unknown(tmp_path):
    row = make_crop(tmp_path, "a", "train", np.zeros(SHAPE), ["10", "01"], NAMED)
    (box,) = open_boxes([row], "train", 0, class_settings().targets)
    assert (box.read_labels(Box.of_shape(SHAPE)) == -1).all()


@pytest.mark.parametrize(
    ("targets", "error", "match"),
    [
        ({"affinity": None, "classes": {"named": ["mitto"]}}, ConfigError, r"no class 'mitto'; did you mean 'mito'\?"),
        ({}, DataError, "volume a tell classes, and no objects; expected .*named.*; got affinity; set train.targets"),
        ({"affinity": None, "classes": {"labels": {"mito": [1]}}}, DataError, "volume a tell classes, and no objects"),
        ({"classes": {"named": ["mito"]}}, DataError, "and no other target; got affinity, classes"),
    ],
)
def test_targets_that_crops_do_not_have_are_refused(rows, targets, error, match):
    with pytest.raises(error, match=match):
        open_boxes(rows, "train", 0, settings(targets=targets).targets)


def test_volumes_that_do_not_tell_classes_are_refused(tmp_path):
    row = make_volume(tmp_path, "plain", "train", 0)
    with pytest.raises(DataError, match=r"labels of volume plain do not say which classes.*cellmap.*classes\.labels"):
        open_boxes([row], "train", 0, class_settings().targets)
    assert open_boxes([row], "train", 0, settings().targets)[0].combinations is None


def test_a_class_that_no_crop_holds_is_named(rows):
    cfg = class_settings(("mito", "er"))
    boxes = open_boxes(rows[:1], "train", 1, cfg.targets)
    patches_of(boxes, cfg)
    only = [replace(boxes[0], labels=np.full(SHAPE, sorted(boxes[0].combinations.having("mito"))[0], np.int8))]
    with pytest.raises(DataError, match=r"no training crop holds a voxel of the class 'er'; got voxels of mito"):
        patches_of(only, cfg)


def test_crops_in_which_no_class_is_annotated_are_left_out(rows, tmp_path):
    cfg = class_settings(("mito",))
    empty = make_crop(tmp_path, "c", "train", np.ones(SHAPE), ["u1"], ("mito", "nuc"))
    boxes = open_boxes([rows[0], empty], "train", 0, cfg.targets)
    assert [box.name for box in patches_of(boxes, cfg).boxes] == ["a"]
    with pytest.raises(DataError, match="volume c has nothing to learn from in any patch"):
        patches_of(boxes[1:], cfg)


def test_a_class_that_few_crops_know_is_no_mistake(rows, tmp_path):
    """Random patches may know nothing of it; of other targets that would be told before training."""
    big = make_crop(tmp_path / "big", "big", "train", np.ones((64, 64, 64)), ["1u"], NAMED)
    boxes = open_boxes([big, rows[0]], "train", 1, class_settings().targets)
    boxes = [replace(boxes[0], weight=1e9), boxes[1]]
    patches = patches_of(boxes, class_settings())
    assert not any(patches[i]["mask"][1].any() for i in range(20))
    check_known(patches)


def test_objects_are_not_copied_where_labels_tell_classes(rows):
    cfg = class_settings()
    boxes = open_boxes(rows, "train", 0, cfg.targets)
    with pytest.raises(ConfigError, match=r"augment\.copy_paste gives copies labels of their own"):
        patches_of(boxes, cfg, AugmentConfig(copy_paste=CopyPasteConfig()))


@pytest.mark.parametrize(
    ("second", "fits"), [((8.4, 7.6, 8.0), True), ((8.5, 8.0, 8.0), False), ((8.0, 8.0, 7.1), False)]
)
def test_crops_may_lie_on_both_sides_of_the_voxel_size_asked_for(tmp_path, second, fits):
    sizes = {"a": (7.6, 8.4, 8.0), "b": second}
    rows = [make_crop(tmp_path / n, n, "train", np.ones(SHAPE), ["11"], NAMED, nm) for n, nm in sizes.items()]
    if fits:
        assert len(open_boxes(rows, "train", 0, class_settings().targets)) == 2
    else:
        with pytest.raises(DataError, match="volumes a and b cannot be learnt together"):
            open_boxes(rows, "train", 0, class_settings().targets)


POISON, CLEAN = 255, 100
CROP = Box((5, 12, 20), (12, 30, 60))
"""Thinner than a patch along z, and no longer than what a turned patch reaches along y."""


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """Return the row of a crop whose raw data, beyond it, are poison; so are its labels, beyond the row's box."""
    folder, shape = tmp_path_factory.mktemp("poisoned"), (20, 40, 80)
    codes, raw = np.full(shape, 2, np.uint16), np.full(shape, POISON, np.uint8)
    rng = np.random.default_rng(0)
    codes[CROP.slices] = 1
    raw[CROP.slices] = rng.integers(0, CLEAN, CROP.shape_zyx)
    row = make_crop(folder, "a", "train", codes, ["10", "01"], NAMED, raw=raw)
    # Linked, as images that need no resampling are: volume.json tells the part of a larger array.
    said = read_json(row.volume_json)
    margin = Box((2, 6, 10), (18, 36, 70))
    said |= {"shape_zyx": margin.shape_zyx}
    for part in ("raw", "labels"):
        said[part]["box_zyx_vx"] = [margin.start_zyx, margin.stop_zyx]
    write_json(row.volume_json, said)
    return replace(row, box=CROP.within(margin))


@pytest.mark.parametrize("balance", ["voxels", "classes"])
@pytest.mark.parametrize("memory_gb", [0, 1])
@pytest.mark.parametrize("preset", ["banis", "realistic", "heavy"])
def test_turned_patches_read_nothing_outside_of_a_crop(project, poisoned, preset, memory_gb, balance):
    values = read_preset(project / f"config/augment/{preset}.yaml")
    values["affine"] = {"probability": 1, "rotate_deg": [180, 180, 180], "scale": 0.3, "shear": 0.3}
    values["elastic"] = {"probability": 1}
    values["mixup"] = {"probability": 1}
    # What changes grey values by itself would hide where they are from.
    for key in ("noise", "intensity", "brightness", "contrast", "missing_parts", "missing_sections", "cut_noise"):
        values[key] = None
    augment = AugmentConfig.model_validate(values)
    cfg = class_settings(("mito",), sampling={"balance": balance}, patch_zyx_vx=(16, 16, 32))
    boxes = open_boxes([poisoned], "train", memory_gb, cfg.targets)
    patches = patches_of(boxes, cfg, augment)
    known = 0
    for number in range(12):
        sample = patches[number]
        assert sample["raw"].max() <= CLEAN
        assert sample["values"][sample["mask"]].all()
        known += np.count_nonzero(sample["mask"])
        assert not sample["mask"].all()
    assert known > 12 * 400
    validation = ValidationPatches(boxes, cfg, patches.targets, PLAIN)
    for number in range(len(validation)):
        assert validation[number]["raw"].max() <= CLEAN
        assert validation[number]["mask"].sum() == 7 * 16 * 32


def test_a_patch_that_is_longer_than_the_crop_is_enough_where_the_crop_is_known(tmp_path):
    """Not a tenth of the patch is known, and it is not drawn again for that."""
    row = make_crop(tmp_path, "a", "train", np.ones((2, 9, 7)), ["11"], NAMED)
    cfg = class_settings(sampling={"attempts": 1000, "least_known": 1.0})
    boxes = open_boxes([row], "train", 1, cfg.targets)
    assert len({patches_of(boxes, cfg)[i]["mask"].tobytes() for i in range(10)}) > 5
    assert patches_of(boxes, cfg)[0]["mask"][0].sum() == 2 * 9 * 7


def test_dice_is_counted_over_known_voxels_of_all_batches():
    channels = [Channel(name, "classes") for name in ("nuc", "mito", "er", "ves")]
    scores = Scores(channels, ["loss"], torch.device("cpu"))
    rng = np.random.default_rng(0)
    said, true, known = (rng.random((3, 2, 4, 3, 4, 5)) < share for share in (0.4, 0.5, 0.7))
    true[:, :, 2], said[:, :, 2] = False, False  # absent, and not told
    true[:, :, 3], known[:, :, 3] = True, False
    for batch in range(3):
        arrays = (np.where(said[batch], 2.0, -2.0), true[batch].astype(np.uint8), known[batch])
        scores.add({"loss": 1.0}, *map(torch.from_numpy, arrays))
    whole, single = scores.result()
    dices = [
        2 * (said & true & known)[:, :, c].sum() / ((said & known)[:, :, c].sum() + (true & known)[:, :, c].sum())
        for c in range(2)
    ]
    assert [whole[f"validate_dice/{name}"] for name in ("nuc", "mito")] == pytest.approx(dices)
    assert np.isnan([whole["validate_dice/er"], whole["validate_dice/ves"]]).all()
    assert whole["validate_dice"] == pytest.approx(np.mean(dices))
    assert single.keys() == {f"validate_accuracy/{channel.name}" for channel in channels}


def test_a_training_by_class_goes_on_where_it_was(split, tmp_path, monkeypatch):
    """The same with crops in memory or not, in one thread or with a worker; Dice is written and chosen by."""
    cfg = class_settings(("mito", "er"), keep="best_dice", keep_best=1, sampling={"balance": "classes"})
    assert train(split, tmp_path / "whole", cfg)
    stop_at_step(monkeypatch, split, tmp_path / "stopped", 7, cfg)
    assert train(split, tmp_path / "stopped", cfg.model_copy(update={"workers": 1, "memory_gb": 0.0}))
    assert_same_result(tmp_path / "stopped", tmp_path / "whole")
    validations = [row for row in read_rows(tmp_path / "whole/metrics.csv") if row["validate_loss"]]
    dices = [[float(row[f"validate_dice{name}"]) for name in ("", "/mito", "/er")] for row in validations]
    assert all(mean == pytest.approx(np.nanmean(of_class), abs=1e-5) for mean, *of_class in dices)
    _, meta = weights_of(tmp_path / "whole")
    assert meta.provenance["best_validate_dice"] == pytest.approx(max(mean for mean, *_ in dices), abs=1e-5)
    assert [path.name.split("_")[1:] for path in (tmp_path / "whole/run/best").iterdir()] == [
        ["validate", f"dice{meta.provenance['best_validate_dice']:.6g}.ckpt"]
    ]


@pytest.mark.parametrize(
    ("found", "best_step", "last_step"),
    [
        ([0.2, 0.5, 0.4, 0.3, 0.9, 0.1], 4, 8),
        ([float("nan")] * 6, 0, 4),
        ([float("nan"), 0.0, 0.1, 0.1, 0.0, 0.3], 6, 10),
    ],
)
def test_the_highest_dice_is_kept_and_waited_for(split, tmp_path, monkeypatch, caplog, found, best_step, last_step):
    def score(self):
        self.validated = {"validate_loss": 1.0, "validate_dice": found[self.trainer.global_step // 2 - 1]}

    monkeypatch.setattr(Training, "on_validation_epoch_end", score)
    assert train(split, tmp_path, class_settings(keep="best_dice", patience=2, validate_every_steps=2))
    _, meta = weights_of(tmp_path)
    assert meta.provenance["best_step"] == best_step
    assert max(int(row["step"]) for row in read_rows(tmp_path / "metrics.csv")) == last_step
    assert ("the last network is saved" in caplog.text) == (best_step == 0)


def test_rows_of_other_roles_are_not_opened(rows, tmp_path):
    absent = SplitRow("absent", "predict", tmp_path / "volume.json", Box.of_shape(SHAPE))
    assert len(open_boxes([*rows, absent], "train", 0, class_settings().targets)) == 1


def test_volumes_that_are_made_up_to_measure_a_machine_hold_every_class():
    cfg = class_settings(("mito", "er", "nuc"), sampling={"balance": "classes"})
    patches = patches_of([make_up(cfg)], cfg)
    assert np.any([patches[i]["values"].any((1, 2, 3)) for i in range(8)], axis=0).all()
