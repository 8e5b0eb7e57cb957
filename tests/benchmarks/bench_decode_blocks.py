"""Decoding a store in blocks against decoding it at once: time, memory, and the share of each step.

Run: pytest tests/benchmarks/bench_decode_blocks.py --benchmark-columns=min,rounds
CONNECTOMAKE_BENCH_SIDE sets the side of the cube in voxels (a multiple of 128; default 256; 1024 needs 8 GB of disk),
CONNECTOMAKE_BENCH_BLOCK that of a block (default 128).

Each step runs in a process of its own, as the jobs of the workflow do; its peak memory is among the extra_info, in GB.
The labels of blocks and of the whole are compared.
"""

import os

import pytest
from processes import in_new_process, peak_bytes
from stores import block_steps, require_same_labels, whole_step, write_affinities

SIDE = int(os.environ.get("CONNECTOMAKE_BENCH_SIDE", "256"))
BLOCK = int(os.environ.get("CONNECTOMAKE_BENCH_BLOCK", "128"))


@pytest.fixture(scope="module")
def affinities(tmp_path_factory):
    return write_affinities(tmp_path_factory.mktemp("store"), SIDE)


@pytest.mark.benchmark(group="store")
@pytest.mark.parametrize("step", ["label", "stitch", "relabel", "finish"])
def test_blocks(benchmark, affinities, step):
    peak = benchmark.pedantic(in_new_process, (peak_bytes, block_steps(affinities, BLOCK)[step]), rounds=1)
    benchmark.extra_info["peak GB"] = round(peak / 1e9, 2)


@pytest.mark.benchmark(group="store")
def test_whole(benchmark, affinities):
    peak = benchmark.pedantic(in_new_process, (peak_bytes, whole_step(affinities)), rounds=1)
    benchmark.extra_info["peak GB"] = round(peak / 1e9, 2)
    require_same_labels(affinities)
