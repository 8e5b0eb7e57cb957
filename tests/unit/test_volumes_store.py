"""A store is complete or not there, is made once by however many jobs, and refuses to be another one."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import zarr

from connectomake.errors import DataError, MissingDataError, ResumeMismatchError
from connectomake.geometry import BlockGrid
from connectomake.volumes.store import create_store, finish_store, fit_shard, read_attributes, write_store
from connectomake.volumes.volume import open_volume

OPTIONS = {
    "shape": (2, 20, 30, 40),
    "dtype": np.uint8,
    "chunk_zyx": (8, 8, 8),
    "shard_zyx": (16, 16, 16),
    "voxel_size_zyx_nm": (30, 8, 8),
    "offset_zyx_nm": (15, 4, 4),
}
ARRAY = np.random.default_rng(0).integers(0, 255, (2, 20, 30, 40), dtype=np.uint8)


def test_jobs_fill_a_store_that_is_there_only_when_finished(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    for box in BlockGrid((20, 30, 40), (16, 16, 16)):
        create_store(path, **OPTIONS)[(..., *box.slices)] = ARRAY[(..., *box.slices)]
    with pytest.raises(MissingDataError, match=r"a\.zarr is not finished"):
        read_attributes(path)
    with pytest.raises(DataError, match=r"a\.zarr is not finished"):
        open_volume(path)
    finish_store(
        path, attributes={"offsets_zyx_vx": [[1, 0, 0]]}, voxel_size_zyx_nm=(30, 8, 8), offset_zyx_nm=(15, 4, 4)
    )
    assert read_attributes(path) == {"offsets_zyx_vx": [[1, 0, 0]]}
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read(), ARRAY)
    assert (volume.voxel_size_zyx_nm, volume.offset_zyx_nm) == ((30, 8, 8), (15, 4, 4))
    shards = [p for p in (path / "s0" / "c").rglob("*") if p.is_file()]
    assert len(shards) == len(BlockGrid((20, 30, 40), (16, 16, 16)))


@pytest.mark.parametrize("rank", [3, 4])
def test_the_attributes_are_ome_ngff(tmp_path: Path, rank: int) -> None:
    models = pytest.importorskip(
        "ome_zarr_models.v05", reason="ome-zarr-models checks the metadata and is not installed"
    )
    write_store(
        tmp_path / "a.zarr", ARRAY if rank == 4 else ARRAY[0], voxel_size_zyx_nm=(30, 8, 8), offset_zyx_nm=(1, 2, 3)
    )
    image = models.Image.from_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"))
    (multiscale,) = image.ome_attributes.multiscales
    assert [axis.name for axis in multiscale.axes] == list("czyx"[-rank:])
    size, offset = multiscale.datasets[0].coordinateTransformations
    assert tuple(size.scale)[-3:] == (30, 8, 8)
    assert tuple(offset.translation)[-3:] == (1, 2, 3)


def test_jobs_that_start_together_make_one_store(tmp_path: Path) -> None:
    together = Barrier(8)

    def job(number: int) -> None:
        together.wait()
        array = create_store(tmp_path / "a.zarr", **{**OPTIONS, "shape": (2, 8 * 16, 16, 16)})
        array[:, number * 16 : number * 16 + 16] = number + 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(job, range(8)))
    assert os.listdir(tmp_path / "a.zarr") == ["s0"]
    finish_store(tmp_path / "a.zarr", attributes={})
    assert open_volume(tmp_path / "a.zarr").read()[1, ::16, 0, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (2, 20, 30, 41)}, r"begun with another shape; expected \[2, 20, 30, 40\]; got \[2, 20, 30, 41\]"),
        ({"dtype": np.uint16}, 'another data type; expected "uint8"; got "uint16"'),
        ({"shard_zyx": (16, 16, 32)}, r"another chunk grid"),
        ({"chunk_zyx": (4, 8, 8)}, "another codecs"),
        ({"fill": 1}, "another fill value"),
        ({"voxel_size_zyx_nm": (30, 8, 9)}, "another attributes.*30.0, 8.0, 9.0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_store_of_another_kind_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    create_store(tmp_path / "a.zarr", **OPTIONS)
    with pytest.raises(ResumeMismatchError, match=message):
        create_store(tmp_path / "a.zarr", **{**OPTIONS, **change})
    assert os.listdir(tmp_path / "a.zarr") == ["s0"]


def test_finishing_what_was_not_begun_or_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="holds no array to finish"):
        finish_store(tmp_path / "a.zarr", attributes={})
    create_store(tmp_path / "a.zarr", **OPTIONS)
    with pytest.raises(ResumeMismatchError, match="another voxel_size_zyx_nm"):
        finish_store(tmp_path / "a.zarr", attributes={}, voxel_size_zyx_nm=(1, 1, 1))
    assert not (tmp_path / "a.zarr" / "zarr.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (20, 30)}, r"expected shape \(Z, Y, X\)"),
        ({"shape": (0, 2, 3)}, "without zeros"),
        ({"shard_zyx": (16, 16, 20)}, r"a shard is a whole number of chunks.*\(8, 8, 8\).*got \(16, 16, 20\)"),
    ],
)
def test_an_impossible_layout_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        create_store(tmp_path / "a.zarr", **{**OPTIONS, **change})
    assert not (tmp_path / "a.zarr").exists()


def test_a_disk_that_fills_up_is_explained_and_leaves_no_half_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = create_store(tmp_path / "a.zarr", **OPTIONS)

    def fill_up(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fill_up)
    with pytest.raises(
        DataError, match=r"no room left to write .*a\.zarr/s0/c/0/0/0/0.*GB free.*run the same command again"
    ):
        array[:, :16, :16, :16] = 1
    assert not [p for p in (tmp_path / "a.zarr" / "s0" / "c").rglob("*") if p.is_file()]


def test_write_store_replaces_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_store(path, ARRAY, voxel_size_zyx_nm=(1, 1, 1))
    write_store(path, ARRAY[0].astype(np.uint32), voxel_size_zyx_nm=(2, 2, 2), attributes={"kind": "labels"})
    volume = open_volume(path)
    assert (volume.shape, volume.dtype, volume.voxel_size_zyx_nm) == ((20, 30, 40), np.uint32, (2, 2, 2))
    assert read_attributes(path) == {"kind": "labels"}


def test_a_foreign_store_has_no_attributes_of_ours(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(DataError, match="not written by Connectomake"):
        read_attributes(tmp_path / "a.zarr")
    with pytest.raises(MissingDataError, match=r"b\.zarr does not exist"):
        read_attributes(tmp_path / "b.zarr")


@pytest.mark.parametrize(
    ("shape", "dtype", "shard"),
    [
        ((1000, 1000, 1000), "uint8", (256, 256, 256)),
        ((100, 1000, 20), "uint64", (128, 256, 64)),
        ((60, 512, 512, 512), "float32", (128, 128, 128)),
    ],
)
def test_a_shard_fits_volume_and_memory(shape: tuple, dtype: str, shard: tuple) -> None:
    assert fit_shard(shape, dtype) == shard


def test_a_shard_may_be_kept_smaller_but_is_one_chunk_at_least() -> None:
    assert fit_shard((1000, 1000, 1000), "uint8", most_bytes=2**21) == (128, 128, 128)
    assert fit_shard((9, 1000, 1000, 1000), "float16", most_bytes=1) == (64, 64, 64)
