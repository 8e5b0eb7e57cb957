"""Windows are counted without listing them, for the estimate of a prediction's time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.geometry import BlockGrid, Box
from connectomake.predict.cost.workload import count_windows
from connectomake.predict.windows.grid import WindowGrid
from connectomake.predict.windows.steps import blocks_of_job
from connectomake.volumes.mask import Mask
from connectomake.volumes.region import Region
from connectomake.volumes.store import write_store

triples = st.tuples(*[st.integers(4, 20)] * 3)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(8, 40)] * 3), triples, triples, st.integers(1, 5), st.tuples(*[st.integers(0, 7)] * 3))
def test_windows_are_counted_as_jobs_compute_them(shape, window, block, jobs, start):
    """A job sees the windows of each run of blocks along z once."""
    region = Region(Box(start, shape))
    grid, blocks = WindowGrid(shape, window, 0.5), BlockGrid(region.box.shape_zyx, block)
    computed = 0
    for job in range(jobs):
        columns = {}
        for number in blocks_of_job(blocks, job, jobs):
            box = blocks[number].shift(start)
            columns.setdefault(box.start_zyx[1:], set()).update(grid.touching(box))
        computed += sum(map(len, columns.values()))
    found = count_windows(grid, region, blocks, jobs)
    assert found == (grid.count_touching(region.box), computed)


def test_windows_of_crops_and_masks_are_counted_roughly(tmp_path):
    shape, window = (64, 200, 200), (16, 16, 16)
    grid, blocks = WindowGrid(shape, window, 0.5), BlockGrid(shape, (64, 64, 64))
    crop = Box((0, 0, 0), (16, 16, 16))
    crops = Region(Box.of_shape(shape), (crop, crop.shift((40, 100, 120))))
    assert count_windows(grid, crops, blocks, 1).windows == sum(map(grid.count_touching, crops.crops))
    values = np.zeros((2, 10, 10), np.uint8)
    values[:, :5] = 1
    write_store(tmp_path / "m.zarr", values, voxel_size_zyx_nm=(32, 20, 20), offset_zyx_nm=(15.5, 9.5, 9.5))
    mask = Mask(str(tmp_path / "m.zarr"), "", (32.0, 20.0, 20.0), (15.5, 9.5, 9.5))
    masked = Region(Box.of_shape(shape), (), mask, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    touched = sum(masked.touches(grid[number]) for number in range(len(grid)))
    assert count_windows(grid, masked, blocks, 1).windows == pytest.approx(touched, rel=0.1)
    huge = replace(masked, box=Box.of_shape((10**6, 10**6, 10**6)))
    far = count_windows(WindowGrid(huge.box.shape_zyx, (128,) * 3, 0.5), huge, BlockGrid((10**6,) * 3, (512,) * 3), 1)
    assert 0 < far.windows < far.computed
