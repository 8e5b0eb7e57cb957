"""Decoding against the ways it is done elsewhere, side by side on the same affinities.

Run: pytest tests/benchmarks/bench_decode.py --benchmark-sort=min --benchmark-columns=min,median,rounds
CONNECTOMAKE_BENCH_SIDE sets the side of the cube in voxels (default 128; up to 128, or a multiple of 128).

The affinities are those of warped, flattened cells about 30 voxels wide with membranes between them, blurred and with
noise, so that they hold broken runs and crumbs as predictions do. Memory is the peak of a process of its own beyond the
affinities, in label volumes (4 bytes a voxel): "label volumes" among the benchmark's extra_info.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import cc3d
import numpy as np
import pytest
from numba import njit
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from connectomake.config.decode import DecodeConfig
from connectomake.decode import affinity_cc3d, decode, fill_by_watershed

SIDE = int(os.environ.get("CONNECTOMAKE_BENCH_SIDE", "128"))
THRESHOLD = 0.5


def make_affinities(side, dtype=np.uint8):
    """Give (3, side, side, side) affinities, made of one tile."""
    rng = np.random.default_rng(0)
    tile = min(side, 128)
    squeeze = np.array([0.4, 1, 1])
    grid = np.stack(np.meshgrid(*[np.arange(tile)] * 3, indexing="ij"), -1)
    warp = np.stack([gaussian_filter(rng.standard_normal([tile] * 3), 6) for _ in range(3)], -1)
    seeds = rng.random((tile**3 // 12000 + 2, 3)) * tile
    distance, nearest = cKDTree(seeds * squeeze).query((grid + warp * 8 / warp.std()) * squeeze, k=2)
    labels = np.where(distance[..., 1] - distance[..., 0] < 1, 0, nearest[..., 0] + 1)
    values = np.zeros((3, tile, tile, tile), np.float32)
    for axis in range(3):
        here, there = np.swapaxes(labels, 0, axis)[:-1], np.swapaxes(labels, 0, axis)[1:]
        np.swapaxes(values[axis], 0, axis)[:-1] = (here == there) & (here > 0)
        values[axis] = gaussian_filter(values[axis], 0.7)
    values = np.clip(values + rng.normal(0, 0.08, values.shape), 0, 1)
    values = np.rint(255 * values).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)
    return np.tile(values, (1, *[side // tile] * 3))


@njit
def flood_fill(strong):
    """Label as BANIS does: depth first from every voxel with an edge of its own, edges read at their first voxel."""
    shape = strong.shape[1:]
    visited = np.zeros(shape, np.uint8)
    labels = np.zeros(shape, np.uint32)
    count = 1
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                if visited[i, j, k] or not (strong[0, i, j, k] or strong[1, i, j, k] or strong[2, i, j, k]):
                    continue
                stack = [(i, j, k)]
                visited[i, j, k] = 1
                while stack:
                    x, y, z = stack.pop()
                    labels[x, y, z] = count
                    if x + 1 < shape[0] and strong[0, x, y, z] and not visited[x + 1, y, z]:
                        stack.append((x + 1, y, z))
                        visited[x + 1, y, z] = 1
                    if y + 1 < shape[1] and strong[1, x, y, z] and not visited[x, y + 1, z]:
                        stack.append((x, y + 1, z))
                        visited[x, y + 1, z] = 1
                    if z + 1 < shape[2] and strong[2, x, y, z] and not visited[x, y, z + 1]:
                        stack.append((x, y, z + 1))
                        visited[x, y, z + 1] = 1
                    if x > 0 and strong[0, x - 1, y, z] and not visited[x - 1, y, z]:
                        stack.append((x - 1, y, z))
                        visited[x - 1, y, z] = 1
                    if y > 0 and strong[1, x, y - 1, z] and not visited[x, y - 1, z]:
                        stack.append((x, y - 1, z))
                        visited[x, y - 1, z] = 1
                    if z > 0 and strong[2, x, y, z - 1] and not visited[x, y, z - 1]:
                        stack.append((x, y, z - 1))
                        visited[x, y, z - 1] = 1
                count += 1
    return labels


def make_graph(affinities):
    """Give the bits that cc3d reads: +x, -x, +y, -y, +z, -z, indexed x, y, z."""
    graph = np.zeros(affinities.shape[1:], np.uint8)
    for axis, bit in ((2, 0), (1, 2), (0, 4)):
        low, high = (tuple(s if a == axis else slice(None) for a in range(3)) for s in (slice(0, -1), slice(1, None)))
        edge = (affinities[axis][low] > THRESHOLD * 255).astype(np.uint8)
        graph[low] |= edge << bit
        graph[high] |= edge << (bit + 1)
    return graph.T


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
    flood_fill(np.zeros((3, 2, 2, 2), bool))
    labels = benchmark.pedantic(lambda: flood_fill(affinities > THRESHOLD * 255), rounds=2)
    ours = affinity_cc3d(affinities, THRESHOLD)
    assert int(labels.max()) >= int(ours.max())


@pytest.mark.benchmark(group="components")
def test_cc3d_without_making_its_graph(benchmark, affinities):
    graph = make_graph(affinities)
    benchmark.pedantic(lambda: cc3d.color_connectivity_graph(graph, connectivity=6), rounds=3)


@pytest.mark.benchmark(group="components")
def test_cc3d_with_its_graph(benchmark, affinities):
    benchmark.pedantic(lambda: cc3d.color_connectivity_graph(make_graph(affinities), connectivity=6), rounds=2)


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


def peak_beyond(what, side):
    """Give the bytes that decoding adds to what this process holds."""
    affinities = make_affinities(side)
    run_decoder(what, affinities[:, :4].copy())  # compiles
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # sets the peak to what is in use now
    before = read_memory("VmRSS")
    run_decoder(what, affinities)
    return read_memory("VmHWM") - before


def run_decoder(what, affinities):
    if what == "cc3d":
        cc3d.color_connectivity_graph(make_graph(affinities), connectivity=6)
    elif what == "flood_fill":
        flood_fill(affinities > THRESHOLD * 255)
    else:
        decode(affinities, DecodeConfig(**what), threads=2)


def read_memory(key):
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


DECODERS = {
    "affinity_cc": {},
    "neighbor": {"min_size_vx": 64, "remove_small": "neighbor"},
    "watershed": {"min_size_vx": 64, "fill": "watershed"},
    "cc3d": "cc3d",
    "flood_fill": "flood_fill",
}


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize("name", DECODERS)
def test_peak_memory(benchmark, name):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        peak = benchmark.pedantic(lambda: pool.submit(peak_beyond, DECODERS[name], SIDE).result(), rounds=1)
    benchmark.extra_info["label volumes"] = round(peak / (4 * SIDE**3), 2)
