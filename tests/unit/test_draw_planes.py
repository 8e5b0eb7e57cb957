"""Which planes are shown, that nothing else is read, and how layers lie on each other."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from array_volume import ArrayVolume

from connectomake.draw.planes import Layer, choose_planes, common_box, lay_over, read_plane
from connectomake.errors import DataError
from connectomake.geometry import Box

in_memory = partial(ArrayVolume, voxel_size_zyx_nm=(10.0, 10.0, 10.0))


def test_planes_go_through_the_middle():
    planes = choose_planes(Box.of_shape((11, 21, 31)))
    assert [(p.name, p.axis, p.index) for p in planes] == [("xy", 0, 5), ("xz", 1, 10), ("yz", 2, 15)]
    assert planes[0].size_nm((40.0, 4.0, 5.0)) == (21 * 4.0, 31 * 5.0)
    assert planes[1].size_nm((40.0, 4.0, 5.0)) == (11 * 40.0, 31 * 5.0)
    assert planes[2].size_nm((40.0, 4.0, 5.0)) == (11 * 40.0, 21 * 4.0)


def test_more_slices_are_spread_evenly():
    planes = choose_planes(Box((10, 0, 0), (16, 4, 4)), slices=3)
    assert [p.index for p in planes if p.axis == 0] == [11, 13, 15]
    assert len([p for p in choose_planes(Box.of_shape((2, 4, 4)), slices=5) if p.axis == 0]) == 2


def test_only_the_planes_are_read():
    volume = in_memory(np.zeros((40, 50, 60), np.uint8))
    for plane in choose_planes(Box.of_shape(volume.shape_zyx)):
        read_plane(Layer(volume, (0, 0, 0)), plane)
    assert volume.reads == [50 * 60, 40 * 60, 40 * 50]


def test_the_field_limits_what_is_read():
    volume = in_memory(np.zeros((40, 50, 60), np.uint8))
    planes = choose_planes(Box.of_shape(volume.shape_zyx), field_vx=8)
    for plane in planes:
        read_plane(Layer(volume, (0, 0, 0)), plane)
    assert volume.reads == [64, 64, 64]
    assert planes[0].box == Box((20, 21, 26), (21, 29, 34))


def test_planes_hold_the_right_voxels_in_the_right_order():
    array = np.arange(3 * 4 * 5, dtype=np.int64).reshape(3, 4, 5)
    layer = Layer(in_memory(array), (0, 0, 0))
    xy, xz, yz = choose_planes(Box.of_shape(array.shape))
    np.testing.assert_array_equal(read_plane(layer, xy, ids=True), array[1])
    np.testing.assert_array_equal(read_plane(layer, xz, ids=True), array[:, 2])
    np.testing.assert_array_equal(read_plane(layer, yz, ids=True), array[:, :, 2])


def test_large_planes_shrink_by_mean_or_by_picking():
    array = np.zeros((1, 1500, 2), np.uint16)
    array[0, :, 0] = np.arange(1500)
    plane = choose_planes(Box.of_shape(array.shape))[0]
    layer = Layer(in_memory(array), (0, 0, 0))
    mean, ids = read_plane(layer, plane), read_plane(layer, plane, ids=True)
    assert plane.step_zyx == (1, 2, 1)
    assert mean.shape == ids.shape == (750, 2)
    np.testing.assert_array_equal(mean[:3, 0], [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(ids[:3, 0], [1, 3, 5])


def test_a_shrunk_plane_reads_whole_steps():
    plane = choose_planes(Box.of_shape((1, 1501, 3)))[0]
    assert plane.box.shape_zyx == (1, 1500, 3)


def test_channels_are_kept_and_chosen():
    array = np.arange(5 * 8).reshape(5, 2, 2, 2).astype(np.uint8)
    volume = in_memory(array)
    plane = choose_planes(Box.of_shape((2, 2, 2)))[0]
    found = read_plane(Layer(volume, (0, 0, 0)), plane, channels=slice(1, 4))
    np.testing.assert_array_equal(found, array[1:4, 1])


def test_layers_are_laid_over_by_their_offsets():
    whole = np.arange(6**3).reshape(6, 6, 6)
    raw = in_memory(whole, voxel_size_zyx_nm=(40.0, 4.0, 4.0), offset_zyx_nm=(80.0, 0.0, 12.0))
    part = in_memory(whole[2:, 1:5, 3:], voxel_size_zyx_nm=(40.0, 4.0, 4.0), offset_zyx_nm=(160.0, 4.0, 24.0))
    layers = [lay_over(raw, raw), lay_over(part, raw)]
    assert layers[1].origin_zyx_vx == (2, 1, 3)
    box = common_box(layers)
    assert box == Box((2, 1, 3), (6, 5, 6))
    for plane in choose_planes(box):
        np.testing.assert_array_equal(read_plane(layers[0], plane, ids=True), read_plane(layers[1], plane, ids=True))


@pytest.mark.parametrize("size", [20.0, 5.0])
def test_layers_of_other_voxels_are_read_on_the_raw_ones(size: float):
    raw = in_memory(np.zeros((6, 6, 6), np.uint8))
    ids = np.arange(4**3).reshape(4, 4, 4)
    labels = in_memory(ids, voxel_size_zyx_nm=(size,) * 3, offset_zyx_nm=(size / 2 + 15,) * 3)
    layer = lay_over(labels, raw)
    assert layer.box == (Box((2, 2, 2), (6, 6, 6)) if size > 10 else Box((2, 2, 2), (4, 4, 4)))
    plane = choose_planes(layer.box)[0]
    found = read_plane(layer, plane, ids=True)
    under = [int(size < 10) + (np.arange(2, 6) - 2) // 2] if size > 10 else [1 + 2 * np.arange(2)]
    np.testing.assert_array_equal(found, ids[1 if size > 10 else 3][np.ix_(under[0], under[0])])


def test_layers_that_lie_elsewhere_are_refused():
    raw = in_memory(np.zeros((4, 4, 4)))
    for size in (10.0, 8.0):
        place = {"voxel_size_zyx_nm": (size,) * 3, "offset_zyx_nm": (400.0, 0.0, 0.0)}
        away = lay_over(in_memory(np.zeros((4, 4, 4)), **place), raw)
        with pytest.raises(DataError, match="do not overlap"):
            common_box([lay_over(raw, raw), away])
