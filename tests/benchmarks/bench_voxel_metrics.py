"""How long voxel metrics take, beside others. Run with: pytest tests/benchmarks/bench_voxel_metrics.py"""

from __future__ import annotations

import numpy as np
import pytest
from array_volume import ArrayVolume
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from skimage.metrics import adapted_rand_error as skimage_rand_error
from skimage.metrics import variation_of_information as skimage_voi

from connectomake.config.settings.measure import MeasureConfig
from connectomake.measure.clefts import cleft_distances
from connectomake.measure.contingency import Contingency, contingency_of_arrays
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.matching import matching

SIDE = 256
N_CELLS, N_NOISE = 3000, 1000
SAME_AS_SCIKIT_IMAGE = MeasureConfig(voxel_metrics=("voi", "adapted_rand"))
VOXEL_SIZE_NM = (40.0, 4.0, 4.0)


def make_cells(seeds_zyx: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Assign each voxel of a cube the name of its nearest seed."""
    tree, plane = cKDTree(seeds_zyx), np.indices((SIDE, SIDE)).reshape(2, -1).T
    nearest = [tree.query(np.insert(plane, 0, z, axis=1))[1].astype(np.uint32) for z in range(SIDE)]
    return names[np.stack(nearest).reshape((SIDE,) * 3)].astype(np.uint32)


@pytest.fixture(scope="module", params=["cells", "cells with large ids", "noise"])
def labels(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Two cubes: 3000 cells between membranes, shifted, split and merged in the segmentation; or 1000 random labels."""
    rng = np.random.default_rng(7)
    if request.param == "noise":
        truth, segmentation = rng.integers(0, N_NOISE, (2, *(SIDE,) * 3)).astype(np.uint32)
        return truth, segmentation
    seeds = rng.random((N_CELLS, 3)) * SIDE
    truth = make_cells(seeds, np.arange(1, N_CELLS + 1))
    segmentation = make_cells(seeds + rng.normal(0, 1.5, seeds.shape), rng.integers(1, N_CELLS + 1, N_CELLS))
    truth[..., 1:][truth[..., 1:] != truth[..., :-1]] = 0
    factor = 1_000_003 if request.param == "cells with large ids" else 1
    return truth * np.uint32(factor), segmentation * np.uint32(factor)


@pytest.mark.parametrize("threads", [1, 2])
def test_voi_and_rand_error(benchmark: BenchmarkFixture, labels: tuple, threads: int) -> None:
    """The table of two volumes in memory, VOI and the adapted Rand error of both conventions."""
    found = benchmark(measure, *labels, SAME_AS_SCIKIT_IMAGE, threads)
    error, _, _ = skimage_rand_error(*(np.unique(a, return_inverse=True)[1] for a in labels))
    assert found["adapted_rand_error"] == pytest.approx(error, rel=1e-9)


def test_every_default_metric(benchmark: BenchmarkFixture, labels: tuple) -> None:
    """With matching and foreground."""
    found = benchmark(measure, *labels, MeasureConfig(), 2)
    assert found["n_truth_objects"] >= N_NOISE - 1


def measure(truth: np.ndarray, segmentation: np.ndarray, cfg: MeasureConfig, threads: int) -> dict:
    return dense_metrics(contingency_of_arrays(truth, segmentation, threads=threads), cfg)


def test_scikit_image(benchmark: BenchmarkFixture, labels: tuple) -> None:
    """The same two numbers by scikit-image."""
    truth, segmentation = labels

    def measure_by_scikit_image() -> tuple:
        return skimage_voi(truth, segmentation, ignore_labels=(0,)), skimage_rand_error(truth, segmentation)

    if truth.max() > 100_000:
        pytest.skip("scikit-image makes room for every id up to the largest")
    benchmark.pedantic(measure_by_scikit_image, rounds=2)


def test_matching_of_a_million_objects(benchmark: BenchmarkFixture) -> None:
    """Each overlaps its own segment and three others."""
    n, rng = 1_000_000, np.random.default_rng(0)
    truth = np.repeat(np.arange(1, n + 1), 4)
    segment = (truth + np.tile([0, 1, 7, 1000], n) - 1) % n + 1
    count = rng.integers(1, 400, 4 * n) * np.tile([4, 1, 1, 1], n)
    found = benchmark.pedantic(
        lambda: matching(Contingency(truth, segment, count), iou_thresholds=(0.5, 0.75)), rounds=2, warmup_rounds=1
    )
    assert found["n_true_positives_50"] > found["n_true_positives_75"] > 0


@pytest.fixture(scope="module")
def clefts() -> tuple[np.ndarray, np.ndarray]:
    """A quarter of a CREMI volume: 120 thin clefts, found a few voxels off, with 20 that are not there."""
    rng = np.random.default_rng(3)
    truth = np.zeros((125, 625, 625), np.uint64)
    for label in range(1, 141):
        start, extent = rng.integers(0, truth.shape), (rng.integers(1, 6), rng.integers(5, 60), rng.integers(3, 12))
        truth[tuple(slice(a, a + e) for a, e in zip(start, extent, strict=True))] = label
    return np.where(truth <= 120, truth, 0), np.roll(truth, (3, 2), (1, 2))


@pytest.mark.parametrize("threads", [1, 2])
def test_cleft_distances(benchmark: BenchmarkFixture, clefts: tuple, threads: int) -> None:
    """Block by block, within fixed memory."""
    volumes = [ArrayVolume(labels, voxel_size_zyx_nm=VOXEL_SIZE_NM) for labels in clefts]
    found = benchmark.pedantic(cleft_distances, (*volumes, MeasureConfig()), {"threads": threads}, rounds=2)
    assert found["cleft_false_positives"] > 0


def test_cleft_distances_by_scipy(benchmark: BenchmarkFixture, clefts: tuple) -> None:
    """Two distance transforms of the whole volume, as CREMI's script does."""
    truth, segmented = (labels > 0 for labels in clefts)

    def transform() -> tuple[float, float]:
        to_truth, to_segmented = (distance_transform_edt(~mask, sampling=VOXEL_SIZE_NM) for mask in (truth, segmented))
        return to_truth[segmented].mean(), to_segmented[truth].mean()

    assert benchmark.pedantic(transform, rounds=1)[0] > 0
