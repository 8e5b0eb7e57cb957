"""Blocks that hand their sums down: whatever is divided, begun or wanted, a voxel is the blend of the same windows."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from connectomake.geometry import BlockGrid, Box
from connectomake.predict.block_work import BlockWork
from connectomake.predict.network.evaluate import Ensemble, Predictor
from connectomake.predict.network.recipe import Recipe
from connectomake.predict.windows.grid import WindowGrid, read_mirrored
from connectomake.predict.windows.sliding import SlidingWindow
from connectomake.predict.windows.steps import blocks_of_job, job_of_block, plan_steps
from connectomake.volumes.region import Region


def make_ensemble(dtype="uint8"):
    torch.manual_seed(0)
    network = nn.Conv3d(1, 2, 3, padding=1).eval()
    recipe = Recipe(100.0, 50.0, (0, 1), blending="gaussian", dtype=dtype)
    return Ensemble([Predictor(network, recipe, device=torch.device("cpu"))])


@dataclass
class Array:
    """A volume, in memory."""

    raw: np.ndarray
    source: str = "memory"
    reads: list[Box] = field(default_factory=list)

    @property
    def shape_zyx(self):
        return self.raw.shape

    def read(self, box):
        self.reads.append(box)
        return self.raw[box.slices]


@dataclass
class Store:
    """A store and its ledger, in memory; a block is written and marked once."""

    values: np.ndarray
    path: Path = Path("memory")
    written: list[int] = field(default_factory=list)

    def write_block(self, box, values):
        assert not self.values[:, *box.slices].any()
        assert values.shape[1:] == box.shape_zyx
        self.values[:, *box.slices] = values

    def mark(self, block, job):
        self.written.append(block)


class Stencil:
    """A mask with the voxels of the volume, whose voxel size is 1 nm."""

    def __init__(self, wanted):
        self.wanted = wanted

    def at(self, positions_nm):
        return self.wanted[np.ix_(*(np.rint(axis).astype(int) for axis in positions_nm))]

    def is_set(self, positions_nm):
        return bool(self.at(positions_nm).any())


def run(array, grid, region, block_zyx, parts, dtype="uint8"):
    """Predict parts of the blocks one after the other, each as a job of its own would."""
    blocks = BlockGrid(region.box.shape_zyx, block_zyx)
    store = Store(np.zeros((2, *blocks.shape_zyx), dtype))
    windows = []
    for todo in parts(blocks):
        steps = plan_steps(grid, region, blocks, todo)
        sliding = SlidingWindow(make_ensemble(dtype), grid)
        BlockWork(array, region, blocks, sliding, store, store, "0-of-1").run(steps)
        windows += [int(number) for step in steps for number in step.windows]
    return store, windows


def predict_whole(array, grid, dtype="uint8"):
    whole = Box.of_shape(grid.shape_zyx)
    raw = read_mirrored(array.read, grid.shape_zyx, grid.hull(whole))
    return SlidingWindow(make_ensemble(dtype), grid).predict(raw, grid.hull(whole), whole)


def of_jobs(jobs):
    return lambda blocks: [blocks_of_job(blocks, job, jobs) for job in range(jobs)]


shapes = st.tuples(st.integers(3, 20), st.integers(3, 14), st.integers(3, 14))
windows = st.tuples(*[st.integers(2, 7)] * 3)
margins = st.tuples(*[st.integers(0, 4)] * 3)
grids = st.builds(WindowGrid, shapes, windows, st.sampled_from([0.0, 0.3, 0.5, 0.75]), margins)
sides = st.tuples(st.integers(1, 21), st.integers(2, 15), st.integers(2, 15))


def draw_array(grid):
    return Array(np.random.default_rng(1).integers(0, 255, grid.shape_zyx).astype(np.uint8))


@settings(max_examples=40, deadline=None)
@given(grids, sides, st.integers(1, 4), st.sampled_from(["uint8", "float16"]))
def test_any_block_and_any_number_of_jobs(grid, block_zyx, jobs, dtype):
    array = draw_array(grid)
    store, _ = run(array, grid, Region(Box.of_shape(grid.shape_zyx)), block_zyx, of_jobs(jobs), dtype)
    np.testing.assert_array_equal(store.values, predict_whole(array, grid, dtype))
    assert sorted(store.written) == list(range(len(BlockGrid(grid.shape_zyx, block_zyx))))


@settings(max_examples=30, deadline=None)
@given(grids, sides, st.randoms(use_true_random=False))
def test_any_blocks_computed_first(grid, block_zyx, random):
    array = draw_array(grid)

    def parts(blocks):
        order = blocks_of_job(blocks, 0, 1)
        first = set(random.sample(order, random.randint(0, len(order))))
        return [[b for b in order if b in first], [b for b in order if b not in first]]

    store, _ = run(array, grid, Region(Box.of_shape(grid.shape_zyx)), block_zyx, parts)
    np.testing.assert_array_equal(store.values, predict_whole(array, grid))


@given(grids, sides)
def test_one_job_computes_no_window_twice_along_z(grid, block_zyx):
    tall = (block_zyx[0], *grid.shape_zyx[1:])
    region, blocks = Region(Box.of_shape(grid.shape_zyx)), BlockGrid(grid.shape_zyx, tall)
    steps = plan_steps(grid, region, blocks, blocks_of_job(blocks, 0, 1))
    found = [int(number) for step in steps for number in step.windows]
    assert found == grid.touching(region.box)


@st.composite
def boxes(draw, shape_zyx):
    start = [draw(st.integers(0, n - 1)) for n in shape_zyx]
    return Box(start, [draw(st.integers(a + 1, n)) for a, n in zip(start, shape_zyx, strict=True)])


@settings(max_examples=60, deadline=None)
@given(grids, sides, st.integers(1, 3), st.data())
def test_a_part_is_the_whole_where_it_is_wanted_and_zero_elsewhere(grid, block_zyx, jobs, data):
    array, whole = draw_array(grid), Box.of_shape(grid.shape_zyx)
    box = data.draw(boxes(grid.shape_zyx))
    crops = [box.intersect(crop) for crop in data.draw(st.lists(boxes(grid.shape_zyx), max_size=3))]
    crops = tuple(crop for crop in crops if crop.size)
    share = data.draw(st.sampled_from([None, 0.0, 0.01, 0.5, 1.0]))
    wanted = np.zeros(grid.shape_zyx, bool)
    for part in crops or (box,):
        wanted[part.slices] = True
    stencil = None
    if share is not None:
        stencil = Stencil(np.random.default_rng(0).random(grid.shape_zyx) < share)
        wanted &= stencil.wanted
    region = Region(box, crops, stencil, (1.0, 1.0, 1.0), box.start_zyx)
    store, computed = run(array, grid, region, block_zyx, of_jobs(jobs))
    expected = predict_whole(array, grid) * wanted
    np.testing.assert_array_equal(store.values, expected[:, *box.slices])
    assert set(computed) == {n for n in range(len(grid)) if wanted[grid[n].intersect(whole).slices].any()}


def test_little_is_read_where_little_is_wanted():
    grid = WindowGrid((64, 64, 64), (8, 8, 8), 0.5)
    array = draw_array(grid)
    region = Region(Box.of_shape(grid.shape_zyx), (Box((30, 30, 30), (32, 32, 32)),))
    store, computed = run(array, grid, region, (64, 64, 64), of_jobs(1))
    np.testing.assert_array_equal(
        store.values[:, 30:32, 30:32, 30:32], predict_whole(array, grid)[:, 30:32, 30:32, 30:32]
    )
    assert array.reads[0] == Box((24, 24, 24), (36, 36, 36))
    assert len(computed) == 8
    part = np.s_[:, 30:32, 30:32, 30:32]
    np.testing.assert_array_equal(store.values[part], predict_whole(array, grid)[part])


@given(sides, sides, st.integers(1, 9))
def test_jobs_share_all_blocks_in_columns(shape_zyx, block_zyx, jobs):
    grid = BlockGrid(shape_zyx, block_zyx)
    shares = [blocks_of_job(grid, job, jobs) for job in range(jobs)]
    nz, ny, nx = grid.counts_zyx
    assert [block for share in shares for block in share] == [
        (z * ny + y) * nx + x for y in range(ny) for x in range(nx) for z in range(nz)
    ]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    find = job_of_block(grid, jobs)
    assert all(find(block) == job for job, share in enumerate(shares) for block in share)
