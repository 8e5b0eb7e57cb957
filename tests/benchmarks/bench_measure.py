"""How long measuring takes. Run with: pytest tests/benchmarks/bench_measure.py"""

from __future__ import annotations

import numpy as np
from measure_peers import make_skeletons
from pytest_benchmark.fixture import BenchmarkFixture

from connectomake.measure.contingency import count_pairs
from connectomake.measure.skeleton_metrics import skeleton_metrics

NODES = 50_000


def test_skeleton_metrics(benchmark: BenchmarkFixture) -> None:
    """All skeleton metrics at 50,000 nodes; BANIS' compute_metrics takes 4.0 to 4.6 s."""
    found = benchmark(skeleton_metrics, *make_skeletons(NODES))
    assert 0 < found["nerl"] < found["nerl_inf"] < 1
    assert found["n_non0_mergers"] >= 100


def test_contingency_of_a_block(benchmark: BenchmarkFixture) -> None:
    """Pairs of 128 x 256 x 256 voxels with objects about 13 voxels wide along x."""
    index = np.indices((128, 256, 256), np.uint32)
    truth = (index[0] // 20 * 400 + index[1] // 17 * 20 + index[2] // 26).ravel().astype(np.int64)
    segment = (index[0] // 23 * 400 + index[1] // 17 * 20 + (index[2] + 13) // 26).ravel()
    count_pairs(truth, segment)  # compiles
    assert benchmark(count_pairs, truth, segment)[2].sum() == truth.size
