"""A sweep over the 13 thresholds of BANIS with all skeleton metrics, against decoding at each of them.

Run: pytest tests/benchmarks/bench_sweep.py --benchmark-sort=min --benchmark-columns=min,median,rounds
CONNECTOMAKE_BENCH_SIDE sets the side of the cube in voxels, CONNECTOMAKE_BENCH_THREADS the threads (default 2); the
affinities are those of `peers.make_affinities`. Skeletons are walks of 200 nodes that prefer strong edges, 50,000
nodes in all. Memory is the peak of a process of its own beyond the affinities, "bytes per voxel" in the extra_info.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from peers import make_affinities, peak_beyond
from processes import in_new_process

from connectomake.config.settings.decode_tune import BANIS_THRESHOLDS
from connectomake.decode import affinity_cc3d
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.tune.sweep.sweep import sweep_thresholds

SIDE = int(os.environ.get("CONNECTOMAKE_BENCH_SIDE", "128"))
THREADS = int(os.environ.get("CONNECTOMAKE_BENCH_THREADS", "2"))
NODES, WALK = 50_000, 200


def make_skeletons(affinities):
    """Return nodes (N, 3), edges (E, 2) and skeleton ids (N,) of walks that prefer strong edges, all at once."""
    rng = np.random.default_rng(0)
    shape = np.array(affinities.shape[1:])
    at = rng.integers(0, shape, (NODES // WALK, 3))
    path = []
    for _ in range(WALK):
        path.append(at)
        steps = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
        ends = np.clip(at[:, None] + steps, 0, shape - 1)
        low = np.minimum(at[:, None], ends)
        strength = affinities[np.arange(6) % 3, low[..., 0], low[..., 1], low[..., 2]] / 255
        best = (strength + rng.random(strength.shape)).argmax(axis=1)
        at = ends[np.arange(len(at)), best]
    nodes = np.stack(path, axis=1).reshape(-1, 3)
    first = np.arange(len(nodes))[np.arange(len(nodes)) % WALK != WALK - 1]
    return nodes, np.stack([first, first + 1], axis=1), np.arange(len(nodes)) // WALK + 1


def measure(skeletons, segment):
    nodes, edges, ids = skeletons
    return skeleton_metrics(edges, ids, nodes * np.array([30.0, 9.0, 9.0]), segment)["nerl"]


def sweep(affinities, skeletons, threads=THREADS):
    labels = sweep_thresholds(affinities, BANIS_THRESHOLDS, skeletons[0], threads=threads)
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda segment: measure(skeletons, segment), labels))


def decode_each(affinities, skeletons, threads=THREADS):
    found = []
    for threshold in BANIS_THRESHOLDS:
        labels = affinity_cc3d(affinities, threshold, threads=threads)
        found.append(measure(skeletons, labels[tuple(skeletons[0].T)]))
    return found


@pytest.fixture(scope="module", params=["noisy", "clean"])
def volume(request):
    affinities = make_affinities(SIDE, clean=request.param == "clean")
    return affinities, make_skeletons(affinities)


@pytest.mark.benchmark(group="sweep")
def test_one_decode(benchmark, volume):
    arguments = (volume[0], 0.5), {"threads": THREADS}
    benchmark.pedantic(affinity_cc3d, *arguments, rounds=5, warmup_rounds=1, iterations=1)


@pytest.mark.benchmark(group="sweep")
def test_sweep_with_all_metrics(benchmark, volume):
    found = benchmark.pedantic(sweep, volume, rounds=5, warmup_rounds=1, iterations=1)
    assert found == decode_each(*volume)


@pytest.mark.benchmark(group="sweep")
def test_sweep_alone(benchmark, volume):
    arguments = (volume[0], BANIS_THRESHOLDS, volume[1][0]), {"threads": THREADS}
    benchmark.pedantic(sweep_thresholds, *arguments, rounds=5, warmup_rounds=1, iterations=1)


@pytest.mark.benchmark(group="sweep")
def test_sweep_without_small_objects(benchmark, volume):
    arguments = (volume[0], BANIS_THRESHOLDS, volume[1][0]), {"threads": THREADS, "min_size_vx": 64}
    benchmark.pedantic(sweep_thresholds, *arguments, rounds=3, warmup_rounds=1, iterations=1)


@pytest.mark.benchmark(group="sweep")
def test_a_decode_and_all_metrics_for_each_threshold(benchmark, volume):
    benchmark.pedantic(decode_each, volume, rounds=2, warmup_rounds=1, iterations=1)


@pytest.mark.benchmark(group="memory")
def test_peak_memory(benchmark):
    nodes = np.random.default_rng(0).integers(0, (4, SIDE, SIDE), (NODES, 3))
    work = partial(sweep_thresholds, thresholds=BANIS_THRESHOLDS, nodes_zyx=nodes, threads=THREADS)
    peak = benchmark.pedantic(in_new_process, (peak_beyond, work, SIDE), rounds=1)
    benchmark.extra_info["bytes per voxel"] = round(peak / SIDE**3, 2)
