"""Which pieces are learnt from and held out, and all that is refused before any training."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_examples import examples_of, grey, make_boxes, make_nifti, make_volumes, synth_settings, two_classes

from connectomake.config.settings.data import CollectionConfig
from connectomake.errors import ConfigError, DataError
from connectomake.geometry import Box
from connectomake.split.table import read_split, write_split
from connectomake.synth.examples import read_table
from connectomake.synth.listing import cut_regions, draw_pieces, list_examples
from connectomake.synth.regions import Region, refuse_overlaps

NM = (10.0, 10.0, 10.0)
CLASSES = {"dark": ["dark_*"], "bright": ["bright_*"]}


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return two_classes(tmp_path_factory.mktemp("classes"))


def listed(cfg, folder, split):
    return list_examples(cfg, folder / "examples.tsv", split)


def test_boxes_are_cut_by_class_and_role(tmp_path, split):
    examples = listed(examples_of(classes=CLASSES), tmp_path, split)
    assert read_table(tmp_path / "examples.tsv") == examples
    counts = {(e.class_name, e.role, e.volume) for e in examples}
    assert counts == {
        ("dark", "learn", "dark_1"),
        ("dark", "hold", "dark_2"),
        ("bright", "learn", "bright_1"),
        ("bright", "hold", "bright_2"),
    }
    assert len(examples) == len({e.key for e in examples}) == 32
    assert {(e.shape_zyx_vx, e.box.shape_zyx, e.dtype, e.intensity) for e in examples} == {
        ((8, 8, 8), (8, 8, 8), "uint8", (0.0, 255.0))
    }


def test_without_classes_there_is_one(tmp_path, split):
    assert {e.class_name for e in listed(examples_of(), tmp_path, split)} == {"all"}


def test_as_many_are_drawn_as_are_wanted_of_every_shape_and_by_seed(tmp_path, split):
    shapes = {"shapes_zyx_vx": [[4, 8, 8], [8, 8, 8], [8, 16, 16]], "at_most": 6, "hold_out_at_most": 3}
    examples = listed(examples_of(classes=CLASSES, **shapes), tmp_path, split)
    for name in CLASSES:
        learnt = [e.shape_zyx_vx for e in examples if (e.class_name, e.role) == (name, "learn")]
        assert sorted(learnt) == [(4, 8, 8)] * 2 + [(8, 8, 8)] * 2 + [(8, 16, 16)] * 2
    assert sum(e.role == "hold" for e in examples) == 6
    again = listed(examples_of(classes=CLASSES, **shapes), tmp_path, split)
    assert again == examples
    assert listed(examples_of(classes=CLASSES, seed=1, **shapes), tmp_path, split) != examples


def test_a_whole_volume_takes_the_smallest_shape_that_holds_it(tmp_path):
    split = make_volumes(
        tmp_path,
        ("a", "train", grey(0, (7, 8, 9)), NM),
        ("b", "train", grey(0, (4, 8, 8)), NM),
        ("c", "validate", grey(0, (8, 8, 8)), NM),
    )
    examples = listed(examples_of(take="whole", shapes_zyx_vx=[[16, 16, 16], [8, 8, 8]]), tmp_path, split)
    assert [(e.volume, e.shape_zyx_vx, e.box.shape_zyx) for e in examples if e.role == "learn"] in (
        [("a", (16, 16, 16), (7, 8, 9)), ("b", (8, 8, 8), (4, 8, 8))],
    )


@given(
    boxes=st.lists(
        st.tuples(
            st.sampled_from(["learn", "hold"]),
            st.tuples(*[st.integers(0, 20)] * 3),
            st.tuples(*[st.integers(1, 20)] * 3),
        ),
        min_size=1,
        max_size=5,
    ),
    shapes=st.lists(st.tuples(*[st.integers(4, 8)] * 3), min_size=1, max_size=3, unique=True),
    at_most=st.one_of(st.none(), st.integers(1, 4)),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_held_out_examples_never_overlap_learnt_ones(opened, boxes, shapes, at_most):
    regions = [
        Region("v", "all", role, opened[0], Box(start, np.add(start, sides)), opened[1]) for role, start, sides in boxes
    ]
    cfg = examples_of(shapes_zyx_vx=shapes, at_most=at_most).examples
    overlapping = any(
        a.role != b.role and a.box.intersect(b.box).size for i, a in enumerate(regions) for b in regions[:i]
    )
    if overlapping:
        with pytest.raises(DataError, match="both learnt from and held out"):
            refuse_overlaps(regions)
        return
    refuse_overlaps(regions)
    try:
        pieces = draw_pieces(cut_regions(regions, cfg), cfg)
    except DataError:
        return
    for region, box, shape in pieces:
        assert box.shape_zyx == shape
        assert region.box.contains(box)
    for (one, box, shape), (other, other_box, other_shape) in combinations(pieces, 2):
        if one.role != other.role or (one is other and shape == other_shape):
            assert not box.intersect(other_box).size


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    from connectomake.volumes.ingested import IngestedVolume

    folder = tmp_path_factory.mktemp("opened")
    make_volumes(folder, ("v", "train", grey(0), NM))
    return folder / "v" / "volume.json", IngestedVolume.read(folder / "v" / "volume.json").open_raw()


def test_a_small_box_beside_large_ones_is_left_out(tmp_path):
    split = make_boxes(
        tmp_path,
        grey(0, (16, 16, 32)),
        ("train", (0, 0, 0), (16, 16, 8)),
        ("train", (0, 0, 8), (4, 16, 16)),
        ("validate", (0, 0, 16), (16, 16, 32)),
    )
    assert len([e for e in listed(examples_of(), tmp_path, split) if e.role == "learn"]) == 4


@pytest.mark.parametrize(("take", "side", "problem"), [("cut", 17, "smaller"), ("whole", 8, "larger")])
def test_a_volume_that_no_shape_fits_is_refused(tmp_path, split, take, side, problem):
    with pytest.raises(DataError, match=rf"'dark_1' of class 'all' fits no shape: it is {problem}.*\[16, 16, 16\]"):
        listed(examples_of(take=take, shapes_zyx_vx=[[side] * 3]), tmp_path, split)


def test_a_shape_of_which_there_is_none_is_refused(tmp_path, split):
    with pytest.raises(DataError, match=r"no example of shape \[16, 16, 32\] to learn from"):
        listed(examples_of(shapes_zyx_vx=[[8, 8, 8], [16, 16, 32]]), tmp_path, split)


@pytest.mark.parametrize(("role", "purpose"), [("train", "learn from"), ("validate", "measure by")])
def test_too_few_examples_are_refused(tmp_path, role, purpose):
    sides = {"train": 16, "validate": 16} | {role: 8}
    split = make_volumes(tmp_path, *((r, r, grey(0, (8, 8, n)), NM) for r, n in sides.items()))
    with pytest.raises(DataError, match=rf"class 'all' has too few examples to {purpose}; expected 2 .* got 1"):
        listed(examples_of(least_volumes=2), tmp_path, split)


def test_a_class_of_one_role_is_refused(tmp_path, split):
    with pytest.raises(DataError, match=r"class 'dark' has too few examples to measure by.*got 0"):
        listed(examples_of(classes={"dark": ["dark_1"], "bright": ["bright_*"]}), tmp_path, split)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"dark": ["dark_*"], "grey": ["gray_*"]}, r"'gray_\*' of class 'grey' matches no volume.*bright_1"),
        ({"dark": ["dark_*"], "all": ["*"]}, "'dark_1' is of two classes, 'dark' and 'all'"),
        ({"dark": []}, "class 'dark' names no volumes"),
        ({"a/b": ["*"]}, "'a/b' cannot be part of a file's name"),
    ],
)
def test_classes_that_cannot_be_are_refused(tmp_path, split, classes, message):
    with pytest.raises(ConfigError, match=message):
        listed(examples_of(classes=classes), tmp_path, split)


def test_voxel_sizes_may_differ_between_classes_and_by_five_percent_within(tmp_path):
    sizes = {"a_1": NM, "a_2": (10.0, 10.0, 10.4), "b_1": (40.0, 4.0, 4.0), "b_2": (40.0, 4.0, 4.0)}
    split = make_volumes(
        tmp_path, *((name, "train" if name[-1] == "1" else "test", grey(0), nm) for name, nm in sizes.items())
    )
    examples = listed(examples_of(classes={"a": ["a_*"], "b": ["b_*"]}), tmp_path, split)
    assert {e.volume: e.voxel_size_zyx_nm for e in examples} == sizes
    with pytest.raises(DataError, match="'a_1' and 'b_1' of class 'all' differ in voxel size"):
        listed(examples_of(), tmp_path, split)


def test_grey_values_outside_the_range_name_the_volume_and_their_own(tmp_path):
    split = make_volumes(
        tmp_path,
        ("a", "train", grey(0), NM),
        ("b", "validate", grey(0).astype(np.uint16), NM),
    )
    with pytest.raises(DataError, match=r"volume 'b' lie outside .* expected 0 to 1, the default.*; got \d to 25\d"):
        listed(examples_of(), tmp_path, split)
    examples = listed(examples_of(percentiles=[1, 99]), tmp_path, split)
    assert examples[0].intensity == pytest.approx(tuple(np.percentile(grey(0), [1, 99])))


def test_constant_examples_are_warned_of(tmp_path, caplog):
    raw = grey(0)
    raw[:8, :8, :8] = 7
    split = make_volumes(tmp_path, ("a", "train", raw, NM), ("b", "validate", grey(1), NM))
    listed(examples_of(), tmp_path, split)
    assert "volume 'a': all grey values are equal in 1 of 8 examples" in caplog.text
    assert "'b'" not in caplog.text


def test_several_channels_are_refused(tmp_path, split, monkeypatch):
    from connectomake.volumes.volume import Volume

    monkeypatch.setattr(Volume, "drop_single_channel", lambda self: self)
    for number in range(2):
        make_nifti(tmp_path / "c" / "ct" / f"{number}.nii.gz", grey(number, (2, 16, 16, 16)))
    with pytest.raises(DataError, match="cannot be learnt by a generator; expected one channel; got 2"):
        list_examples(examples_of(), tmp_path / "t.tsv", collection=CollectionConfig(path=str(tmp_path / "c")))


@pytest.mark.parametrize("kind", ["joint", "conditional"])
def test_labels_that_are_needed_and_missing_are_refused(tmp_path, kind):
    from connectomake.files import read_json, write_json

    cfg = synth_settings(labels={"kind": kind})
    split = make_volumes(tmp_path, ("a", "train", grey(0), NM), ("b", "validate", grey(1), NM))
    assert listed(cfg, tmp_path, split)
    described = tmp_path / "b" / "volume.json"
    write_json(described, read_json(described) | {"labels": None})
    with pytest.raises(DataError, match=rf"labels.kind {kind} needs labels of volume 'b': .*give their path"):
        listed(cfg, tmp_path, split)
    make_collection(tmp_path / "c")
    with pytest.raises(DataError, match=r"the files of a collection have none .*set labels.kind: none"):
        list_examples(cfg, tmp_path / "t.tsv", collection=CollectionConfig(path=str(tmp_path / "c")))


def make_collection(folder):
    for number in range(3):
        make_nifti(folder / "ct" / f"{number}.nii.gz", grey(number, (8, 10, 12)))
        make_nifti(folder / "mr" / f"{number}.nii.gz", grey(number, (16, 12, 10)).astype(np.int16) - 100, mm=1e-5)


def test_a_collection_of_nifti_files_is_listed_whole(tmp_path):
    make_collection(tmp_path / "c")
    cfg = examples_of(take="whole", shapes_zyx_vx=[[8, 12, 12], [16, 16, 16]], intensity=[-100, 300])
    collection = CollectionConfig(path="c", held_out=0.3)
    examples = list_examples(cfg, tmp_path / "t.tsv", collection=collection, folder=str(tmp_path))
    assert [(e.class_name, e.role, e.shape_zyx_vx, e.dtype) for e in examples] == [
        *[("ct", "learn", (8, 12, 12), "uint8")] * 2,
        ("ct", "hold", (8, 12, 12), "uint8"),
        *[("mr", "learn", (16, 16, 16), "int16")] * 2,
        ("mr", "hold", (16, 16, 16), "int16"),
    ]
    np.testing.assert_allclose([e.voxel_size_zyx_nm for e in examples], 10, rtol=1e-4)
    assert len({e.source for e in examples}) == 6


def test_a_collection_has_classes_of_its_own(tmp_path):
    make_collection(tmp_path / "c")
    with pytest.raises(ConfigError, match=r"a collection has classes of its own; remove examples.classes"):
        list_examples(
            examples_of(classes={"a": ["*"]}), tmp_path / "t.tsv", collection=CollectionConfig(path=str(tmp_path / "c"))
        )


def test_there_must_be_a_split_or_a_collection(tmp_path):
    with pytest.raises(ConfigError, match="nothing to take examples from"):
        list_examples(examples_of(), tmp_path / "t.tsv")


def test_what_the_mix_leaves_out_is_not_learnt(tmp_path):
    volumes = [("a", "train", grey(0), NM), ("made", "train", grey(1), NM), ("b", "test", grey(2), NM)]
    rows = read_split(make_volumes(tmp_path, *volumes))
    shares = {"a": ("real", 1.0), "made": ("synthetic", 0.0), "b": ("real", None)}
    mixed = [dataclasses.replace(row, source=shares[row.volume][0], share=shares[row.volume][1]) for row in rows]
    write_split(tmp_path / "split.tsv", mixed)
    assert {e.volume for e in listed(examples_of(), tmp_path, tmp_path / "split.tsv")} == {"a", "b"}
