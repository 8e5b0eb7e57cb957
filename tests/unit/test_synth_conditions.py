"""Labels that images are made for: bent ones stay what they were, and phantoms fit the volume."""

from dataclasses import replace

import cc3d
import numpy as np
import pytest
from small_generator import SHAPE, SIZE, make_labels, settings, write_examples

from connectomake.config.engine.fill_generated import GeneratedVolume
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.errors import ConfigError
from connectomake.synth.conditions import bend, choose_example, choose_labels, draw_phantom, relabel, warp_example
from connectomake.synth.examples import read_labels, read_table

PHANTOM = PhantomConfig.model_validate(
    {"neurites": {"radius_nm": 36, "radius_range_nm": [30, 60], "roughness_nm": 5}, "shape_zyx": [32, 32, 32]}
)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return read_table(write_examples(tmp_path_factory.mktemp("examples")))


def count(labels):
    return {int(n): int((labels == n).sum()) for n in np.unique(labels)}


def test_no_voxel_comes_from_farther_than_the_largest_displacement():
    shape, warp_nm = (20, 40, 40), 45.0
    places = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    bent = bend(places, SIZE, warp_nm, np.random.default_rng(0))
    moved = (np.stack(np.unravel_index(bent, shape)) - np.indices(shape)) * np.reshape(SIZE, (3, 1, 1, 1))
    lengths = np.sqrt((moved.astype(float) ** 2).sum(0))
    assert warp_nm / 4 < lengths.max() <= warp_nm + np.linalg.norm(SIZE) / 2, "half a voxel is rounding"
    assert len(np.unique(bent)) > 0.7 * bent.size, "nothing is folded over, or smeared"


def test_without_a_displacement_labels_are_turned_alone(examples):
    labels = read_labels(examples[0])
    turned = warp_example(examples[0], SHAPE, 0.0, seed=5)
    expected = cc3d.connected_components(labels, connectivity=6)
    assert sorted(count(turned).values()) == sorted(count(expected).values())


def test_a_seed_decides_the_labels_and_each_piece_is_an_object(examples):
    first, again, other = (warp_example(examples[0], SHAPE, 30.0, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first.dtype, first.shape) == (np.uint32, SHAPE)
    assert cc3d.connected_components(first, connectivity=6, return_N=True)[1] == first.max() > 1


def test_what_is_unknown_stays_unknown():
    labels = make_labels((8, 8, 24), 0).astype(np.int32)
    labels[..., :8], labels[..., 8:16], labels[..., 16:] = 7, -1, 7
    found = relabel(labels)
    assert found.dtype == np.int32
    assert count(found) == {-1: 512, 1: 512, 2: 512}
    assert count(bend(labels, SIZE, 20.0, np.random.default_rng(0))).keys() == {-1, 7}


def test_a_volume_of_another_shape_is_cut_or_mirrored(examples):
    for shape in ((8, 16, 16), (16, 40, 24)):
        assert warp_example(examples[0], shape, 20.0, seed=0).shape == shape


def test_each_volume_of_a_class_has_another_example(examples):
    chosen = [choose_example(examples[:2], SHAPE, number, seed=0) for number in range(3)]
    assert chosen[0] == chosen[2] != chosen[1]
    larger = replace(examples[0], shape_zyx_vx=(32, 32, 32), key="larger")
    assert choose_example([examples[0], larger], (32, 32, 32), 0, seed=0).key == "larger"


def test_phantoms_have_the_shape_and_voxels_of_the_volume():
    labels = draw_phantom(PHANTOM, (20, 24, 28), (8.0, 8.0, 8.0), seed=3)
    assert labels.shape == (20, 24, 28)
    assert labels.max() > 1
    np.testing.assert_array_equal(labels, draw_phantom(PHANTOM, (20, 24, 28), (8.0, 8.0, 8.0), seed=3))
    assert (labels != draw_phantom(PHANTOM, (20, 24, 28), (8.0, 8.0, 8.0), seed=4)).any()


def test_a_phantom_that_does_not_fit_is_refused(examples):
    with pytest.raises(ConfigError, match=r"labels.phantom does not fit .* voxels of \[40.0, 40.0, 40.0\] nm"):
        draw_phantom(PHANTOM, SHAPE, (40.0, 40.0, 40.0), seed=0)
    cfg, volume = settings("conditional", labels={"given": "phantom"}), GeneratedVolume("thin_0", "thin", SHAPE, 0)
    with pytest.raises(ConfigError, match="no settings of phantoms"):
        choose_labels(cfg, volume, examples, None, SIZE, 0)
