"""Voxels laid over a volume: against a slow twin, on whole factors, at borders, and any box the same as the whole."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import pytest
from array_volume import ArrayVolume
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.errors import DataError
from connectomake.geometry import Box, position_of, voxel_at
from connectomake.volumes import resample as module
from connectomake.volumes.resample import Resampled, corner_nm, covered_box, extent_nm, lay_on, resample

RNG = np.random.default_rng(5)
SIZES = st.sampled_from([2.0, 3.0, 3.1, 4.0, 5.0, 6.4, 8.0, 11.0, 16.0, 40.0])
TRIPLES = st.tuples(SIZES, SIZES, SIZES)
OFFSETS = st.sampled_from([0.0, -7.5, 3.0, 1e5 + 1.0])


def grey(shape: tuple, size: tuple, dtype: str = "uint8", offset: tuple = (0.0, 0.0, 0.0)) -> ArrayVolume:
    values = RNG.integers(0, 256, shape)
    array = values.astype(dtype) if dtype != "float32" else (values / 255).astype(dtype)
    return ArrayVolume(array, voxel_size_zyx_nm=size, offset_zyx_nm=offset)


def weights_of(volume: ArrayVolume, found: Resampled, axis: int) -> np.ndarray:
    """Weigh one by one, in float64: the share of each voxel below in a coarser one, or its nearness to a finer one."""
    n, size, step = volume.shape_zyx[axis], volume.voxel_size_zyx_nm[axis], found.voxel_size_zyx_nm[axis]
    table = np.zeros((found.shape_zyx[axis], n))
    for i in range(len(table)):
        centre = found.offset_zyx_nm[axis] + i * step
        for j in range(n):
            place = volume.offset_zyx_nm[axis] + j * size
            if step > size:
                ends = min(place + size / 2, centre + step / 2), max(place - size / 2, centre - step / 2)
                table[i, j] = max(0.0, ends[0] - ends[1])
            else:
                table[i, j] = max(0.0, size - abs(place - centre))
    return table / table.sum(1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(*[st.integers(2, 9)] * 3), size=TRIPLES, to=TRIPLES, offset=OFFSETS)
def test_grey_values_are_those_of_the_slow_twin(shape, size, to, offset) -> None:
    volume = grey(shape, size, "float32", (offset, 0.0, -offset))
    found = resample(volume, to)
    expected = volume.array.astype(np.float64)
    for axis in range(3):
        expected = np.moveaxis(np.tensordot(weights_of(volume, found, axis), expected, (1, axis)), 0, axis)
    assert found.shape_zyx == expected.shape
    np.testing.assert_allclose(found.read(), expected, atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=TRIPLES, to=TRIPLES, ids=st.booleans(), most=st.sampled_from([1, 40, 2**25]))
def test_any_box_holds_the_bits_of_the_whole(data, size, to, ids, most) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 12)] * 3))
    volume = grey(shape, size, "float32", (data.draw(OFFSETS), 0.0, 0.0))
    found = resample(volume, to)
    if ids:
        found = lay_on(volume, found)
    start = [data.draw(st.integers(0, n - 1)) for n in found.shape_zyx]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, found.shape_zyx, strict=True)]
    box = Box(tuple(start), tuple(stop))
    whole = found.read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_READ_VX", most)
        part = found.read(box)
    assert part.tobytes() == np.ascontiguousarray(whole[box.slices]).tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_whole_factors_are_means(dtype: str) -> None:
    volume = grey((6, 8, 12), (10.0, 5.0, 5.0), dtype, (100.0, 0.0, 0.0))
    found = resample(volume, (20.0, 10.0, 15.0))
    mean = volume.array.reshape(3, 2, 4, 2, 4, 3).mean((1, 3, 5), dtype=np.float64)
    assert (found.shape_zyx, found.dtype) == ((3, 4, 4), volume.dtype)
    assert found.offset_zyx_nm == (105.0, 2.5, 5.0)
    np.testing.assert_allclose(found.read(), mean, atol=1e-6 if dtype == "float32" else 0.50001)


def test_the_same_voxels_are_the_same_values() -> None:
    volume = grey((3, 4, 5), (8.0, 8.0, 8.0), "float32")
    assert resample(volume, (8.0, 8.0, 8.0)).read().tobytes() == volume.array.tobytes()


def test_what_is_even_stays_even_to_the_border() -> None:
    volume = ArrayVolume(np.full((5, 7, 3), 255, np.uint8), voxel_size_zyx_nm=(8.0, 8.0, 8.0))
    for to in ((13.0, 20.0, 50.0), (3.0, 5.1, 8.0)):
        found = resample(volume, to)
        assert (found.read() == 255).all()
        assert corner_nm(found) == corner_nm(volume)
        beyond = np.array(extent_nm(found)) - extent_nm(volume)
        assert ((beyond > -1e-9) & (beyond < to)).all(), "every voxel is covered, and no more is added than that takes"


def test_the_extent_may_be_that_of_another_volume() -> None:
    """A level of a pyramid may end before the volume does: its last voxels are repeated, not stretched."""
    whole = ArrayVolume(np.zeros((5, 5, 5), np.uint8), voxel_size_zyx_nm=(8.0, 8.0, 8.0))
    level = ArrayVolume(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), (16.0, 16.0, 16.0), (4.0, 4.0, 4.0))
    found = resample(level, (4.0, 16.0, 16.0), over=whole)
    assert found.shape_zyx == (10, 3, 3)
    np.testing.assert_array_equal(found.read()[-1, :, 2], [5, 7, 7])
    np.testing.assert_array_equal(found.read()[:, 0, 0], [0, 0, 0, 2, 2, 4, 4, 4, 4, 4])


def test_what_has_no_weight_is_not_touched() -> None:
    array = np.ones((1, 1, 5), np.float32)
    array[..., 2] = np.nan
    found = resample(ArrayVolume(array, voxel_size_zyx_nm=(1.0, 1.0, 2.0)), (1.0, 1.0, 4.0))
    np.testing.assert_array_equal(found.read().ravel(), [1, np.nan, 1])


def test_channels_are_read_like_those_of_a_volume() -> None:
    volume = ArrayVolume(RNG.integers(0, 256, (3, 4, 4, 4), dtype=np.uint8), voxel_size_zyx_nm=(1.0, 1.0, 1.0))
    found = resample(volume, (2.0, 2.0, 2.0))
    assert (found.channels, found.has_channels, found.file_chunks_zyx) == (3, True, None)
    whole = found.read()
    assert whole.shape == (3, 2, 2, 2)
    np.testing.assert_array_equal(found.read(Box((1, 0, 0), (2, 2, 2)), slice(1, 3)), whole[1:3, 1:])
    np.testing.assert_array_equal(
        whole[1], resample(ArrayVolume(volume.array[1], voxel_size_zyx_nm=(1.0, 1.0, 1.0)), (2.0, 2.0, 2.0)).read()
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=TRIPLES, to=TRIPLES)
def test_ids_are_those_under_the_centres(data, size, to) -> None:
    """Centre by centre with `voxel_at`: of two voxels that meet at a centre the further one, 0 where there is none."""
    shape, other = (data.draw(st.tuples(*[st.integers(1, 6)] * 3)) for _ in range(2))
    offset = tuple(data.draw(st.sampled_from([-9.0, 0.0, 4.0, 10.5])) for _ in range(3))
    volume = ArrayVolume(RNG.integers(1, 99, shape).astype(np.uint32), voxel_size_zyx_nm=size)
    grid = ArrayVolume(np.zeros(other, np.uint8), voxel_size_zyx_nm=to, offset_zyx_nm=offset)
    found = lay_on(volume, grid).read()
    covered = covered_box(volume, grid)
    for index in np.ndindex(*other):
        centre = np.round(position_of(np.array([index]), to, offset) / size, 9) * size
        voxel = voxel_at(centre, size, volume.offset_zyx_nm)[0]
        inside = bool(((voxel >= 0) & (voxel < shape)).all())
        assert found[index] == (volume.array[tuple(voxel)] if inside else 0)
        assert covered.contains(Box(index, tuple(i + 1 for i in index))) == inside


def test_half_way_between_two_voxels_the_further_one_is_taken() -> None:
    volume = ArrayVolume(np.arange(1, 7, dtype=np.uint8).reshape(1, 1, 6), voxel_size_zyx_nm=(1.0, 1.0, 1.0))
    grid = ArrayVolume(np.zeros((1, 1, 3)), voxel_size_zyx_nm=(1.0, 1.0, 2.0), offset_zyx_nm=(0.0, 0.0, 0.5))
    np.testing.assert_array_equal(lay_on(volume, grid).read().ravel(), [2, 4, 6])


def test_ids_of_a_box_of_the_grid() -> None:
    volume = ArrayVolume(RNG.integers(0, 9, (4, 4, 4), dtype=np.uint64), voxel_size_zyx_nm=(2.0, 2.0, 2.0))
    grid = ArrayVolume(np.zeros((8, 8, 8)), voxel_size_zyx_nm=(1.0, 1.0, 1.0), offset_zyx_nm=(-0.5, -0.5, -0.5))
    box = Box((2, 3, 4), (6, 8, 5))
    part = lay_on(volume, grid, box)
    assert (part.shape_zyx, part.offset_zyx_nm) == ((4, 5, 1), (1.5, 2.5, 3.5))
    np.testing.assert_array_equal(part.read(), volume.array.repeat(2, 0).repeat(2, 1).repeat(2, 2)[box.slices])


def test_only_what_lies_below_is_read() -> None:
    volume = grey((20, 20, 20), (1.0, 1.0, 1.0))
    resample(volume, (2.0, 2.0, 2.0)).read(Box((1, 2, 3), (3, 4, 5)))
    assert volume.boxes == [Box((2, 4, 6), (6, 8, 10))]
    assert resample(volume, (1.0, 1.0, 2.5)).shape_zyx == (20, 20, ceil(20 / 2.5))
    chunked = ArrayVolume(volume.array, (1.0, 1.0, 1.0), file_chunks_zyx=(8, 8, 8))
    assert resample(chunked, (4.0, 0.5, 100.0)).file_chunks_zyx == (2, 16, max(1, floor(8 / 100)))


def test_a_box_outside_is_refused() -> None:
    found = resample(grey((4, 4, 4), (1.0, 1.0, 1.0)), (2.0, 2.0, 2.0))
    with pytest.raises(DataError, match=r"reaches out of array, read at .*within \(2, 2, 2\)"):
        found.read(Box((0, 0, 0), (1, 1, 3)))
    assert found.read(Box((1, 1, 1), (1, 2, 2))).shape == (0, 1, 1)
