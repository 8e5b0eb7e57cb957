"""CREMI's cleft distances against scipy's distance transform of the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
from array_volume import ArrayVolume
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from connectomake.config.settings.measure import MeasureConfig
from connectomake.errors import DataError
from connectomake.geometry import Box
from connectomake.measure.cleft_surfaces import CleftSurfaces, surface_of
from connectomake.measure.clefts import cleft_distances

SIZE_NM = (40.0, 4.0, 5.5)


def measure(truth: np.ndarray, segmented: np.ndarray, threads: int = 1, **changes: object) -> dict:
    volumes = [ArrayVolume(array, voxel_size_zyx_nm=SIZE_NM) for array in (truth, segmented)]
    return cleft_distances(*volumes, MeasureConfig(**changes), threads=threads)


def measure_by_edt(truth: np.ndarray, segmented: np.ndarray, threshold_nm: float) -> dict:
    """Follow CREMI's script, on the whole volume."""
    numbers: dict[str, float] = {}
    for name, wrong, mask, other in (
        ("adgt", "false_positives", segmented, truth),
        ("adf", "false_negatives", truth, segmented),
    ):
        distance_nm = distance_transform_edt(~other, sampling=SIZE_NM)[mask]
        numbers[f"cleft_{name}_nm"] = distance_nm.mean()
        numbers[f"cleft_{name}_std_nm"] = distance_nm.std()
        numbers[f"cleft_{name}_max_nm"] = distance_nm.max()
        numbers[f"cleft_{wrong}"] = np.count_nonzero(distance_nm > threshold_nm)
    numbers["cleft_score_nm"] = (numbers["cleft_adgt_nm"] + numbers["cleft_adf_nm"]) / 2
    return numbers | {"cleft_truth_voxels": truth.sum(), "cleft_segmented_voxels": segmented.sum()}


def blobs(seed: int, shape_zyx: tuple[int, int, int], n_blobs: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape_zyx, np.uint64)
    for label in range(1, n_blobs + 1):
        start, extent = rng.integers(0, shape_zyx), rng.integers(1, 6, 3)
        labels[tuple(slice(a, a + e) for a, e in zip(start, extent, strict=True))] = label
    return labels


@pytest.mark.slow("transforms sixty volumes")
@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32),
    st.tuples(*[st.integers(1, 24)] * 3),
    st.sampled_from([1, 3, 12]),
    st.sampled_from([1, 7, 60, 500, 2**23]),
    st.sampled_from([1, 3]),
    st.sampled_from([0.0, 8.0, 40.0, 200.0]),
)
def test_distances_equal_a_transform_of_the_whole_volume_whatever_the_blocks(
    seed: int, shape_zyx: tuple, n_blobs: int, block_vx: int, threads: int, threshold_nm: float
) -> None:
    truth, segmented = blobs(seed, shape_zyx, n_blobs), blobs(seed + 1, shape_zyx, n_blobs)
    found = measure(truth, segmented, threads, block_vx=block_vx, cleft_threshold_nm=threshold_nm)
    expected = measure_by_edt(truth > 0, segmented > 0, threshold_nm)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_worked_example_in_physical_units() -> None:
    truth, segmented = np.zeros((2, 5, 4, 60), np.uint8)
    truth[2, 1, 10], segmented[2, 1, 13], segmented[4, 1, 10] = 5, 7, 8
    found = measure(truth, segmented, cleft_threshold_nm=50)
    assert found == {
        "cleft_adgt_nm": (16.5 + 80) / 2,
        "cleft_adgt_std_nm": (80 - 16.5) / 2,
        "cleft_adgt_max_nm": 80.0,
        "cleft_adf_nm": 16.5,
        "cleft_adf_std_nm": 0.0,
        "cleft_adf_max_nm": 16.5,
        "cleft_score_nm": ((16.5 + 80) / 2 + 16.5) / 2,
        "cleft_false_positives": 1,
        "cleft_false_negatives": 0,
        "cleft_truth_voxels": 1,
        "cleft_segmented_voxels": 2,
    }


def test_a_voxel_just_at_the_threshold_is_no_error() -> None:
    truth, segmented = np.zeros((2, 1, 1, 60), np.uint8)
    truth[0, 0, 3], segmented[0, 0, 23] = 1, 1
    assert measure(truth, segmented, cleft_threshold_nm=110)["cleft_false_positives"] == 0
    assert measure(truth, segmented, cleft_threshold_nm=109.9)["cleft_false_positives"] == 1


def test_unknown_and_ignored_voxels_belong_to_no_cleft_of_either_side() -> None:
    truth, segmented = np.zeros((2, 3, 4, 30), np.int64)
    truth[1, 1, 5:9], segmented[1, 1, 6:9] = 3, 1
    expected = measure(truth, segmented)
    truth[1, 1, 15:18], segmented[1, 1, 15:18] = -1, 1
    truth[1, 2, 20:24], segmented[1, 2, 22:26], truth[1, 2, 24:26] = 9, 1, -1
    assert measure(truth, segmented, ignore_labels=(9,)) == expected
    assert measure(truth, segmented)["cleft_truth_voxels"] == expected["cleft_truth_voxels"] + 4


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64])
def test_labels_of_any_type_are_clefts_above_0(dtype: type) -> None:
    truth, segmented = blobs(1, (8, 9, 10), 5), blobs(2, (8, 9, 10), 5)
    expected = measure(truth, segmented)
    assert measure(truth.astype(dtype), segmented.astype(dtype)) == expected


@pytest.mark.parametrize(("n_truth", "n_segmented"), [(0, 0), (0, 3), (3, 0)])
def test_without_clefts_on_a_side_there_are_counts_and_no_distances(n_truth: int, n_segmented: int) -> None:
    truth, segmented = np.zeros((2, 2, 3, 4), np.uint8)
    truth[0, 0, :n_truth], segmented[0, 1, :n_segmented] = 1, 1
    found = measure(truth, segmented)
    assert [found[key] for key in found if key.endswith("_nm")] == [None] * 7
    assert (found["cleft_truth_voxels"], found["cleft_false_negatives"]) == (n_truth, n_truth)
    assert (found["cleft_segmented_voxels"], found["cleft_false_positives"]) == (n_segmented, n_segmented)


def test_only_as_much_as_a_block_is_read_at_a_time_and_only_where_clefts_are() -> None:
    truth, segmented = np.zeros((2, 64, 64, 64), np.uint8)
    truth[3, 3, 3:8], segmented[60, 60, 60] = 1, 1
    volume = ArrayVolume(segmented)
    cleft_distances(ArrayVolume(truth), volume, MeasureConfig(block_vx=4096))
    n_blocks = 64**3 // 4096
    assert max(box.size for box in volume.boxes) == 4096
    # beyond the first reading: each side looks for the other, from a box and in a box
    assert sum(box.size for box in volume.boxes[n_blocks:]) <= 4 * 5


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="other shape"):
        measure(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int))
    with pytest.raises(DataError, match="not a label volume"):
        measure(np.zeros((2, 2, 2)), np.zeros((2, 2, 2), int))


def test_the_surface_of_a_cube_is_its_shell() -> None:
    mask = np.zeros((7, 7, 7), bool)
    mask[1:6, 1:6, 1:6] = True
    shell = mask.copy()
    shell[2:5, 2:5, 2:5] = False
    assert np.array_equal(surface_of(mask), np.argwhere(shell))
    assert len(surface_of(np.ones((1, 4, 4), bool))) == 16


def test_surfaces_that_do_not_fit_in_memory_are_read_again() -> None:
    boxes = [Box((0, 0, x), (1, 1, x + 1)) for x in (0, 10, 20)]
    reads: list[Box] = []

    def read(box: Box) -> np.ndarray:
        reads.append(box)
        return np.array([box.start_zyx])

    few = CleftSurfaces(read, boxes, (1.0, 1.0, 1.0), max_points=2)
    for x, expected in ((1, 1), (9, 1), (19, 1), (2, 2), (1, 1)):
        assert few.distances_from(np.array([[0, 0, x]])) == [expected]
    assert reads == [boxes[0], boxes[1], boxes[2], boxes[0]]
