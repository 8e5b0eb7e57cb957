"""Axes, voxel size and position come from the file or from the config, and never from both when they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from connectomake.errors import DataError, MissingDataError
from connectomake.geometry import Box
from connectomake.volumes.formats.metadata import to_nm
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import open_volume

ARRAY = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
SIZE = (40.0, 4.0, 8.0)


def write_hdf5(folder: Path, array: np.ndarray = ARRAY, **attributes: Any) -> str:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("raw", data=array).attrs.update(attributes)
    return f"{folder / 'a.h5'}::raw"


def write_image(
    folder: Path, axes: list[dict], levels: list[list[dict]], whole: list[dict] | None = None, ngff: str = "0.4"
) -> Path:
    """Write an OME-Zarr image with levels s0, s1, ... that hold their number in every voxel."""
    path = folder / "image.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2 if ngff == "0.4" else 3)
    for number in range(len(levels)):
        group.create_array(f"s{number}", data=np.full([2] * len(axes), number, np.uint8))
    datasets = [{"path": f"s{n}", "coordinateTransformations": steps} for n, steps in enumerate(levels)]
    image = {"axes": axes, "datasets": datasets} | ({"coordinateTransformations": whole} if whole else {})
    group.attrs.update(
        {"multiscales": [image]} if ngff == "0.4" else {"ome": {"version": ngff, "multiscales": [image]}}
    )
    return path


def space(letters: str, unit: str | None) -> list[dict]:
    return [{"name": a, "type": "space"} | ({"unit": unit} if unit else {}) for a in letters]


def scale(*values: float) -> dict:
    return {"type": "scale", "scale": list(values)}


def translation(*values: float) -> dict:
    return {"type": "translation", "translation": list(values)}


@pytest.mark.parametrize(
    ("attributes", "offset"),
    [
        ({"voxel_size_zyx_nm": SIZE, "axes": "zyx", "offset_zyx_vx": (1, 2, 3)}, (40.0, 8.0, 24.0)),
        ({"voxel_size_zyx_nm": SIZE, "axes": b"zyx", "offset_zyx_nm": (5, 6, 7)}, (5.0, 6.0, 7.0)),
        ({"resolution": SIZE, "offset": (5, 6, 7)}, (5.0, 6.0, 7.0)),
        ({"voxel_size": (0.04, 0.004, 0.008), "units": ["um"] * 3, "axis_names": ["z", "y", "x"]}, (0.0, 0.0, 0.0)),
        ({"element_size_um": (0.04, 0.004, 0.008)}, (0.0, 0.0, 0.0)),
    ],
    ids=["ours", "ours-nm", "cremi", "funlib", "ilastik"],
)
def test_attributes_of_hdf5(tmp_path: Path, attributes: dict, offset: tuple) -> None:
    volume = open_volume(write_hdf5(tmp_path, **attributes))
    assert volume.voxel_size_zyx_nm == pytest.approx(SIZE)
    assert volume.offset_zyx_nm == pytest.approx(offset)


def test_numbers_in_file_order_turn_with_the_axes_and_named_ones_do_not(tmp_path: Path) -> None:
    turned = write_hdf5(tmp_path, ARRAY.T, resolution=SIZE[::-1], offset=(3, 2, 1))
    volume = open_volume(turned, axes="xyz")
    assert (volume.voxel_size_zyx_nm, volume.offset_zyx_nm) == (SIZE, (1, 2, 3))
    named = open_volume(write_hdf5(tmp_path, ARRAY.T, voxel_size_zyx_nm=SIZE, axes="xyz"))
    assert named.voxel_size_zyx_nm == SIZE
    np.testing.assert_array_equal(named.read(), ARRAY)


def test_one_dataset_needs_no_name_and_dimension_labels_tell_the_axes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        data = file.create_dataset("only", data=ARRAY.T)
        for place, letter in enumerate("xyz"):
            data.dims[place].label = letter
    volume = open_volume(tmp_path / "b.h5", voxel_size_zyx_nm=SIZE)
    assert (volume.source, volume.axes) == (f"{tmp_path / 'b.h5'}::only", "xyz")


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_levels_of_an_image_with_transformations_of_level_and_whole(tmp_path: Path, ngff: str) -> None:
    levels = [[scale(0.04, 0.004, 0.008)], [scale(0.04, 0.008, 0.016), translation(0, 0.002, 0.004)]]
    path = write_image(tmp_path, space("zyx", "micrometer"), levels, [scale(1, 2, 2), translation(1, 0, 0)], ngff)
    finest, coarse = open_volume(path), open_volume(f"{path}::s1")
    assert finest.voxel_size_zyx_nm == pytest.approx((40, 8, 16))
    assert finest.offset_zyx_nm == pytest.approx((1000, 0, 0))
    assert coarse.voxel_size_zyx_nm == pytest.approx((40, 16, 32))
    assert coarse.offset_zyx_nm == pytest.approx((1000, 4, 8))
    assert (finest.read().max(), coarse.read().max(), open_volume(path / "s1").read().max()) == (0, 1, 1)


def test_an_image_in_a_group_in_a_store(tmp_path: Path) -> None:
    write_store(tmp_path / "outer.zarr" / "em" / "raw", ARRAY, voxel_size_zyx_nm=SIZE, offset_zyx_nm=(1, 2, 3))
    zarr.open_group(tmp_path / "outer.zarr", mode="a")
    for source in ("outer.zarr::em/raw", "outer.zarr::em/raw/s0", "outer.zarr/em/raw"):
        volume = open_volume(f"{tmp_path}/{source}")
        assert (volume.voxel_size_zyx_nm, volume.offset_zyx_nm) == (SIZE, (1, 2, 3))
        np.testing.assert_array_equal(volume.read(), ARRAY)


def test_a_scale_without_unit_is_no_voxel_size(tmp_path: Path) -> None:
    path = write_image(tmp_path, space("zyx", None), [[scale(*SIZE)]])
    with pytest.raises(DataError, match=r"voxel size of .* is not known.*set voxel_size_zyx_nm.*config/data/"):
        open_volume(path)
    assert open_volume(path, voxel_size_zyx_nm=(1, 2, 3)).voxel_size_zyx_nm == (1, 2, 3)


def test_imagej_and_ome_tiff(tmp_path: Path) -> None:
    pixels_per_um = (1 / 0.008, 1 / 0.004)
    imagej = {"axes": "ZYX", "spacing": 0.04, "unit": "um"}
    tifffile.imwrite(tmp_path / "ij.tif", ARRAY, imagej=True, resolution=pixels_per_um, metadata=imagej)
    sizes = {"PhysicalSizeZ": 0.04, "PhysicalSizeY": 4, "PhysicalSizeYUnit": "nm", "PhysicalSizeX": 0.008}
    tifffile.imwrite(tmp_path / "a.ome.tif", ARRAY, metadata={"axes": "ZYX", **sizes}, photometric="minisblack")
    assert open_volume(tmp_path / "ij.tif").voxel_size_zyx_nm == pytest.approx(SIZE, rel=1e-6)
    assert open_volume(tmp_path / "a.ome.tif").voxel_size_zyx_nm == pytest.approx(SIZE)


def test_the_dpi_of_a_plain_tiff_is_no_voxel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ARRAY, resolution=(72, 72), photometric="minisblack")
    with pytest.raises(DataError, match="voxel size"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize(("unit", "nm"), [("mm", 1e6), ("micron", 1e3), ("unknown", 1e6)])
def test_nifti_header(tmp_path: Path, unit: str, nm: float) -> None:
    affine = np.diag([8 / nm, 4 / nm, 40 / nm, 1])
    affine[:3, 3] = np.array([30, 20, 10]) / nm
    image = nibabel.Nifti1Image(ARRAY.T, affine)
    image.header.set_xyzt_units(xyz=unit)
    nibabel.save(image, tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert volume.voxel_size_zyx_nm == pytest.approx(SIZE, rel=1e-5)
    assert volume.offset_zyx_nm == pytest.approx((10, 20, 30), rel=1e-5)
    np.testing.assert_array_equal(volume.read(), ARRAY)


def test_scaled_nifti_is_read_as_float(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), np.diag([1e-6, 1e-6, 1e-6, 1]))
    image.header.set_xyzt_units(xyz="mm")
    image = nibabel.Nifti1Image(np.linspace(0, 1, 24).reshape(4, 3, 2), image.affine, image.header)
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert volume.dtype == volume.read().dtype == np.float64
    assert volume.read().max() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"voxel_size_zyx_nm": (40, 4, 9)},
            r"disagree about the voxel size.*40.0, 4.0, 8.0.*got voxel_size_zyx_nm: \[40, 4, 9\]",
        ),
        ({"offset_zyx_nm": (0, 0, 1)}, r"disagree about the position.*got offset_zyx_nm: \[0, 0, 1\]"),
        ({"axes": "xyz"}, "disagree about the axes.*zyx as the HDF5 file says; got axes: xyz"),
    ],
)
def test_file_and_config_may_agree_but_not_differ(tmp_path: Path, options: dict, message: str) -> None:
    source = write_hdf5(tmp_path, voxel_size_zyx_nm=SIZE, offset_zyx_nm=(5, 6, 7), axes="zyx")
    near = open_volume(source, axes="zyx", voxel_size_zyx_nm=(40.01, 4, 8), offset_zyx_nm=(5, 6, 7.001))
    assert near.voxel_size_zyx_nm == (40.01, 4, 8)
    with pytest.raises(DataError, match=message):
        open_volume(source, **options)


def test_a_box_moves_the_offset(tmp_path: Path) -> None:
    source = write_hdf5(tmp_path, voxel_size_zyx_nm=SIZE, offset_zyx_nm=(5, 6, 7))
    volume = open_volume(source, box=Box((1, 1, 2), (2, 3, 4)))
    assert volume.offset_zyx_nm == (45, 10, 23)
    np.testing.assert_array_equal(volume.read(), ARRAY[1:2, 1:3, 2:4])


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        (
            (4, 5),
            None,
            r"does not have the axes of a volume; expected three axes.*got shape \(4, 5\).*set the key axes",
        ),
        ((1, 1, 2, 3, 4), None, r"does not have the axes of a volume.*tczyx"),
        ((2, 3, 4), "cyx", "does not have the axes of a volume"),
        ((2, 2, 3, 4), "tzyx", "2 entries along its axis t"),
    ],
)
def test_a_wrong_rank_is_refused(tmp_path: Path, shape: tuple, axes: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_volume(write_hdf5(tmp_path, np.zeros(shape, np.uint8)), axes=axes, voxel_size_zyx_nm=SIZE)


def test_missing_files_and_arrays_come_with_what_exists(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "cremi.h5", "w") as file:
        file["volumes/raw"] = file["volumes/labels/neuron_ids"] = ARRAY
    with pytest.raises(
        MissingDataError, match=r"no array 'raw' in .*volumes/labels/neuron_ids.*did you mean .*::volumes/raw\?"
    ):
        open_volume(f"{tmp_path / 'cremi.h5'}::raw")
    with pytest.raises(MissingDataError, match=r"needs the name of the array.*volumes/labels/neuron_ids, volumes/raw"):
        open_volume(tmp_path / "cremi.h5")
    with pytest.raises(MissingDataError, match=r"creme\.h5 does not exist; did you mean .*cremi\.h5\?"):
        open_volume(f"{tmp_path / 'creme.h5'}::volumes/raw")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("x/raw", data=ARRAY)
    group.create_array("x/labels", data=ARRAY)
    with pytest.raises(MissingDataError, match=r"no array 'raww' in .*a\.zarr; it holds x/labels, x/raw"):
        open_volume(f"{tmp_path / 'a.zarr'}::raww")
    with pytest.raises(MissingDataError, match=r"needs the name.*it holds x/labels, x/raw"):
        open_volume(f"{tmp_path / 'a.zarr'}::x")


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    for name, text in (("a.h5", "HDF5"), ("a.tif", "TIFF"), ("a.nii", "NIfTI")):
        (tmp_path / name).write_text("not a picture")
        with pytest.raises(DataError, match=f"cannot be read as {text}"):
            open_volume(tmp_path / name)
    (tmp_path / "a.mrc").touch()
    with pytest.raises(DataError, match=r"format of .*a\.mrc is not known.*HDF5"):
        open_volume(tmp_path / "a.mrc")
    with pytest.raises(DataError, match=r"a\.tif holds one array.*got ::x"):
        open_volume(f"{tmp_path / 'a.tif'}::x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is not a volume; expected a folder of \.tif or \.png slices"):
        open_volume(tmp_path / "empty")
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(DataError, match=r"b\.zarr is not a Zarr store"):
        open_volume(tmp_path / "b.zarr")


def test_slices_are_counted_as_people_count_and_must_be_alike(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (2, 10, 9):
        Image.fromarray(np.full((3, 4), number, np.uint8)).save(tmp_path / f"s{number}.png")
    volume = open_volume(tmp_path, voxel_size_zyx_nm=SIZE)
    assert volume.read()[:, 0, 0].tolist() == [2, 9, 10]
    assert "between s2.png and s9.png some may be missing" in caplog.text
    Image.fromarray(np.zeros((3, 5), np.uint8)).save(tmp_path / "s9.png")
    with pytest.raises(
        DataError, match=r"s9\.png differs from the first slice, s2\.png.*\(3, 4\) uint8; got \(3, 5\) uint8"
    ):
        volume.read()
    (tmp_path / "s9.png").write_bytes((tmp_path / "s2.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"s9\.png cannot be read as PNG"):
        volume.read()
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "s2.png")
    with pytest.raises(DataError, match=r"s2\.png is not a grey slice"):
        open_volume(tmp_path, voxel_size_zyx_nm=SIZE)


def test_reading_outside_or_channels_that_are_not_there_is_refused(tmp_path: Path) -> None:
    volume = open_volume(write_hdf5(tmp_path), voxel_size_zyx_nm=SIZE)
    with pytest.raises(DataError, match=r"box reaches out of .*\(2, 3, 4\).*\[0, 0, 0\] to \[2, 3, 5\]"):
        volume.read(Box((0, 0, 0), (2, 3, 5)))
    with pytest.raises(DataError, match="no channels"):
        volume.read(channels=slice(0, 1))
    with pytest.raises(DataError, match="does not lie in"):
        volume.crop(Box((1, 1, 1), (1, 2, 2)))


def test_a_damaged_chunk_names_its_place(tmp_path: Path) -> None:
    write_store(tmp_path / "a.zarr", ARRAY, voxel_size_zyx_nm=SIZE)
    shard = tmp_path / "a.zarr" / "s0" / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-20] + bytes(20))
    with pytest.raises(DataError, match=r"a\.zarr.* cannot be decoded.*copy the store again"):
        open_volume(tmp_path / "a.zarr").read()


@pytest.mark.parametrize(
    ("unit", "nm"),
    [("nanometer", 1), ("Micrometers", 1e3), ("\u00b5m", 1e3), ("millimetre", 1e6), ("parsec", None), (None, None)],
)
def test_units(unit: str | None, nm: float | None) -> None:
    assert to_nm(unit) == nm
