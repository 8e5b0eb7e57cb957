"""The grid of windows: covers every voxel, from end to end, and finds the same windows as looking at every one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectomake.geometry import BlockGrid, Box
from connectomake.predict.windows.grid import WindowGrid, blending_weights, mirror_source, read_mirrored, reflect_pad

sides = st.integers(1, 40)
triples = st.tuples(sides, sides, sides)
grids = st.builds(WindowGrid, triples, st.tuples(*[st.integers(1, 24)] * 3), st.floats(0, 0.9))


@given(grids)
def test_windows_go_from_end_to_end_without_a_gap(grid):
    for starts, length, window in zip(grid.starts_zyx, grid.shape_zyx, grid.window_zyx, strict=True):
        assert starts == sorted(set(starts))
        assert all(b - a <= window for a, b in itertools.pairwise(starts))
        if length <= window:
            left, right = -starts[0], starts[0] + window - length
            assert len(starts) == 1
            assert 0 <= right - left <= 1
        else:
            assert starts[0] == 0
            assert starts[-1] + window == length


@given(grids)
def test_all_but_the_last_window_start_at_whole_strides(grid):
    for starts, window in zip(grid.starts_zyx, grid.window_zyx, strict=True):
        stride = max(1, round(window * (1 - grid.overlap)))
        assert all(start == k * stride for k, start in enumerate(starts[:-1]))


@given(grids)
def test_numbers_are_in_scan_order(grid):
    z, y, x = grid.starts_zyx
    expected = [(a, b, c) for a in z for b in y for c in x]
    picked = range(0, len(grid), max(1, len(grid) // 50))
    assert len(grid) == len(expected)
    assert [grid[i].start_zyx for i in picked] == [expected[i] for i in picked]
    with pytest.raises(IndexError):
        grid[len(grid)]


small = st.tuples(*[st.integers(1, 14)] * 3)


@given(st.builds(WindowGrid, small, st.tuples(*[st.integers(2, 9)] * 3), st.floats(0, 0.6)), st.data())
def test_windows_that_touch_a_box_are_found(grid, data):
    start = [data.draw(st.integers(0, n - 1)) for n in grid.shape_zyx]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, grid.shape_zyx, strict=True)]
    box = Box(start, stop)
    expected = [i for i in range(len(grid)) if grid[i].intersect(box).size]
    assert grid.touching(box) == expected
    assert grid.count_touching(box) == len(expected) > 0
    hull = grid.hull(box)
    assert hull.contains(box)
    assert hull.start_zyx == tuple(np.min([grid[i].start_zyx for i in expected], axis=0))
    assert hull.stop_zyx == tuple(np.max([grid[i].stop_zyx for i in expected], axis=0))


@given(st.builds(WindowGrid, small, small, st.floats(0, 0.6)), small)
def test_blocks_together_touch_every_window(grid, block_zyx):
    blocks = BlockGrid(grid.shape_zyx, block_zyx)
    assert {i for block in blocks for i in grid.touching(block)} == set(range(len(grid)))


@given(small, st.sampled_from(["gaussian", "distance", "constant"]))
def test_weights_are_positive_and_symmetrical(window_zyx, blending):
    weights = blending_weights(window_zyx, blending)
    assert weights.shape == window_zyx
    assert weights.dtype == np.float32
    assert weights.min() > 0
    np.testing.assert_array_equal(weights, weights[::-1, ::-1, ::-1])


@given(small)
def test_distance_weights_are_the_chessboard_distance_to_what_lies_outside(window_zyx):
    from scipy.ndimage import distance_transform_cdt

    padded = np.pad(np.ones(window_zyx, np.uint8), 1)
    expected = distance_transform_cdt(padded)[1:-1, 1:-1, 1:-1]
    np.testing.assert_array_equal(blending_weights(window_zyx, "distance"), expected)


@given(st.tuples(*[st.integers(1, 6)] * 3), st.tuples(*[st.integers(0, 15)] * 6))
def test_reflection_goes_back_and_forth(shape_zyx, margins):
    array = np.arange(np.prod(shape_zyx), dtype=np.int32).reshape(1, *shape_zyx)
    inside = Box.of_shape(shape_zyx)
    wanted = Box([-m for m in margins[:3]], [n + m for n, m in zip(shape_zyx, margins[3:], strict=True)])
    indices = []
    for n, a, b in zip(shape_zyx, wanted.start_zyx, wanted.stop_zyx, strict=True):
        period = max(1, 2 * (n - 1))
        position = np.arange(a, b) % period
        indices.append(np.minimum(position, period - position) if n > 1 else np.zeros(b - a, int))
    expected = array[0][np.ix_(*indices)]
    np.testing.assert_array_equal(reflect_pad(array, inside, wanted)[0], expected)


@given(grids, st.tuples(*[st.integers(0, 9)] * 3))
def test_a_margin_is_a_larger_volume_seen_from_within(grid, margin_zyx):
    larger = WindowGrid(
        [n + 2 * m for n, m in zip(grid.shape_zyx, margin_zyx, strict=True)], grid.window_zyx, grid.overlap
    )
    found = WindowGrid(grid.shape_zyx, grid.window_zyx, grid.overlap, margin_zyx)
    expected = [[a - m for a in starts] for starts, m in zip(larger.starts_zyx, margin_zyx, strict=True)]
    assert list(found.starts_zyx) == expected


@given(st.builds(WindowGrid, small, small, st.floats(0, 0.6), small), st.data())
def test_the_hull_of_windows_is_the_box_around_them(grid, data):
    numbers = sorted(data.draw(st.sets(st.integers(0, len(grid) - 1), min_size=1, max_size=9)))
    hull = grid.hull_of(np.array(numbers))
    assert hull.start_zyx == tuple(np.min([grid[i].start_zyx for i in numbers], axis=0))
    assert hull.stop_zyx == tuple(np.max([grid[i].stop_zyx for i in numbers], axis=0))


@given(st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.integers(-20, 6)] * 3), st.tuples(*[st.integers(1, 30)] * 3))
def test_a_mirrored_box_is_cut_from_the_mirrored_whole(shape_zyx, start, sides):
    """Also where it needs a part of the volume alone."""
    start = [min(a, n - 1) for a, n in zip(start, shape_zyx, strict=True)]
    wanted = Box(start, [max(a + s, 1) for a, s in zip(start, sides, strict=True)])
    array, whole = np.arange(np.prod(shape_zyx)).reshape(1, *shape_zyx), Box.of_shape(shape_zyx)
    around = Box([min(a, 0) for a in wanted.start_zyx], np.maximum(wanted.stop_zyx, shape_zyx))
    expected = reflect_pad(array, whole, around)[:, *wanted.within(around).slices]
    read = []

    def read_part(box):
        read.append(box)
        return array[0][box.slices]

    np.testing.assert_array_equal(read_mirrored(read_part, shape_zyx, wanted), expected)
    assert whole.contains(read[0])
    assert read[0] == mirror_source(shape_zyx, wanted)
