"""Voxel metrics against scikit-image, scipy and set arithmetic, on any labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import dice, jaccard
from skimage.metrics import adapted_rand_error as skimage_rand_error
from skimage.metrics import contingency_table as skimage_table
from skimage.metrics import variation_of_information as skimage_voi

from connectomake.config.settings.measure import MeasureConfig
from connectomake.measure.contingency import Contingency, contingency_of_arrays
from connectomake.measure.dense_metrics import dense_metrics

ALL = MeasureConfig(voxel_metrics=("voi", "adapted_rand", "matching", "foreground", "classes"))
SEEDS = st.integers(0, 2**32)


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two label arrays of one shape: noise, or runs of equal labels as along x; of any two types."""
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=9))
    rng = np.random.default_rng(draw(SEEDS))
    both = []
    for _ in range(2):
        labels = rng.integers(0, draw(st.integers(1, 12)), shape)
        labels = np.repeat(labels, draw(st.integers(1, 4)), axis=2)[..., : shape[2]]
        both.append(labels.astype(draw(st.sampled_from([np.int8, np.uint16, np.int64, np.uint64]))))
    return both[0], both[1]


def check(*strategies: st.SearchStrategy) -> Callable:
    """Run a property on 100 examples, however long the first takes (kernels are compiled then)."""
    return lambda test: settings(deadline=None, max_examples=100)(given(*strategies)(test))


@check(label_pairs())
def test_the_table_is_scikit_images(pair: tuple) -> None:
    table = contingency_of_arrays(*pair)
    expected = skimage_table(*pair, sparse_type="array").toarray()
    found = np.zeros_like(expected)
    found[table.truth_id, table.segment_id] = table.count
    assert np.array_equal(found, expected)


@check(label_pairs(), st.booleans())
def test_voi_is_scikit_images(pair: tuple, ignore_background: bool) -> None:
    truth, segment = pair
    cfg = MeasureConfig(voxel_metrics=("voi",), ignore_background=ignore_background)
    found = dense_metrics(contingency_of_arrays(truth, segment), cfg)
    if not found["n_truth_voxels"]:
        assert found["voxel_voi_sum"] == 0
        return
    expected = skimage_voi(truth, segment, ignore_labels=(0,) if ignore_background else ())
    # given the truth first, scikit-image returns (split, merge)
    assert (found["voxel_voi_split"], found["voxel_voi_merge"]) == pytest.approx(tuple(expected), abs=1e-12)


@check(label_pairs(), st.booleans())
def test_rand_error_is_scikit_images(pair: tuple, ignore_background: bool) -> None:
    truth, segment = pair
    cfg = MeasureConfig(voxel_metrics=("adapted_rand",), ignore_background=ignore_background)
    found = dense_metrics(contingency_of_arrays(truth, segment), cfg)
    numbers = [found[f"adapted_rand_{name}"] for name in ("error", "precision", "recall")]
    compared = truth != 0 if ignore_background else np.ones(truth.shape, bool)
    pairs_in_truth, pairs_in_segment = (np.bincount(a[compared].astype(int)).max(initial=0) > 1 for a in pair)
    if pairs_in_truth and pairs_in_segment:
        error, recall, precision = skimage_rand_error(truth, segment, ignore_labels=(0,) if ignore_background else ())
        assert numbers == pytest.approx([error, precision, recall], abs=1e-12)
    else:  # scikit-image divides by 0
        defined = [pairs_in_truth or pairs_in_segment, pairs_in_segment, pairs_in_truth]
        assert [not np.isnan(value) for value in numbers] == defined


@check(label_pairs())
def test_foreground_is_scipys_dissimilarity(pair: tuple) -> None:
    truth, segment = (labels.ravel() != 0 for labels in pair)
    found = dense_metrics(contingency_of_arrays(*pair), ALL)
    if not (truth | segment).any():
        assert np.isnan([found["foreground_dice"], found["foreground_iou"]]).all()
    else:
        expected = (1 - dice(truth, segment), 1 - jaccard(truth, segment))
        assert (found["foreground_dice"], found["foreground_iou"]) == pytest.approx(expected)
    assert found["foreground_accuracy"] == pytest.approx(np.mean(truth == segment))


@check(label_pairs())
def test_each_class_is_scipys_dissimilarity(pair: tuple) -> None:
    found = dense_metrics(contingency_of_arrays(*pair), ALL)
    truth, segment = (labels.ravel().astype(int) for labels in pair)
    ids = sorted({*truth.tolist(), *segment.tolist()} - {0})
    for k in ids:
        expected = (1 - dice(truth == k, segment == k), 1 - jaccard(truth == k, segment == k))
        assert (found[f"class_{k}_dice"], found[f"class_{k}_iou"]) == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(np.mean(truth == segment))


@check(label_pairs())
def test_above_one_half_a_match_is_what_overlaps_enough(pair: tuple) -> None:
    truth, segment = pair
    found = dense_metrics(contingency_of_arrays(truth, segment), MeasureConfig(iou_thresholds=(0.51, 0.8)))
    objects = [[labels == k for k in np.unique(labels) if k] for labels in pair]
    iou = np.array([[np.sum(a & b) / np.sum(a | b) for b in objects[1]] for a in objects[0]]).reshape(
        len(objects[0]), len(objects[1])
    )
    for suffix, threshold in (("51", 0.51), ("80", 0.8)):
        hits = iou >= threshold
        assert found[f"n_true_positives_{suffix}"] == hits.sum()
        assert found[f"n_false_positives_{suffix}"] == len(objects[1]) - hits.sum()
        assert found[f"n_false_negatives_{suffix}"] == len(objects[0]) - hits.sum()
        if hits.any():
            assert found[f"segmentation_quality_{suffix}"] == pytest.approx(iou[hits].mean())
    if objects[0]:
        assert found["mean_coverage"] == pytest.approx(iou.max(axis=1, initial=0).mean())


@check(label_pairs(), SEEDS)
def test_the_order_of_rows_and_new_names_for_objects_change_nothing(pair: tuple, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cfg = MeasureConfig()
    table = contingency_of_arrays(*pair)
    order = rng.permutation(len(table.count))
    names = np.r_[np.uint64(0), rng.permutation(100).astype(np.uint64) + np.uint64(2**63)]
    truth, segment = names[table.truth_id.astype(int)], names[table.segment_id.astype(int)]
    shuffled = Contingency(truth[order], segment[order], table.count[order])
    assert dense_metrics(shuffled, cfg) == pytest.approx(dense_metrics(table, cfg), nan_ok=True, abs=1e-12)


@check(label_pairs())
def test_a_perfect_segmentation_has_perfect_numbers(pair: tuple) -> None:
    found = dense_metrics(contingency_of_arrays(pair[0], pair[0]), ALL)
    if not pair[0].any():
        return
    ones = ("foreground_iou", "mean_dice", "accuracy", "panoptic_quality_75", "average_precision_50", "mean_coverage")
    assert [found[name] for name in ones] == [1.0] * len(ones)
    assert [found[name] for name in ("voxel_voi_sum", "adapted_rand_error_snemi", "cremi_score")] == [0.0] * 3
