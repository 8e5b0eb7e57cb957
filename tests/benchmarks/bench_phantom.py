"""How fast phantoms are made on one thread. Run with: pytest tests/benchmarks/bench_phantom.py

CONNECTOMAKE_BENCH_SIDE sets the side of the cube in voxels (default 256). "Mvoxel/s" among the extra_info counts
processor time, so that a busy machine does not spoil it; the goal is at least 2.
"""

from __future__ import annotations

import os
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from connectomake.config.settings.phantom import PhantomConfig
from connectomake.phantom.neurites import grow_neurites
from connectomake.phantom.phantom import make_phantom

SIDE = int(os.environ.get("CONNECTOMAKE_BENCH_SIDE", "256"))


@pytest.fixture(scope="module")
def cfg() -> PhantomConfig:
    """Compile everything once, then give the settings."""
    make_phantom(PhantomConfig(shape_zyx=(48, 48, 48)), 0)
    return PhantomConfig(shape_zyx=(SIDE, SIDE, SIDE))


def test_make_phantom(benchmark: BenchmarkFixture, cfg: PhantomConfig) -> None:
    """All of it: skeletons, labels, organelles, image."""
    started = time.process_time()
    phantom = benchmark.pedantic(make_phantom, (cfg, 0), rounds=1)
    benchmark.extra_info["Mvoxel/s"] = phantom.raw.size / (time.process_time() - started) / 1e6
    assert phantom.labels.max() > 1


def test_grow_neurites(benchmark: BenchmarkFixture, cfg: PhantomConfig) -> None:
    """Skeletons alone: the part that does not run on several threads."""
    assert benchmark.pedantic(grow_neurites, (cfg, 0), rounds=3).label[-1] > 1
