"""Which level of a pyramid a network gets, where it lies, and what is resampled when none fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from connectomake.config.settings.data import VolumeSource
from connectomake.errors import ConfigError, DataError
from connectomake.geometry import Box
from connectomake.ingest.ingest import ingest_volume
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.resample import Resampled, corner_nm
from connectomake.volumes.scale import choose_scale, list_levels, open_working

RNG = np.random.default_rng(1)
FINE = RNG.integers(1, 255, (32, 32, 32), dtype=np.uint8)


def halve(array: np.ndarray) -> np.ndarray:
    """Average pairs along each axis; at the far face of an odd axis, what exists."""
    for axis in range(3):
        starts = np.arange(0, array.shape[axis], 2)
        counts = np.diff([*starts, array.shape[axis]]).reshape([-1 if a == axis else 1 for a in range(3)])
        array = np.add.reduceat(array.astype(float), starts, axis) / counts
    return np.rint(array).astype(np.uint8)


def write_pyramid(
    store: Path,
    fine: np.ndarray,
    sizes_nm: list,
    version: str = "0.5",
    placed: bool = True,
    chunks: tuple = (16, 16, 16),
    first_nm: float = 0.0,
) -> list[np.ndarray]:
    """Write an OME-Zarr image of levels s0, s1, ... that halve all axes; give their arrays."""
    group = zarr.open_group(store, mode="w", zarr_format=3 if version == "0.5" else 2)
    levels, datasets = [fine], []
    for k, size in enumerate(sizes_nm):
        if k:
            levels.append(halve(levels[-1]))
        group.create_array(f"s{k}", data=levels[k], chunks=chunks)
        steps: list[dict] = [{"type": "scale", "scale": list(size)}]
        if placed:
            corner = [first_nm - a / 2 for a in sizes_nm[0]]
            steps.append({"type": "translation", "translation": [c + s / 2 for c, s in zip(corner, size, strict=True)]})
        datasets.append({"path": f"s{k}", "coordinateTransformations": steps})
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    image = {"version": version, "multiscales": [{"version": version, "axes": axes, "datasets": datasets}]}
    group.attrs.update({"ome": image} if version == "0.5" else {"multiscales": image["multiscales"]})
    return levels


def ingest(folder: Path, raw: str, **source: object) -> Path:
    volume_json = folder / "ingest" / "volume.json"
    ingest_volume(VolumeSource(role="predict", raw=raw, **source), name="block", volume_json=volume_json)
    return volume_json


SIZES = [(8.0, 8.0, 8.0), (16.0, 16.0, 16.0), (32.0, 32.0, 32.0)]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("name", ["", "::s0", "::s1"])
def test_a_pyramid_is_found_from_any_of_its_levels(tmp_path: Path, version: str, name: str) -> None:
    levels = write_pyramid(tmp_path / "a.zarr", FINE, SIZES, version)
    volume_json = ingest(tmp_path, f"{tmp_path / 'a.zarr'}{name}")
    own = 1 if name == "::s1" else 0
    others = [f"s{k}" for k in range(3) if k != own]
    assert [level.name for level in list_levels(IngestedVolume.read(volume_json))] == [None, *others]
    for k, size in enumerate(SIZES):
        level, resample_to = choose_scale(IngestedVolume.read(volume_json), [s * 1.04 for s in size], "match", 0.05)
        assert (level, resample_to) == (None if k == own else f"s{k}", None)
        found = open_working(IngestedVolume.read(volume_json), level, resample_to)
        np.testing.assert_array_equal(found.read(), levels[k])
        assert found.voxel_size_zyx_nm == size
        assert found.offset_zyx_nm == tuple((s - 8) / 2 for s in size)


def test_the_volume_itself_is_preferred(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.zarr", FINE, [(8.0, 8.0, 8.0), (8.2, 8.2, 8.2)])
    volume_json = ingest(tmp_path, str(tmp_path / "a.zarr"))
    for scale in ("match", "resample"):
        assert choose_scale(IngestedVolume.read(volume_json), (8.2, 8.2, 8.2), scale, 0.05) == (None, None)
    assert choose_scale(IngestedVolume.read(volume_json), (8.45, 8.45, 8.45), "match", 0.05) == ("s1", None)


def test_no_level_fits(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.zarr", FINE, SIZES)
    volume_json = ingest(tmp_path, str(tmp_path / "a.zarr"))
    with pytest.raises(ConfigError) as error:
        choose_scale(IngestedVolume.read(volume_json), (12.0, 16.0, 16.0), "match", 0.05)
    assert str(error.value) == (
        "the volume block has no voxels of the size that the network was trained with (z, y, x); expected "
        "12 x 16 x 16 nm, within 5 % along each axis; got the volume itself: 8 x 8 x 8 nm; s1: 16 x 16 x 16 nm; "
        "s2: 32 x 32 x 32 nm; set predict.scale: resample to resample the nearest of them, or as_is to take the "
        "volume as it is"
    )
    assert choose_scale(IngestedVolume.read(volume_json), (12.0, 16.0, 16.0), "as_is", 0.05) == (None, None)


@pytest.mark.parametrize(
    ("wanted", "level"),
    [((20, 20, 20), "s1"), ((30, 30, 15), None), ((64, 64, 64), "s2"), ((4, 4, 4), None), ((31, 31, 15.5), "s1")],
)
def test_the_nearest_level_that_is_not_coarser_is_resampled(tmp_path: Path, wanted: tuple, level: str | None) -> None:
    write_pyramid(tmp_path / "a.zarr", FINE, SIZES)
    volume_json = ingest(tmp_path, str(tmp_path / "a.zarr"))
    assert choose_scale(IngestedVolume.read(volume_json), wanted, "resample", 0.05) == (level, wanted)
    found = open_working(IngestedVolume.read(volume_json), level, wanted)
    assert isinstance(found, Resampled)
    assert found.voxel_size_zyx_nm == wanted
    assert corner_nm(found) == (-4, -4, -4)
    assert found.dtype == np.uint8


def test_levels_and_the_volume_show_the_same_place(tmp_path: Path) -> None:
    """A ramp tells positions, to less than half a voxel, which is worth 2.5: values are those of the centres."""
    ramp = np.broadcast_to(np.arange(0, 240, 5, dtype=np.uint8), (12, 12, 48))
    write_pyramid(tmp_path / "a.zarr", ramp, SIZES, chunks=(12, 12, 12), first_nm=1000.0)
    volume_json = ingest(tmp_path, str(tmp_path / "a.zarr"), box_zyx_vx=((1, 2, 5), (12, 11, 44)))
    whole = IngestedVolume.read(volume_json).open_raw()
    for wanted in ((16, 16, 16), (20, 20, 20), (12, 12, 12), (8, 8, 5), (11, 17, 32)):
        level, resample_to = choose_scale(IngestedVolume.read(volume_json), wanted, "resample", 0.05)
        found = open_working(IngestedVolume.read(volume_json), level, resample_to)
        centre = found.offset_zyx_nm[2] + found.voxel_size_zyx_nm[2] * np.arange(found.shape_zyx[2])
        inner = slice(2, -2)  # at the border the mean is of what there is
        np.testing.assert_allclose(found.read()[0, 0][inner], ((centre - 1000) * 5 / 8)[inner], atol=2)
        assert corner_nm(found)[2] <= corner_nm(whole)[2] + 1e-9


@pytest.mark.parametrize("shape", [(15, 17, 31), (5, 6, 7)])
def test_a_box_carries_over_with_all_that_it_touches(tmp_path: Path, shape: tuple) -> None:
    levels = write_pyramid(tmp_path / "a.zarr", FINE[tuple(slice(n) for n in shape)], SIZES)
    box = ((1, 2, 3), (5, 5, 7))
    volume_json = ingest(tmp_path, str(tmp_path / "a.zarr"), box_zyx_vx=box)
    found = open_working(IngestedVolume.read(volume_json), "s1")
    np.testing.assert_array_equal(found.read(), levels[1][0:3, 1:3, 1:4])
    assert found.offset_zyx_nm == (4, 20, 20)
    whole_json = ingest(tmp_path, str(tmp_path / "a.zarr"))
    np.testing.assert_array_equal(open_working(IngestedVolume.read(whole_json), "s2").read(), levels[2])


def test_levels_without_a_place_begin_where_the_volume_does(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.zarr", FINE, SIZES, placed=False)
    volume_json = ingest(tmp_path, str(tmp_path / "a.zarr"))
    assert [level.volume.offset_zyx_nm[0] for level in list_levels(IngestedVolume.read(volume_json))] == [0, 4, 12]


def test_the_pyramid_of_a_converted_volume_is_that_of_its_source(tmp_path: Path) -> None:
    levels = write_pyramid(tmp_path / "a.zarr", FINE, SIZES, chunks=(1, 32, 32))
    volume_json = ingest(tmp_path, str(tmp_path / "a.zarr"))
    assert (tmp_path / "ingest" / "raw.zarr").is_dir()
    np.testing.assert_array_equal(open_working(IngestedVolume.read(volume_json), "s1").read(), levels[1])
    (tmp_path / "a.zarr").rename(tmp_path / "gone.zarr")
    assert [level.name for level in list_levels(IngestedVolume.read(volume_json))] == [None]


def test_levels_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.zarr", FINE, SIZES)
    (tmp_path / "a.zarr" / "s1").rename(tmp_path / "s1")
    volume_json = ingest(tmp_path, str(tmp_path / "a.zarr"))
    assert [level.name for level in list_levels(IngestedVolume.read(volume_json))] == [None, "s2"]
    with pytest.raises(DataError, match="has no level s1; expected s2; it was there when"):
        open_working(IngestedVolume.read(volume_json), "s1")


def test_a_plain_array_is_its_only_level(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=FINE, chunks=(16, 16, 16))
    volume_json = ingest(tmp_path, str(tmp_path / "a.zarr"), voxel_size_zyx_nm=(8, 8, 8))
    assert [level.name for level in list_levels(IngestedVolume.read(volume_json))] == [None]
    found = open_working(IngestedVolume.read(volume_json), None, (16, 16, 16))
    box = Box((3, 3, 3), (9, 9, 9))
    np.testing.assert_array_equal(found.read(box), halve(FINE)[box.slices])
