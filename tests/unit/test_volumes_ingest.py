"""Ingest checks everything, converts what is slow, links what is fast, and is never half done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from connectomake.config.settings.data import VolumeSource
from connectomake.errors import DataError, MissingDataError
from connectomake.files import read_json, write_json
from connectomake.geometry import Box
from connectomake.ingest import convert as convert_module
from connectomake.ingest.convert import choose_block, choose_shard
from connectomake.ingest.ingest import ingest_volume, is_fast
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import Volume, open_volume

SIZE = (30.0, 8.0, 8.0)
RNG = np.random.default_rng(0)
RAW = RNG.integers(0, 255, (40, 50, 60), dtype=np.uint8)
LABELS = RNG.integers(0, 9, (40, 50, 60), dtype=np.uint32)
FIB25 = Path(__file__).parents[3] / "shared" / "data" / "fib25" / "fib25_medulla_z000-170.h5"


def write_hdf5(folder: Path, **arrays: np.ndarray) -> str:
    with h5py.File(folder / "a.h5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["voxel_size_zyx_nm"] = SIZE
    return f"{folder / 'a.h5'}"


def ingest(folder: Path, threads: int = 2, **source: object) -> Path:
    volume_json = folder / "results" / "ingest" / "data" / "left" / "volume.json"
    ingest_volume(VolumeSource(**{"role": "test", **source}), name="left", volume_json=volume_json, threads=threads)
    return volume_json


def test_a_converted_volume_reads_like_its_source(tmp_path: Path) -> None:
    file = write_hdf5(tmp_path, raw=RAW, labels=LABELS)
    box = ((1, 2, 3), (31, 42, 53))
    volume_json = ingest(tmp_path, role="train", raw=f"{file}::raw", labels=f"{file}::labels", box_zyx_vx=box, weight=2)
    raw, labels = IngestedVolume.read(volume_json).open_raw(), IngestedVolume.read(volume_json).open_labels()
    np.testing.assert_array_equal(raw.read(), RAW[Box(*box).slices])
    np.testing.assert_array_equal(labels.read(), LABELS[Box(*box).slices])
    assert is_fast(raw)
    assert raw.offset_zyx_nm == labels.offset_zyx_nm == (30, 16, 24)
    description = read_json(volume_json)
    assert {k: description[k] for k in ("name", "role", "weight", "shape_zyx")} == {
        "name": "left",
        "role": "train",
        "weight": 2,
        "shape_zyx": [30, 40, 50],
    }
    assert description["raw"] == {
        "source": "raw.zarr",
        "axes": "zyx",
        "box_zyx_vx": [[0, 0, 0], [30, 40, 50]],
        "dtype": "uint8",
    }
    assert description["settings"]["raw"] == f"{file}::raw"
    volume_json.parent.rename(tmp_path / "moved")
    np.testing.assert_array_equal(
        IngestedVolume.read(tmp_path / "moved" / "volume.json").open_raw().read(), raw_part(box)
    )


def raw_part(box: tuple) -> np.ndarray:
    return RAW[Box(*box).slices]


def test_a_fast_store_is_linked_with_its_box(tmp_path: Path) -> None:
    write_store(tmp_path / "a.zarr", RAW, voxel_size_zyx_nm=SIZE, offset_zyx_nm=(1, 1, 1))
    volume_json = ingest(tmp_path, raw=str(tmp_path / "a.zarr"), box_zyx_vx=((5, 5, 5), (9, 9, 9)))
    assert os.listdir(volume_json.parent) == ["volume.json"]
    raw = IngestedVolume.read(volume_json).open_raw()
    np.testing.assert_array_equal(raw.read(), RAW[5:9, 5:9, 5:9])
    assert raw.offset_zyx_nm == (151, 41, 41)
    assert read_json(volume_json)["labels"] is None
    with pytest.raises(DataError, match="volume left has no labels; give their path as the key labels"):
        IngestedVolume.read(volume_json).open_labels()


def test_a_generated_volume_is_linked_by_paths_that_move_along(tmp_path: Path) -> None:
    made = tmp_path / "results" / "phantom" / "tiny" / "seed0"
    write_store(made / "raw.zarr", RAW, voxel_size_zyx_nm=SIZE)
    write_store(made / "labels.zarr", LABELS, voxel_size_zyx_nm=SIZE)
    volume_json = tmp_path / "results" / "ingest" / "d" / "v" / "volume.json"
    source = VolumeSource(role="train", phantom="tiny")
    ingest_volume(source, name="v", volume_json=volume_json, raw=made / "raw.zarr", labels=made / "labels.zarr")
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "ingest" / "d" / "v" / "volume.json"
    np.testing.assert_array_equal(IngestedVolume.read(moved).open_labels().read(), LABELS)
    np.testing.assert_array_equal(IngestedVolume.read(moved).open_raw().read(), RAW)


@pytest.mark.parametrize("channels", [1, 3])
def test_nisb_is_turned_once(tmp_path: Path, channels: int) -> None:
    raw = RNG.integers(0, 255, (channels, *RAW.shape), dtype=np.uint8)
    group = zarr.open_group(tmp_path / "data.zarr", mode="w", zarr_format=2)
    group.create_array("img", data=raw.transpose(3, 2, 1, 0), chunks=(32, 32, 32, 1))
    group.create_array("seg", data=LABELS.T, chunks=(32, 32, 32))
    store = tmp_path / "data.zarr"
    volume_json = ingest(tmp_path, raw=f"{store}::img", labels=f"{store}::seg", voxel_size_zyx_nm=(20, 9, 9))
    assert sorted(os.listdir(volume_json.parent)) == ["labels.zarr", "raw.zarr", "volume.json"]
    np.testing.assert_array_equal(IngestedVolume.read(volume_json).open_raw().read(), raw if channels > 1 else raw[0])
    np.testing.assert_array_equal(IngestedVolume.read(volume_json).open_labels().read(), LABELS)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_intensities_stay_what_they_are(tmp_path: Path, dtype: str) -> None:
    raw = RAW.astype(dtype) * 257 if dtype == "uint16" else RAW.astype(dtype) / 255
    tifffile.imwrite(tmp_path / "a.tif", raw, compression="zlib", photometric="minisblack")
    volume_json = ingest(tmp_path, raw=str(tmp_path / "a.tif"), voxel_size_zyx_nm=SIZE)
    found = IngestedVolume.read(volume_json).open_raw().read()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, raw)


def bad(array: np.ndarray, value: float, dtype: str) -> np.ndarray:
    changed = array.astype(dtype)
    changed[3, 4, 5] = value
    return changed


@pytest.mark.parametrize("linked", [False, True], ids=["converted", "linked"])
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"raw": bad(RAW / 255, np.nan, "float32")}, r"raw.*hold NaN or infinity at voxel \(3, 4, 5\).*1 such voxel"),
        ({"raw": bad(RAW / 255, np.inf, "float16")}, r"raw.*hold NaN or infinity at voxel \(3, 4, 5\)"),
        ({"raw": bad(RAW / 255, 7, "float32")}, r"raw.*outside 0 to 1 at voxel \(3, 4, 5\).*got 0 to 7.*uint8"),
        ({"raw": RAW.astype(np.int16)}, "type that cannot be used; expected uint8, uint16, or float.*got int16"),
        ({"raw": np.full_like(RAW, 9)}, r"raw data of .* are empty.*got 9 in all \(40, 50, 60\) voxels.*box_zyx_vx"),
        ({"raw": RAW, "labels": LABELS.astype(np.float32)}, "labels of .* not integers.*got float32.*save .* uint32"),
        ({"raw": RAW, "labels": bad(LABELS, -2, "int32")}, r"labels.*negative at voxel \(3, 4, 5\).*got -2"),
        ({"raw": RAW, "labels": bad(LABELS, 2**64 - 1, "uint64")}, r"hold 18446744073709551615 at voxel .*as int64"),
        ({"raw": RAW, "labels": np.zeros_like(LABELS)}, "labels of .* are empty; expected at least one label above 0"),
        ({"raw": RAW, "labels": -np.ones(RAW.shape, np.int8)}, "labels of .* are empty"),
        ({"raw": RAW, "labels": np.full(RAW.shape, -4, np.int32)}, "labels of .* are negative .*got -4"),
        ({"raw": RAW, "labels": LABELS[:-1]}, r"shapes differ; expected \(40, 50, 60\).*got \(39, 50, 60\)"),
    ],
    ids=[
        "nan",
        "inf",
        "range",
        "int16",
        "constant",
        "float labels",
        "negative",
        "negative as unsigned",
        "no labels",
        "all unknown",
        "all negative",
        "shape",
    ],
)
def test_bad_values_stop_it_and_leave_nothing_that_looks_finished(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str, linked: bool
) -> None:
    if linked:
        for name, array in arrays.items():
            write_store(tmp_path / f"{name}.zarr", array, voxel_size_zyx_nm=SIZE)
        paths = {name: str(tmp_path / f"{name}.zarr") for name in arrays}
    else:
        file = write_hdf5(tmp_path, **arrays)
        paths = {name: f"{file}::{name}" for name in arrays}
    with pytest.raises(DataError, match=message):
        ingest(tmp_path, **paths)
    left = tmp_path / "results" / "ingest" / "data" / "left"
    assert not (left / "volume.json").exists()
    bad_store = left / ("labels.zarr" if "labels" in arrays else "raw.zarr") / "zarr.json"
    assert not bad_store.exists()


def test_unknown_labels_are_kept(tmp_path: Path) -> None:
    labels = bad(LABELS, -1, "int32")
    file = write_hdf5(tmp_path, raw=RAW, labels=labels)
    volume_json = ingest(tmp_path, raw=f"{file}::raw", labels=f"{file}::labels")
    np.testing.assert_array_equal(IngestedVolume.read(volume_json).open_labels().read(), labels)


def test_a_stopped_conversion_goes_on_and_another_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = RNG.integers(0, 255, (6 * 64, 64, 64), dtype=np.uint8)
    file = write_hdf5(tmp_path, raw=raw)
    source = {"raw": f"{file}::raw", "threads": 1}
    monkeypatch.setattr(convert_module, "choose_shard", lambda volume: (64, 64, 64))
    read, seen = Volume.read, []

    def read_until_killed(volume: Volume, box: Box | None = None, channels: slice | None = None) -> np.ndarray:
        if box is not None and box.shape_zyx == (64, 64, 64):
            seen.append(box.start_zyx[0] // 64)
            if len(seen) == 4:
                raise KeyboardInterrupt
        return read(volume, box, channels)

    monkeypatch.setattr(Volume, "read", read_until_killed)
    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path, **source)
    store = tmp_path / "results" / "ingest" / "data" / "left" / "raw.zarr"
    assert not (store / "zarr.json").exists()
    seen[:] = [0] * 10
    volume_json = ingest(tmp_path, **source)
    assert seen[10:] == [3, 4, 5]
    np.testing.assert_array_equal(IngestedVolume.read(volume_json).open_raw().read(), raw)

    write_hdf5(tmp_path, raw=255 - raw)
    os.utime(file, (1, 1))  # another file, even where the clock is coarse
    seen[:] = [0] * 10
    np.testing.assert_array_equal(IngestedVolume.read(ingest(tmp_path, **source)).open_raw().read(), 255 - raw)
    assert sorted(seen[10:]) == [0, 1, 2, 3, 4, 5]


KILLED = """
import os, sys
from pathlib import Path
from connectomake.config.settings.data import VolumeSource
from connectomake.ingest import convert
from connectomake.ingest import ingest

convert.choose_shard = lambda volume: (64, 64, 64)
replace, count = Path.replace, 0

def die_before_the_fourth_shard(path, target):
    global count
    count += "/c/" in str(target)
    if count == 4:
        os._exit(9)
    return replace(path, target)

Path.replace = die_before_the_fourth_shard
source = VolumeSource(role="test", raw=sys.argv[1])
ingest.ingest_volume(source, name="left", volume_json=Path(sys.argv[2]))
"""


def test_a_conversion_killed_amid_a_shard_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = RNG.integers(0, 255, (6 * 64, 64, 64), dtype=np.uint8)
    source = f"{write_hdf5(tmp_path, raw=raw)}::raw"
    volume_json = tmp_path / "results" / "ingest" / "data" / "left" / "volume.json"
    environment = {**os.environ, "PYTHONPATH": str(Path(convert_module.__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", KILLED, source, str(volume_json)], env=environment, check=False)
    assert killed.returncode == 9
    shards = volume_json.parent / "raw.zarr" / "s0" / "c"
    assert len(list(shards.rglob("*.partial"))) == 1
    assert not (volume_json.parent / "raw.zarr" / "zarr.json").exists()
    monkeypatch.setattr(convert_module, "choose_shard", lambda volume: (64, 64, 64))
    np.testing.assert_array_equal(IngestedVolume.read(ingest(tmp_path, raw=source)).open_raw().read(), raw)
    assert not list(shards.rglob("*.partial"))


def test_a_store_that_was_emptied_by_hand_is_made_again(tmp_path: Path) -> None:
    file = write_hdf5(tmp_path, raw=RAW)
    volume_json = ingest(tmp_path, raw=f"{file}::raw")
    store = volume_json.parent / "raw.zarr"
    (store / "s0").rename(tmp_path / "gone")
    ingest(tmp_path, raw=f"{file}::raw")
    np.testing.assert_array_equal(IngestedVolume.read(volume_json).open_raw().read(), RAW)


def test_what_was_moved_after_ingest_is_named(tmp_path: Path) -> None:
    write_store(tmp_path / "a.zarr", RAW, voxel_size_zyx_nm=SIZE)
    volume_json = ingest(tmp_path, raw=str(tmp_path / "a.zarr"))
    (tmp_path / "a.zarr").rename(tmp_path / "b.zarr")
    with pytest.raises(MissingDataError, match=r"a\.zarr does not exist; did you mean .*b\.zarr\?"):
        IngestedVolume.read(volume_json).open_raw()


@pytest.mark.parametrize(
    ("chunks", "fast"), [((64, 64, 64), True), ((1, 600, 600), False), ((16, 128, 128), True), ((300, 600, 600), False)]
)
def test_only_boxy_chunks_are_fast(tmp_path: Path, chunks: tuple, fast: bool) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(300, 600, 600), dtype=np.uint8, chunks=chunks)
    assert is_fast(open_volume(tmp_path / "a.zarr", voxel_size_zyx_nm=SIZE)) == fast


@pytest.mark.parametrize(
    ("shape", "dtype", "shard", "block"),
    [
        ((500, 1000, 1000), "uint8", (256, 256, 256), (256, 1024, 1024)),
        ((500, 8000, 8000), "uint8", (64, 256, 256), (64, 1024, 8192)),
        ((100, 100, 100), "uint16", (128, 128, 128), (128, 128, 128)),
    ],
)
def test_slices_are_decoded_as_seldom_as_memory_allows(
    tmp_path: Path, shape: tuple, dtype: str, shard: tuple, block: tuple
) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype=dtype, chunks=(1, *shape[1:]))
    volume = open_volume(tmp_path / "a.zarr", voxel_size_zyx_nm=SIZE)
    assert choose_shard(volume) == shard
    assert choose_block(volume, shard) == block


@pytest.mark.skipif(not FIB25.exists(), reason="the shared test data are not here")
def test_real_fib_sem(tmp_path: Path) -> None:
    volume_json = ingest(tmp_path, raw=f"{FIB25}::raw", labels=f"{FIB25}::labels")
    assert IngestedVolume.read(volume_json).open_raw().voxel_size_zyx_nm == (10, 10, 10)
    with h5py.File(FIB25) as file:
        np.testing.assert_array_equal(IngestedVolume.read(volume_json).open_raw().read(), file["raw"][:])
        np.testing.assert_array_equal(IngestedVolume.read(volume_json).open_labels().read(), file["labels"][:])


def test_volume_json_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def note(path: Path, value: object) -> None:
        written.append(Path(path).name)
        write_json(path, value)

    for module in ("ingested", "store"):
        monkeypatch.setattr(f"connectomake.volumes.{module}.write_json", note)
    file = write_hdf5(tmp_path, raw=RAW)
    ingest(tmp_path, raw=f"{file}::raw")
    assert written == ["zarr.json", "volume.json"]
