"""The classes of a crop of a phantom, against slow twins; and the miniature challenge's settings."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from connectomake.config.engine.layers import read_preset
from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.geometry import Box
from connectomake.phantom.challenge.make import check_dataset
from connectomake.phantom.challenge.truth import IDS, UNKNOWN, Truth, find_truth, take_commonest

CONFIG = Path(__file__).parents[2] / "config"


@given(arrays(np.uint8, (5, 4, 7), elements=st.integers(0, 3)), st.integers(1, 3))
def test_the_commonest_value_is_that_of_a_counter(values: np.ndarray, factor: int) -> None:
    found = take_commonest(values, factor)
    assert found.shape == tuple(n // factor for n in values.shape)
    for voxel in product(*map(range, found.shape)):
        cube = values[tuple(slice(factor * v, factor * (v + 1)) for v in voxel)]
        assert found[voxel] == Counter(cube.ravel().tolist()).most_common(1)[0][0]


def two_cells_with_a_ball() -> tuple[np.ndarray, np.ndarray]:
    labels = np.ones((24, 24, 24), np.uint32)
    labels[:, :, 16:] = 2
    organelles = np.zeros(labels.shape, np.uint8)
    z, y, x = np.ogrid[:24, :24, :24]
    organelles[(z - 12) ** 2 + (y - 12) ** 2 + (x - 7) ** 2 < 25] = 1
    return labels, organelles


@pytest.mark.parametrize(("side_nm", "layers"), [(4.0, 3), (8.0, 1), (16.0, 1), (40.0, 1)])
def test_membranes_are_12_nm_deep_but_one_voxel_at_least(side_nm: float, layers: int) -> None:
    labels, organelles = two_cells_with_a_ball()
    truth = find_truth(labels, organelles, Box((4, 4, 1), (20, 20, 23)), 1, [side_nm] * 3)
    across = truth.part[0, 0]
    expected = np.full(22, IDS["cyto"])
    expected[15 - layers : 15 + layers] = IDS["pm"]
    np.testing.assert_array_equal(across, expected)
    along_ball = truth.part[8, 8, 2:11]
    assert (along_ball == IDS["mito_mem"]).sum() == 2 * layers
    assert (along_ball == IDS["mito_lum"]).sum() == 9 - 2 * layers


def test_a_face_of_the_crop_that_cuts_an_organelle_is_no_membrane() -> None:
    labels, organelles = two_cells_with_a_ball()
    truth = find_truth(labels, organelles, Box((12, 0, 0), (24, 24, 24)), 1, [8.0] * 3)
    assert truth.part[0, 12, 7] == IDS["mito_lum"]
    assert (truth.objects["mito"] > 0).sum() == (organelles[12:] == 1).sum()


def test_membranes_do_not_depend_on_the_crop() -> None:
    labels, organelles = two_cells_with_a_ball()
    for scale in (0.5, 1, 2):
        size = [8.0 * scale] * 3
        whole = find_truth(labels, organelles, Box.of_shape(labels.shape), scale, size).part
        part = find_truth(labels, organelles, Box((4, 6, 2), (14, 18, 14)), scale, size).part
        at = tuple(slice(int(a / scale), int(b / scale)) for a, b in ((4, 14), (6, 18), (2, 14)))
        np.testing.assert_array_equal(part, whole[at])


def test_what_is_no_neurites_is_membrane_of_no_cell() -> None:
    labels, organelles = two_cells_with_a_ball()
    labels[20, 3, 3] = 0
    truth = find_truth(labels, organelles, Box.of_shape(labels.shape), 1, [8.0] * 3)
    assert truth.part[20, 3, 3] == IDS["pm"]
    assert truth.draw("cell")[20, 3, 3] == 0
    assert truth.part[20, 3, 4] == IDS["pm"]


def test_vesicles_that_share_no_more_than_an_edge_are_two() -> None:
    labels = np.ones((8, 8, 8), np.uint32)
    organelles = np.zeros(labels.shape, np.uint8)
    organelles[2:4, 2:4, 2:4] = organelles[4:6, 4:6, 2:4] = 2
    truth = find_truth(labels, organelles, Box.of_shape(labels.shape), 1, [8.0] * 3)
    assert truth.draw("ves")[3, 3, 3] != truth.draw("ves")[4, 4, 3]


def test_no_object_is_called_as_what_is_unknown() -> None:
    labels = np.arange(1, 401, dtype=np.uint32).reshape(4, 10, 10)
    truth = find_truth(labels, np.zeros(labels.shape, np.uint8), Box.of_shape(labels.shape), 1, [8.0] * 3, 0.25)
    cells = truth.draw("cell")
    assert (cells == UNKNOWN).sum() == 100
    assert len(np.unique(cells[:3])) == 300
    assert (cells[:3] != UNKNOWN).all()
    assert cells.max() == 301


def test_coarser_levels_keep_classes_and_objects_together() -> None:
    part = np.full((2, 2, 5), IDS["cyto"], np.uint8)
    part[:, :, :2] = IDS["mito_mem"]
    part[0, 0, :2] = IDS["mito_lum"]
    part[1, :, 2:4] = UNKNOWN
    mito = np.where(part == IDS["cyto"], 0, 7).astype(np.uint16)
    mito[part == UNKNOWN] = 0
    coarse = Truth(part, {"mito": mito}).halve()
    np.testing.assert_array_equal(coarse.part, [[[IDS["mito_mem"], IDS["cyto"]]]])
    np.testing.assert_array_equal(coarse.draw("mito"), [[[7, 0]]])
    assert coarse.objects["mito"].dtype == np.uint16


def test_the_miniature_challenge_has_what_makes_the_real_one_hard_to_read() -> None:
    cfg = CellmapConfig.model_validate(read_preset(CONFIG / "data" / "cellmap_mini.yaml")["cellmap"])
    made = cfg.generate
    presets = {dataset.phantom for dataset in made.values()}
    files = {name: PhantomConfig.model_validate(read_preset(CONFIG / "phantom" / f"{name}.yaml")) for name in presets}
    for name, dataset in made.items():
        check_dataset(name, dataset, files)
    crops = [crop for dataset in made.values() for crop in dataset.crops.values()]
    assert {crop.label_scale for crop in crops} == {0.5, 1, 2}
    assert any(crop.unknown_share for crop in crops)
    assert any("mito" in crop.not_annotated for crop in crops)
    assert all(any(crop.test for crop in dataset.crops.values()) for dataset in made.values())
    assert any(dataset.first_level for dataset in made.values())
    assert any(len(set(files[dataset.phantom].voxel_size_zyx_nm)) > 1 for dataset in made.values())
