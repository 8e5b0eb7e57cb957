"""Voxel metrics against scikit-image, counting in blocks, and the way from a node to its voxel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error as skimage_rand_error
from skimage.metrics import variation_of_information as skimage_voi

from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm
from connectomake.measure import contingency as contingency_module
from connectomake.measure.contingency import Contingency, contingency
from connectomake.measure.dense_metrics import adapted_rand_error, dense_metrics, variation_of_information
from connectomake.measure.label_volumes import reading_grid
from connectomake.measure.nodes import position_of, segment_at_nodes, voxel_at


@dataclass
class ArrayVolume:
    """As much of a Volume as measuring reads, in memory; remembers the boxes that were read."""

    array: np.ndarray
    voxel_size_zyx_nm: TripleNm = (20.0, 9.0, 9.0)
    offset_zyx_nm: TripleNm = (0.0, 0.0, 0.0)
    source: str = "array"
    file_chunks_zyx: Triple | None = None
    boxes: list[Box] = field(default_factory=list)

    @property
    def shape_zyx(self) -> Triple:
        return self.array.shape[-3:]

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def has_channels(self) -> bool:
        return self.array.ndim == 4

    @property
    def channels(self) -> int:
        return self.array.shape[0] if self.has_channels else 1

    def read(self, box: Box | None = None) -> np.ndarray:
        box = box or Box.of_shape(self.shape_zyx)
        self.boxes.append(box)
        return self.array[box.slices]


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.integers(-1, 6, (9, 14, 11)), rng.integers(0, 5, (9, 14, 11)).astype(np.uint32)


def table_of(truth: np.ndarray, segment: np.ndarray) -> Contingency:
    return contingency(ArrayVolume(truth), ArrayVolume(segment))


def test_voi_equals_scikit_image(pair: tuple) -> None:
    truth, segment = pair[0] + 1, pair[1]
    found = variation_of_information(table_of(truth, segment).without_truth(0))
    # given the truth first, scikit-image returns (split, merge) and ignores labels of the truth
    assert found == pytest.approx(tuple(skimage_voi(truth, segment, ignore_labels=(0,))), abs=1e-12)


def test_rand_error_equals_scikit_image(pair: tuple) -> None:
    truth, segment = pair[0] + 1, pair[1]
    error, precision, recall = adapted_rand_error(table_of(truth, segment).without_truth(0))
    # scikit-image names precision and recall the other way round (its issue 6485)
    assert (error, recall, precision) == pytest.approx(skimage_rand_error(truth, segment), abs=1e-12)


def test_precision_is_what_mergers_lower_and_recall_what_splits_lower() -> None:
    truth = np.array([1, 1, 1, 1, 2, 2, 2, 2]).reshape(1, 2, 4)
    _, precision, recall = adapted_rand_error(table_of(truth, np.ones_like(truth)))
    assert (precision, recall) == (pytest.approx(24 / 56), 1.0)
    _, precision, recall = adapted_rand_error(table_of(np.ones_like(truth), truth))
    assert (precision, recall) == (1.0, pytest.approx(24 / 56))


def test_unknown_never_counts_and_background_on_request(pair: tuple) -> None:
    truth, segment = pair
    found = dense_metrics(table_of(truth, segment))
    assert found["n_truth_voxels"] == np.count_nonzero(truth > 0)
    assert found["n_truth_objects"] == 5
    assert found["n_segments"] == 4
    with_background = dense_metrics(table_of(truth, segment), ignore_background=False)
    assert with_background["n_truth_voxels"] == np.count_nonzero(truth >= 0)
    known = truth >= 0
    expected = variation_of_information(table_of(truth[known].reshape(1, 1, -1), segment[known].reshape(1, 1, -1)))
    assert (with_background["voxel_voi_split"], with_background["voxel_voi_merge"]) == pytest.approx(expected)


def test_voxels_left_out_of_the_segmentation_are_a_merger() -> None:
    truth = np.repeat([1, 2], 8).reshape(1, 4, 4)
    found = dense_metrics(table_of(truth, np.zeros_like(truth)))
    assert found["voxel_voi_merge"] == 1.0
    assert found["voxel_voi_split"] == 0.0


def test_nothing_to_compare_gives_no_error_value() -> None:
    found = dense_metrics(table_of(np.zeros((2, 2, 2), int), np.ones((2, 2, 2), int)))
    assert np.isnan(found["adapted_rand_error"])
    assert (found["voxel_voi_sum"], found["n_truth_voxels"]) == (0.0, 0)


def test_squares_of_large_counts_do_not_overflow() -> None:
    table = Contingency(np.array([1, 2]), np.array([1, 2]), np.array([2**40, 2**40]))
    assert adapted_rand_error(table) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("block_vx", [1, 60, 10**9])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_threads_and_merging_do_not_change_the_table(
    pair: tuple, block_vx: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contingency_module, "PENDING_ROWS", 7)
    truth, segment = pair
    found = contingency(ArrayVolume(truth), ArrayVolume(segment), block_vx=block_vx, threads=threads)
    pairs, counts = np.unique(np.stack([truth.ravel(), segment.ravel()], axis=1), axis=0, return_counts=True)
    assert np.array_equal(np.stack([found.truth_id, found.segment_id], axis=1), pairs)
    assert np.array_equal(found.count, counts)
    assert (found.truth_id.dtype, found.segment_id.dtype) == (np.int64, np.uint32)


def test_more_pairs_than_the_first_table_holds() -> None:
    truth = np.arange(40_000).reshape(20, 40, 50)
    found = table_of(truth, (truth % 7).astype(np.uint64))
    assert np.array_equal(found.truth_id, truth.ravel())
    assert np.array_equal(found.segment_id, truth.ravel() % 7)
    assert (found.count == 1).all()


def test_ids_beyond_floats_stay_apart() -> None:
    truth = np.array([2**64 - 1, 2**64 - 2, 2**53, 2**53 + 1], np.uint64).reshape(1, 1, 4)
    found = table_of(truth, truth)
    assert found.truth_id.tolist() == sorted(truth.ravel().tolist())
    assert len(found.without_truth(-1, 0).count) == 4


@pytest.mark.parametrize(
    ("chunks", "block_vx", "expected"),
    [
        (None, 1000, (8, 8, 8)),
        ((4, 4, 4), 1000, (8, 8, 8)),
        ((1, 40, 60), 10_000, (4, 40, 60)),
        ((64, 64, 64), 1000, (30, 40, 60)),
        (None, 10**9, (32, 64, 64)),
    ],
)
def test_blocks_are_whole_chunks_within_the_voxels_allowed(
    chunks: Triple | None, block_vx: int, expected: Triple
) -> None:
    volume = ArrayVolume(np.zeros((30, 40, 60), np.uint8), file_chunks_zyx=chunks)
    assert reading_grid([volume], block_vx).block_zyx == expected


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        (np.zeros((2, 2, 3), int), "other shape"),
        (np.zeros((2, 2, 2)), "not a label volume"),
        (np.zeros((3, 2, 2, 2), int), "not a label volume"),
    ],
)
def test_what_cannot_be_compared_is_refused(segment: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        table_of(np.zeros((2, 2, 2), int), segment)


def test_a_node_is_in_the_voxel_whose_centre_is_nearest() -> None:
    size, offset = (20.0, 9.0, 9.0), (1000.0, -4.5, 3.0)
    voxel = np.array([[0, 0, 0], [3, 1, 2], [1349, 2999, 2999]])
    centre = position_of(voxel, size, offset)
    for shift in (-0.49, 0.0, 0.49):
        assert np.array_equal(voxel_at(centre + np.array(size) * shift, size, offset), voxel)


@pytest.mark.parametrize("size", [(20.0, 9.0, 9.0), (3.3, 0.1, 4.13)])
def test_every_voxel_of_an_axis_comes_back_to_itself(size: TripleNm) -> None:
    voxel = np.arange(30_000)[:, None] * [1, 1, 1]
    offset = (1234.5678, 0.1, -77.7)
    assert np.array_equal(voxel_at(position_of(voxel, size, offset), size, offset), voxel)


@pytest.mark.parametrize("threads", [1, 3])
def test_labels_under_nodes_equal_direct_indexing(threads: int) -> None:
    rng = np.random.default_rng(1)
    array = rng.integers(0, 2**63, (11, 23, 17)).astype(np.uint64)
    voxel = rng.integers(0, array.shape, (300, 3))
    volume = ArrayVolume(array, offset_zyx_nm=(500.0, 70.0, -3.0))
    position = position_of(voxel, volume.voxel_size_zyx_nm, volume.offset_zyx_nm)
    found, inside = segment_at_nodes(volume, position, block_vx=200, threads=threads)
    assert inside.all()
    assert found.dtype == np.uint64
    assert np.array_equal(found, array[tuple(voxel.T)])
    assert all(box.size <= 200 for box in volume.boxes)


def test_nodes_outside_are_told_and_not_wrapped(caplog: pytest.LogCaptureFixture) -> None:
    volume = ArrayVolume(np.full((4, 4, 4), 5), voxel_size_zyx_nm=(1.0, 1.0, 1.0))
    position = np.array([[0, 0, 0], [-1, 0, 0], [3.4, 3.4, 3.4], [3.6, 0, 0], [0, 0, 1e9]])
    found, inside = segment_at_nodes(volume, position)
    assert inside.tolist() == [True, False, True, False, False]
    assert found.tolist() == [5, 0, 5, 0, 0]
    assert "3 of 5 nodes lie outside" in caplog.text


def test_only_blocks_with_nodes_are_read() -> None:
    volume = ArrayVolume(np.zeros((50, 50, 50), int), voxel_size_zyx_nm=(1.0, 1.0, 1.0))
    segment_at_nodes(volume, np.array([[1.0, 1, 1], [2, 2, 2], [45, 45, 45]]), block_vx=1000)
    assert volume.boxes == [Box((1, 1, 1), (3, 3, 3)), Box((45, 45, 45), (46, 46, 46))]
    assert len(segment_at_nodes(volume, np.zeros((0, 3)))[0]) == 0
