"""Decoding against the ways it is done elsewhere, side by side on the same affinities.

Run: pytest tests/benchmarks/bench_decode.py --benchmark-sort=min --benchmark-columns=min,median,rounds
CONNECTOMAKE_BENCH_SIDE sets the side of the cube in voxels (default 128; up to 128, or a multiple of 128).

The affinities are those of `peers.make_affinities`. Memory is the peak of a process of its own beyond the
affinities, in label volumes (4 bytes a voxel): "label volumes" among the benchmark's extra_info.
"""

import os
from functools import partial

import cc3d
import numpy as np
import pytest
from peers import (
    THRESHOLD,
    decode_as,
    label_by_cc3d,
    label_by_flood_fill,
    make_affinities,
    make_graph,
    peak_beyond,
)
from processes import in_new_process

from connectomake.decode import affinity_cc3d, fill_by_watershed
from connectomake.decode.filling.grow import grow_objects

SIDE = int(os.environ.get("CONNECTOMAKE_BENCH_SIDE", "128"))


@pytest.fixture(scope="module")
def affinities():
    return make_affinities(SIDE)


@pytest.mark.benchmark(group="components")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_affinity_cc3d(benchmark, affinities, dtype, threads):
    values = affinities if dtype == "uint8" else (affinities / np.float32(255)).astype(dtype)
    labels = benchmark.pedantic(
        affinity_cc3d, (values, THRESHOLD), {"threads": threads}, rounds=5, warmup_rounds=1, iterations=1
    )
    benchmark.extra_info["objects"] = int(labels.max())


@pytest.mark.benchmark(group="components")
def test_flood_fill_of_thresholded_affinities(benchmark, affinities):
    label_by_flood_fill(affinities[:, :2])
    labels = benchmark.pedantic(label_by_flood_fill, (affinities,), rounds=2)
    ours = affinity_cc3d(affinities, THRESHOLD)
    assert int(labels.max()) >= int(ours.max())


@pytest.mark.benchmark(group="components")
def test_cc3d_without_making_its_graph(benchmark, affinities):
    graph = make_graph(affinities)
    benchmark.pedantic(cc3d.color_connectivity_graph, (graph,), {"connectivity": 6}, rounds=3)


@pytest.mark.benchmark(group="components")
def test_cc3d_with_its_graph(benchmark, affinities):
    benchmark.pedantic(label_by_cc3d, (affinities,), rounds=2)


@pytest.mark.benchmark(group="small objects")
@pytest.mark.parametrize("mode", ["none", "background", "neighbor"])
def test_small_objects(benchmark, affinities, mode):
    arguments = {"thres_small": 64, "remove_small_mode": mode, "threads": 2}
    benchmark.pedantic(affinity_cc3d, (affinities, THRESHOLD), arguments, rounds=3, warmup_rounds=1, iterations=1)


@pytest.mark.benchmark(group="watershed")
def test_fill_by_watershed(benchmark, affinities):
    labels = affinity_cc3d(affinities, THRESHOLD, 64)
    background = float((labels == 0).mean())
    benchmark.pedantic(
        fill_by_watershed, setup=lambda: ((labels.copy(), affinities), {}), rounds=4, warmup_rounds=1, iterations=1
    )
    benchmark.extra_info["share of voxels to fill"] = background


@pytest.mark.benchmark(group="watershed")
@pytest.mark.parametrize("rounds", [16, 64])
def test_grow_objects(benchmark, affinities, rounds):
    labels = affinity_cc3d(affinities, THRESHOLD, 64)
    arguments = {"rounds": rounds}
    benchmark.pedantic(grow_objects, setup=lambda: ((labels.copy(), affinities), arguments), rounds=4, iterations=1)


WAYS = {
    "affinity_cc": partial(decode_as, {}),
    "neighbor": partial(decode_as, {"min_size_vx": 64, "remove_small": "neighbor"}),
    "watershed": partial(decode_as, {"min_size_vx": 64, "fill": "watershed"}),
    "grow": partial(decode_as, {"min_size_vx": 64, "fill": "grow", "fill_distance_vx": 16}),
    "cc3d": label_by_cc3d,
    "flood_fill": label_by_flood_fill,
}


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize("name", WAYS)
def test_peak_memory(benchmark, name):
    peak = benchmark.pedantic(in_new_process, (peak_beyond, WAYS[name], SIDE), rounds=1)
    benchmark.extra_info["label volumes"] = round(peak / (4 * SIDE**3), 2)
