"""How long measuring takes. Run with: pytest tests/benchmarks/bench_measure.py"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from connectomake.measure.contingency import count_pairs
from connectomake.measure.skeleton_metrics import skeleton_metrics

N_NODES, N_SKELETONS = 50_000, 400


@pytest.fixture
def cube() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Skeletons like those of one NISB cube: 400 random trees, splits on 0.4 % of edges, 60 mergers, 1 % background."""
    rng = np.random.default_rng(17)
    skeleton = np.sort(rng.integers(1, N_SKELETONS + 1, N_NODES))
    first_of_its_tree = np.r_[True, np.diff(skeleton) > 0]
    child = np.flatnonzero(~first_of_its_tree)
    tree_start = np.maximum.accumulate(np.where(first_of_its_tree, np.arange(N_NODES), 0))[child]
    edges = np.stack([np.maximum(child - rng.geometric(0.6, len(child)), tree_start), child], axis=1)
    segment = skeleton * 1000 + np.cumsum(rng.random(N_NODES) < 0.004)
    for kept, joined in rng.choice(np.unique(segment), (60, 2), replace=False):
        segment[segment == joined] = kept
    segment[rng.random(N_NODES) < 0.01] = 0
    position_nm = rng.normal(0, 30, (N_NODES, 3)).cumsum(axis=0)
    return edges, skeleton, position_nm, segment.astype(np.uint32)


def test_skeleton_metrics(benchmark: BenchmarkFixture, cube: tuple) -> None:
    """All skeleton metrics at 50,000 nodes; BANIS' compute_metrics takes 4.0 to 4.6 s."""
    found = benchmark(skeleton_metrics, *cube)
    assert 0 < found["nerl"] < found["nerl_inf"] < 1
    assert found["n_non0_mergers"] >= 100


def test_contingency_of_a_block(benchmark: BenchmarkFixture) -> None:
    """Pairs of 128 x 256 x 256 voxels with objects about 13 voxels wide along x."""
    index = np.indices((128, 256, 256), np.uint32)
    truth = (index[0] // 20 * 400 + index[1] // 17 * 20 + index[2] // 26).ravel().astype(np.int64)
    segment = (index[0] // 23 * 400 + index[1] // 17 * 20 + (index[2] + 13) // 26).ravel()
    count_pairs(truth, segment)  # compiles
    assert benchmark(count_pairs, truth, segment)[2].sum() == truth.size
