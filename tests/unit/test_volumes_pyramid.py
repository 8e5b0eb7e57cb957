"""All levels of a store hold the means of their voxels, whoever wrote which block when."""

from __future__ import annotations

from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from connectomake.errors import DataError, ResumeMismatchError
from connectomake.geometry import BlockGrid, Box
from connectomake.volumes import levels as levels_module
from connectomake.volumes.levels import average, choose_steps, plan_levels
from connectomake.volumes.pyramid import Pyramid, create_pyramid
from connectomake.volumes.store import finish_store, list_levels, remove_store
from connectomake.volumes.volume import open_volume

WHERE = {"voxel_size_zyx_nm": (30.0, 8.0, 8.0), "offset_zyx_nm": (15.0, -4.0, 4.0)}
SHAPE = (2, 20, 70, 90)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let volumes of this size have levels, of which jobs do not write all."""
    monkeypatch.setattr(levels_module, "LONGEST_VX", 8)
    monkeypatch.setattr(levels_module, "COARSE_BYTES", 2000)


def make_values(dtype: type, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(SHAPE)
    return np.rint(values * 255).astype(np.uint8) if dtype is np.uint8 else (2 * values - 1).astype(dtype)


def make_pyramid(path: Path, dtype: type = np.uint8, block: tuple[int, ...] = (8, 32, 32), **change: object) -> Pyramid:
    options = {"shape": SHAPE, "dtype": dtype, "chunk_zyx": (8, 16, 16), "shard_zyx": block, **WHERE}
    return create_pyramid(path, **{**options, **change})


def write_all(pyramid: Pyramid, values: np.ndarray, order: int = 1) -> None:
    for box in list(BlockGrid(pyramid.levels[0].shape_zyx, pyramid.levels[0].shard_zyx))[::order]:
        pyramid.write_block(box, values[(slice(None), *box.slices)])


def read_files(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def average_slowly(values: np.ndarray, steps: tuple[int, ...]) -> np.ndarray:
    """Take means voxel by voxel; floats are summed in float32, over z and y first."""
    shape = [ceil(n / step) for n, step in zip(values.shape[1:], steps, strict=True)]
    means = np.empty((len(values), *shape), values.dtype)
    for c, *place in product(range(len(values)), *map(range, shape)):
        part = values[(c, *(slice(p * s, p * s + s) for p, s in zip(place, steps, strict=True)))].astype(np.float32)
        columns = [np.float32(0)] * part.shape[2]
        for z, y, x in np.ndindex(part.shape):
            columns[x] += part[z, y, x]
        mean = sum(columns, np.float32(0)) / np.float32(part.size)
        means[(c, *place)] = np.floor(mean + np.float32(0.5)) if values.dtype == np.uint8 else mean
    return means


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.sampled_from([1, 2])] * 3),
    st.sampled_from([np.uint8, np.float16, np.float32]),
)
def test_means_are_those_of_the_slow_twin(seed, shape, steps, dtype):
    values = np.random.default_rng(seed).random((2, *shape)) * (255 if dtype == np.uint8 else 1)
    values = values.astype(dtype)
    found = average(values, steps)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, average_slowly(values, steps))


def test_half_is_rounded_up_and_many_planes_are_no_problem():
    assert average(np.array([[[[1, 2, 4, 4, 7]]]], np.uint8), (1, 1, 2)).tolist() == [[[[2, 4, 7]]]]
    tall = np.arange(100, dtype=np.float16).reshape(1, 100, 1, 1)
    assert average(tall, (2, 1, 1)).ravel().tolist() == [2 * k + 0.5 for k in range(50)]


@pytest.mark.parametrize(
    ("shape", "voxel", "steps"),
    [
        ((9, 9, 9), (8, 8, 8), [(2, 2, 2)] * 2),
        ((9, 9, 9), (30, 8, 8), [(1, 2, 2)] * 2 + [(2, 2, 2)]),
        ((9, 9, 9), (50, 4, 4), [(1, 2, 2)] * 4 + [(2, 2, 2)]),
        ((9, 9, 9), (12, 9, 9), [(2, 2, 2)] * 2),
        ((9, 9, 9), (4, 8, 16), [(2, 1, 1), (2, 2, 1), (2, 2, 2)]),
        ((1, 9, 9), (8, 8, 8), [(1, 2, 2)] * 2),
        ((9, 1, 1), (40, 8, 8), [(2, 1, 1)] * 2),
    ],
)
def test_fine_axes_are_halved_until_voxels_are_cubes(shape, voxel, steps):
    for expected in steps:
        assert choose_steps(shape, voxel) == expected
        voxel = [size * step for size, step in zip(voxel, expected, strict=True)]


def test_levels_lie_where_their_voxels_do_and_end_small():
    plan = plan_levels((3, 20, 70, 90), np.uint8, (8, 16, 16), (8, 32, 32), **WHERE)
    assert [level.factor_zyx for level in plan] == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16)]
    assert [level.shape_zyx for level in plan] == [(20, 70, 90), (20, 35, 45), (20, 18, 23), (10, 9, 12), (5, 5, 6)]
    assert [level.in_blocks for level in plan] == [True, True, True, False, False]
    assert [level.shard_zyx for level in plan][:3] == [(8, 32, 32), (8, 16, 16), (8, 8, 8)]
    assert plan[2].chunk_zyx == (8, 8, 8)
    for level in plan:
        size, offset = np.array(level.voxel_size_zyx_nm), np.array(level.offset_zyx_nm)
        np.testing.assert_allclose(size, np.array(WHERE["voxel_size_zyx_nm"]) * level.factor_zyx)
        corner = np.array(WHERE["offset_zyx_nm"]) - np.array(WHERE["voxel_size_zyx_nm"]) / 2
        np.testing.assert_allclose(offset - size / 2, corner, err_msg="the first corner of all levels is the same")


def test_a_block_that_cannot_be_halved_leaves_the_levels_to_the_end():
    plan = plan_levels(
        (1, 40, 40, 40), np.uint8, (5, 5, 5), (15, 10, 10), voxel_size_zyx_nm=[8] * 3, offset_zyx_nm=[0] * 3
    )
    assert [level.in_blocks for level in plan] == [True, False, False, False]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_every_level_is_the_mean_of_the_one_before(tmp_path, dtype):
    values = make_values(dtype)
    pyramid = make_pyramid(tmp_path / "a.zarr", dtype)
    write_all(pyramid, values)
    make_pyramid(tmp_path / "a.zarr", dtype).fill_coarse(threads=2)
    finish_store(tmp_path / "a.zarr", attributes={})
    expected = values
    for finer, level in zip((None, *pyramid.levels), pyramid.levels, strict=False):
        if finer is not None:
            expected = average_slowly(expected, tuple(np.array(level.factor_zyx) // finer.factor_zyx))
        volume = open_volume(f"{tmp_path}/a.zarr::{level.name}")
        np.testing.assert_array_equal(volume.read(), expected)
        assert (volume.voxel_size_zyx_nm, volume.offset_zyx_nm) == (level.voxel_size_zyx_nm, level.offset_zyx_nm)
    assert volume.shape == (2, 5, 5, 6)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr").read(), values)


def test_bytes_depend_neither_on_the_order_of_blocks_nor_on_interruptions(tmp_path, monkeypatch):
    values = make_values(np.uint8)
    for name, order in (("a", 1), ("b", -1)):
        write_all(make_pyramid(tmp_path / name), values, order)
    pyramid = make_pyramid(tmp_path / "b")
    box = BlockGrid(SHAPE[1:], (8, 32, 32))[4]
    (pyramid.path / "s1" / "c" / "0" / "0" / "1" / "1").unlink()  # as if killed between two levels
    pyramid.write_block(box, values[(slice(None), *box.slices)])
    made = average
    calls = []

    def fail_later(*arguments: object) -> np.ndarray:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return made(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("connectomake.volumes.pyramid.average", fail_later)
        with pytest.raises(KeyboardInterrupt):
            pyramid.fill_coarse()
    for name in "ab":
        make_pyramid(tmp_path / name).fill_coarse()
        finish_store(tmp_path / name, attributes={})
    a, b = read_files(tmp_path / "a"), read_files(tmp_path / "b")
    assert a.pop("zarr.json") == b.pop("zarr.json").replace(b'"b"', b'"a"')
    assert a == b


def test_values_do_not_depend_on_the_block(tmp_path):
    values = make_values(np.float16)
    for name, block in (("a", (8, 32, 32)), ("b", (16, 80, 16)), ("c", (24, 48, 96))):
        pyramid = make_pyramid(tmp_path / name, np.float16, block)
        write_all(pyramid, values)
        pyramid.fill_coarse()
    for level in list_levels(tmp_path / "a"):
        first, *others = (zarr.open_array(tmp_path / name / level.name)[...] for name in "abc")
        for other in others:
            np.testing.assert_array_equal(other, first)


def test_nothing_is_written_for_zeros(tmp_path):
    pyramid = make_pyramid(tmp_path / "a")
    values = np.zeros(SHAPE, np.uint8)
    values[0, :8, :32, 64:] = 1
    write_all(pyramid, values)
    pyramid.fill_coarse()
    shards = [f for f in (tmp_path / "a").rglob("*") if f.is_file() and f.name != "zarr.json"]
    finest = [f for f in shards if f.is_relative_to(tmp_path / "a" / "s0")]
    assert [f.relative_to(tmp_path / "a").as_posix() for f in finest] == ["s0/c/0/0/0/2"]
    assert len(shards) == len(pyramid.levels)


def test_one_level_where_no_more_are_wanted(tmp_path):
    pyramid = make_pyramid(tmp_path / "a", coarser=False)
    write_all(pyramid, make_values(np.uint8))
    pyramid.fill_coarse()
    assert [folder.name for folder in list_levels(tmp_path / "a")] == ["s0"]


def test_the_group_lists_all_levels_and_is_ome_ngff(tmp_path):
    models = pytest.importorskip("ome_zarr_models.v05", reason="ome-zarr-models is not installed")
    pyramid = make_pyramid(tmp_path / "a.zarr")
    pyramid.fill_coarse()
    finish_store(tmp_path / "a.zarr", attributes={})
    image = models.Image.from_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"))
    (multiscale,) = image.ome_attributes.multiscales
    assert [axis.type for axis in multiscale.axes] == ["channel", "space", "space", "space"]
    for dataset, level in zip(multiscale.datasets, pyramid.levels, strict=True):
        size, offset = dataset.coordinateTransformations
        assert dataset.path == level.name
        assert tuple(size.scale) == (1, *level.voxel_size_zyx_nm)
        assert tuple(offset.translation) == (0, *level.offset_zyx_nm)


def test_removing_takes_all_levels_and_leaves_what_is_beside(tmp_path):
    make_pyramid(tmp_path / "a").fill_coarse()
    (tmp_path / "a" / "ledger").mkdir()
    assert len(list_levels(tmp_path / "a")) == 5
    remove_store(tmp_path / "a")
    assert [folder.name for folder in (tmp_path / "a").iterdir()] == ["ledger"]


def test_what_is_no_block_is_refused(tmp_path):
    pyramid, values = make_pyramid(tmp_path / "a"), make_values(np.uint8)
    for box in (Box((1, 0, 0), (9, 32, 32)), Box((0, 0, 0), (8, 32, 31)), Box((16, 64, 64), (24, 96, 96))):
        with pytest.raises(DataError, match=r"no block of .*a; expected a block of the grid"):
            pyramid.write_block(box, np.zeros((2, *box.shape_zyx), np.uint8))
    box = Box((0, 0, 0), (8, 32, 32))
    for wrong in (values[:1, :8, :32, :32], values[:, :8, :32, :32].astype(np.float16)):
        with pytest.raises(DataError, match=r"do not fit a block.*expected \(2, 8, 32, 32\) uint8"):
            pyramid.write_block(box, wrong)
    with pytest.raises(ResumeMismatchError, match="another data type"):
        make_pyramid(tmp_path / "a", np.float16)
