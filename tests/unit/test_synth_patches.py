"""What the autoencoder sees: patches that depend on their number alone, and the middles of held-out examples."""

from dataclasses import replace

import numpy as np
import pytest
from small_synth import make_examples, settings

from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.synth import patches
from connectomake.synth.examples import read_example, read_table
from connectomake.synth.patches import RandomPatches, Volumes, WholeExamples, turn

CFG = settings()


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return read_table(make_examples(tmp_path_factory.mktemp("data")))


def test_a_patch_is_a_function_of_its_number(examples):
    volumes = Volumes(examples, CFG, 1.0)
    there, back = (RandomPatches(volumes, (8, 8, 8), 2, seed=3) for _ in range(2))
    forwards = [there[number]["volume"] for number in range(6)]
    backwards = [back[number]["volume"] for number in reversed(range(6))]
    assert all(map(np.array_equal, forwards, reversed(backwards)))
    assert {patch.shape for patch in forwards} == {(1, 8, 8, 8)}
    assert not np.array_equal(forwards[0], forwards[1])
    assert not np.array_equal(forwards[0], RandomPatches(volumes, (8, 8, 8), 2, seed=4)[0]["volume"])


def test_patches_come_from_everywhere_turned_in_the_plane(examples, monkeypatch):
    example, shape = examples[0], (4, 6, 6)
    place = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    monkeypatch.setattr(patches, "read_example", lambda example, cfg: place)
    drawn = RandomPatches(Volumes([replace(example, shape_zyx_vx=shape)], CFG, 1.0), (2, 4, 4), 1, seed=0)
    found = [drawn[number]["volume"][0] for number in range(300)]
    assert all((np.diff(patch, axis=0) == 36).all() for patch in found)  # never turned over along z
    steps = {(patch[0, 1, 0] - patch[0, 0, 0], patch[0, 0, 1] - patch[0, 0, 0]) for patch in found}
    assert steps == {(a * y, b * x) for a in (1, -1) for b in (1, -1) for y, x in ((6, 1), (1, 6))}
    assert {float(patch.min()) for patch in found} == {
        36 * z + 6 * y + x for z in range(3) for y in range(3) for x in range(3)
    }


def test_a_plane_whose_axes_differ_is_not_turned():
    volume = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    turned = [turn(volume, np.random.default_rng(seed), quarter=False) for seed in range(20)]
    assert {part.shape for part in turned} == {(1, 2, 3, 4)}
    assert len({part.tobytes() for part in turned}) == 4


def test_only_square_pixels_are_turned(examples, monkeypatch):
    monkeypatch.setattr(patches, "turn", lambda volume, rng, quarter: quarter)
    for nm, expected in (((40.0, 4.0, 4.0), True), ((4.0, 4.0, 5.0), False)):
        volumes = Volumes([replace(examples[0], voxel_size_zyx_nm=nm)], CFG, 1.0)
        assert RandomPatches(volumes, (8, 8, 8), 1, 0)[0]["volume"] is expected


def test_a_batch_has_one_shape_and_every_example_comes_alike_often(examples):
    flat = replace(examples[0], box=Box.of_shape((8, 16, 16)), shape_zyx_vx=(8, 16, 16))
    drawn = RandomPatches(Volumes([flat, *examples[1:4]], CFG, 1.0), None, 3, seed=0)
    shapes = [drawn[number]["volume"].shape[1:] for number in range(600)]
    batches = [set(shapes[first : first + 3]) for first in range(0, 600, 3)]
    assert all(len(batch) == 1 for batch in batches)
    assert shapes.count((8, 16, 16)) == pytest.approx(150, abs=60)
    assert RandomPatches(drawn.volumes, (4, 8, 32), 3, seed=0)[0]["volume"].shape == (1, 4, 8, 16)


def test_another_patch_is_drawn_where_there_is_only_air(examples, monkeypatch):
    volume = np.full((1, 16, 16, 16), -1, np.float32)
    volume[0, 0] = np.random.default_rng(0).random((16, 16))
    monkeypatch.setattr(patches, "read_example", lambda example, cfg: volume)
    drawn = RandomPatches(Volumes(examples[:1], CFG, 1.0), (4, 8, 8), 1, seed=0)
    share = np.mean([np.ptp(drawn[number]["volume"]) > 0 for number in range(200)])
    assert share == pytest.approx(1 - (12 / 13) ** patches.TRIES, abs=0.12)  # 1 / 13 of all places see the section


def test_what_fits_in_the_memory_is_read_once(examples, monkeypatch):
    read = []
    monkeypatch.setattr(patches, "read_example", lambda *args: read.append(args[0].key) or read_example(*args))
    volumes = Volumes(examples, CFG, 2.5 * 4 * 16**3 / 1e9)
    keys = [example.key for example in examples]
    assert read == keys[:2]
    assert np.array_equal(volumes[0], read_example(examples[0], CFG))
    assert np.array_equal(volumes[5], read_example(examples[5], CFG))
    assert read == [*keys[:2], keys[5]]


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(DataError, match="no example to learn from"):
        RandomPatches(Volumes([], CFG, 1.0), None, 1, 0)


def test_the_middles_of_some_of_each_class_validate(examples):
    whole = WholeExamples(examples, CFG, 3, None)
    assert [example.class_name for example in whole.volumes.examples] == ["coarse", "fine", "coarse"]
    assert len(WholeExamples(examples, CFG, 99, None)) == 6
    middle = WholeExamples(examples, CFG, 3, (8, 32, 4))[1]["volume"]
    assert np.array_equal(middle, whole[1]["volume"][:, 4:12, :, 6:10])
