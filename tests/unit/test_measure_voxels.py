"""Voxel metrics against scikit-image, counting in blocks, and the way from a node to its voxel."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from array_volume import ArrayVolume
from skimage.metrics import adapted_rand_error as skimage_rand_error
from skimage.metrics import variation_of_information as skimage_voi

from connectomake.config.registries import TABLE_METRICS
from connectomake.config.settings.measure import MeasureConfig, VoxelMetric
from connectomake.errors import DataError
from connectomake.geometry import Box, Triple, TripleNm, position_of, voxel_at
from connectomake.measure.adapted_rand import adapted_rand_error, adapted_rand_error_snemi
from connectomake.measure.contingency import Contingency, contingency, contingency_of_arrays
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.pair_counts import MAX_CELLS, count_pairs
from connectomake.measure.table_metric import TableMetric
from connectomake.measure.variation_of_information import variation_of_information
from connectomake.volumes.label_volumes import reading_grid
from connectomake.volumes.nodes import segment_at_nodes

DEFAULT, WITH_BACKGROUND = MeasureConfig(), MeasureConfig(ignore_background=False)


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
    found = dense_metrics(table_of(truth, segment), DEFAULT)
    assert found["n_truth_voxels"] == np.count_nonzero(truth > 0)
    assert found["n_truth_objects"] == 5
    assert found["n_segments"] == 4
    with_background = dense_metrics(table_of(truth, segment), WITH_BACKGROUND)
    assert with_background["n_truth_voxels"] == np.count_nonzero(truth >= 0)
    known = truth >= 0
    expected = variation_of_information(table_of(truth[known].reshape(1, 1, -1), segment[known].reshape(1, 1, -1)))
    assert (with_background["voxel_voi_split"], with_background["voxel_voi_merge"]) == pytest.approx(expected)


def test_voxels_left_out_of_the_segmentation_are_a_merger() -> None:
    truth = np.repeat([1, 2], 8).reshape(1, 4, 4)
    found = dense_metrics(table_of(truth, np.zeros_like(truth)), DEFAULT)
    assert found["voxel_voi_merge"] == 1.0
    assert found["voxel_voi_split"] == 0.0


def test_nothing_to_compare_gives_no_error_value() -> None:
    found = dense_metrics(table_of(np.zeros((2, 2, 2), int), np.ones((2, 2, 2), int)), DEFAULT)
    assert np.isnan(found["adapted_rand_error"])
    assert (found["voxel_voi_sum"], found["n_truth_voxels"]) == (0.0, 0)


def test_squares_of_large_counts_do_not_overflow() -> None:
    table = Contingency(np.array([1, 2]), np.array([1, 2]), np.array([2**40, 2**40]))
    assert adapted_rand_error(table) == (0.0, 1.0, 1.0)


def snemi_script(truth: np.ndarray, segment: np.ndarray) -> float:
    """Follow the MATLAB script of SNEMI3D, with a dense table as it has: rows truth, columns segments, 0 first."""
    table = np.zeros((truth.max() + 1, segment.max() + 1))
    np.add.at(table, (truth.ravel(), segment.ravel()), 1)
    background = table[1:, 0].sum() / truth.size
    of_truth, of_segment = table[1:].sum(axis=1), table[1:, 1:].sum(axis=0)
    both = (table[1:, 1:] ** 2).sum() + background
    precision, recall = both / ((of_segment**2).sum() + background), both / (of_truth**2).sum()
    return 1 - 2 * precision * recall / (precision + recall)


def test_snemi_error_is_that_of_its_script(pair: tuple) -> None:
    truth, segment = pair[0] + 1, pair[1]
    assert adapted_rand_error_snemi(table_of(truth, segment)) == pytest.approx(snemi_script(truth, segment), abs=1e-12)


def test_what_is_left_out_is_one_segment_for_scikit_image_and_many_for_snemi() -> None:
    truth = np.array([1, 1, 1, 2, 2, 2, 0, 0]).reshape(2, 2, 2)
    segment = np.array([1, 1, 0, 2, 2, 0, 3, 0]).reshape(2, 2, 2)
    error, precision, recall = adapted_rand_error(table_of(truth, segment).foreground)
    assert (error, precision, recall) == pytest.approx((1 - 8 / 18, 4 / 6, 4 / 12))
    # of 18 ordered pairs (each voxel with itself too) 8 are joined; two voxels of the eight are left out
    recall = (8 + 2 / 8) / 18
    assert adapted_rand_error_snemi(table_of(truth, segment)) == pytest.approx(1 - 2 * recall / (1 + recall))


def test_the_cremi_score_is_the_geometric_mean_of_voi_and_rand_error_whatever_the_settings(pair: tuple) -> None:
    table = table_of(*pair)
    for cfg in (DEFAULT, WITH_BACKGROUND, MeasureConfig(voxel_metrics=("adapted_rand",))):
        found = dense_metrics(table, cfg)["cremi_score"]
        voi = sum(variation_of_information(table.without_truth(-1, 0)))
        assert found == pytest.approx(np.sqrt(voi * adapted_rand_error_snemi(table.without_truth(-1))))


def test_every_metric_of_the_table_has_its_name_in_the_settings() -> None:
    assert [*TABLE_METRICS, "clefts"] == list(VoxelMetric.__args__)
    assert all(isinstance(metric, TableMetric) for metric in TABLE_METRICS.values())


def test_only_what_is_asked_for_is_computed(pair: tuple) -> None:
    table = table_of(*pair)
    counts = {"n_truth_voxels", "n_truth_objects", "n_segments"}
    assert set(dense_metrics(table, MeasureConfig(voxel_metrics=("clefts",)))) == counts
    assert set(dense_metrics(table, MeasureConfig(voxel_metrics=("voi",)))) == counts | {
        "voxel_voi_split",
        "voxel_voi_merge",
        "voxel_voi_sum",
    }


@pytest.mark.parametrize("name", TABLE_METRICS)
@pytest.mark.parametrize(
    "truth",
    [
        np.zeros((0, 4, 4), np.uint16),
        np.full((2, 2, 2), -1),
        np.full((2, 2, 2), 9, np.uint8),
        np.zeros((2, 2, 2), np.uint64),
        np.ones((2, 2, 2), np.int32),
        np.arange(8).reshape(2, 2, 2) % 2 == 1,
    ],
    ids=["empty", "unknown", "ignored", "background", "one object", "bool"],
)
def test_every_metric_is_defined_for_every_truth(name: VoxelMetric, truth: np.ndarray) -> None:
    cfg = MeasureConfig(voxel_metrics=(name,), ignore_labels=(9,))
    for segment in (np.zeros(truth.shape, np.uint8), np.ones(truth.shape, bool), np.full(truth.shape, -3, np.int8)):
        found = dense_metrics(table_of(truth, segment), cfg)
        assert all(np.isnan(value) or value >= 0 for value in found.values())
        assert found["n_truth_voxels"] == np.count_nonzero((truth > 0) & (truth != 9))


def test_ignored_labels_never_count_in_any_metric(pair: tuple) -> None:
    truth, segment = pair
    cfg = MeasureConfig(voxel_metrics=tuple(TABLE_METRICS), ignore_labels=(3, 5))
    kept = ~np.isin(truth, [-1, 3, 5])
    without = dense_metrics(table_of(truth[kept][None, None], segment[kept][None, None]), cfg)
    assert dense_metrics(table_of(truth, segment), cfg) == pytest.approx(without, nan_ok=True)


@pytest.mark.parametrize("offset", [0, 2**53, 2**64 - 40])
def test_ids_beyond_floats_give_the_same_numbers(pair: tuple, offset: int) -> None:
    truth, segment = pair[0] + 1, pair[1]
    large = np.where(truth > 0, truth.astype(np.uint64) + np.uint64(offset), np.uint64(0))
    cfg = MeasureConfig(voxel_metrics=("voi", "adapted_rand", "matching", "foreground"))
    expected = dense_metrics(table_of(truth, segment), cfg)
    assert dense_metrics(table_of(large, segment), cfg) == pytest.approx(expected, rel=1e-14, nan_ok=True)


def test_all_ones_is_a_label_like_any_other_of_an_unsigned_type_and_unknown_of_a_signed_one() -> None:
    truth = np.array([255, 255, 1, 1], np.uint8).reshape(1, 2, 2)
    assert dense_metrics(table_of(truth, truth), DEFAULT)["n_truth_objects"] == 2
    assert dense_metrics(table_of(truth.view(np.int8), truth), DEFAULT)["n_truth_objects"] == 1


def test_truth_and_segmentation_of_bool_are_compared() -> None:
    truth = np.arange(27).reshape(3, 3, 3) % 2 == 0
    found = dense_metrics(table_of(truth, truth), DEFAULT)
    assert (found["n_truth_voxels"], found["n_truth_objects"], found["n_segments"]) == (14, 1, 1)
    assert (found["foreground_dice"], found["adapted_rand_error"], found["voxel_voi_sum"]) == (1.0, 0.0, 0.0)


def test_squares_of_sizes_are_exact() -> None:
    size = np.array([2**33 + 1, 2**31 + 1, 2**40 + 3, 5])
    table = Contingency(np.arange(4), np.array([1, 1, 2, 2]), size)
    error, precision, recall = adapted_rand_error(table)
    in_truth = sum(n * (n - 1) for n in size.tolist())
    in_segment = sum(n * (n - 1) for n in (int(size[0] + size[1]), int(size[2] + size[3])))
    assert (precision, recall) == (in_truth / in_segment, 1.0)
    assert error == 1 - 2 * in_truth / (in_segment + in_truth)


@pytest.mark.parametrize("block_vx", [1, 60, 10**9])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_threads_and_merging_do_not_change_the_table(
    pair: tuple, block_vx: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("connectomake.measure.contingency"), "PENDING_ROWS", 7)
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


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_arrays_in_memory_give_the_table_of_their_volumes(pair: tuple, threads: int) -> None:
    truth, segment = pair[0].swapaxes(0, 2), pair[1].swapaxes(0, 2)
    found, expected = contingency_of_arrays(truth, segment, threads=threads), table_of(truth, segment)
    for name in ("truth_id", "segment_id", "count"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    with pytest.raises(DataError, match="different shapes"):
        contingency_of_arrays(truth, segment[1:])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_the_whole_range_of_a_type_is_counted(dtype: type) -> None:
    span = np.iinfo(dtype)
    truth = np.array([span.min, span.max, span.min, span.max, 0, 1], dtype)
    for segment in (truth, truth[::-1].copy()):
        found = Contingency(*count_pairs(np.tile(truth, 20_000), np.tile(segment, 20_000)))
        assert sorted(zip(found.truth_id.tolist(), found.segment_id.tolist(), found.count.tolist(), strict=True)) == [
            (t, s, 20_000 * n) for t, s, n in count_slowly(truth, segment)
        ]


def count_slowly(truth: np.ndarray, segment: np.ndarray) -> list[tuple[int, int, int]]:
    pairs = list(zip(truth.tolist(), segment.tolist(), strict=True))
    return [(t, s, pairs.count((t, s))) for t, s in sorted(set(pairs))]


@pytest.mark.parametrize("step", [1, MAX_CELLS])
def test_many_pairs_are_counted_in_a_grid_and_in_a_hash_table(step: int) -> None:
    rng = np.random.default_rng(8)
    truth, segment = rng.integers(-30, 30, (2, 60_000))
    truth_id, segment_id, count = count_pairs(truth * step, segment)
    found = dict(zip(zip((truth_id // step).tolist(), segment_id.tolist(), strict=True), count.tolist(), strict=True))
    pairs, expected = np.unique(np.stack([truth, segment], axis=1), axis=0, return_counts=True)
    assert found == dict(zip(map(tuple, pairs.tolist()), expected.tolist(), strict=True))


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
