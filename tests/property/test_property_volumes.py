"""Reading any box of any format gives what slicing the whole array gives."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from connectomake.geometry import Box
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import Volume, open_volume

SHAPE = (7, 13, 11)
SIZE = (30.0, 8.0, 8.0)
GREY = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
WIDE = np.random.default_rng(1).integers(0, 60000, SHAPE, dtype=np.uint16)
COLOURED = np.random.default_rng(2).random((3, *SHAPE), dtype=np.float32)

# A writer makes a file of an array and gives how to open it.
Writer = Callable[[Path, np.ndarray], tuple[str, dict]]


def hdf5(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("volumes/raw", data=array, chunks=(1, *array.shape[1:]), compression="gzip")
    return f"{folder / 'a.h5'}::volumes/raw", {}


def hdf5_contiguous(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    with h5py.File(folder / "a.h5", "w") as file:
        file["raw"] = np.moveaxis(array, 0, -1) if array.ndim == 4 else array.T
    return f"{folder / 'a.h5'}::raw", {"axes": "zyxc" if array.ndim == 4 else "xyz"}


def tiff_mapped(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    tifffile.imwrite(folder / "a.tif", array, byteorder=">", photometric="minisblack")
    return str(folder / "a.tif"), {}


def tiff_imagej(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    axes = "ZCYX" if array.ndim == 4 else "ZYX"
    data = array.swapaxes(0, 1) if array.ndim == 4 else array
    tifffile.imwrite(folder / "a.tif", data, imagej=True, metadata={"axes": axes})
    return str(folder / "a.tif"), {}


def tiff_ome_compressed(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    metadata = {"axes": "CZYX"[-array.ndim :]}
    tifffile.imwrite(folder / "a.ome.tif", array, compression="zlib", metadata=metadata, photometric="minisblack")
    return str(folder / "a.ome.tif"), {}


def tiff_tiled(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    tifffile.imwrite(folder / "a.tiff", array, tile=(16, 16), photometric="minisblack")
    return str(folder / "a.tiff"), {}


def tiff_stack(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    for z, image in enumerate(array):
        tifffile.imwrite(folder / f"slice_{z + 5}.tif", image, compression="zlib" if z % 2 else None)
    return str(folder), {}


def png_stack(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    for z, image in enumerate(array):
        Image.fromarray(image).save(folder / f"slice_{z + 5}.png")
    return str(folder), {}


def nifti(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), folder / "a.nii")
    return str(folder / "a.nii"), {}


def nifti_compressed(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), folder / "a.nii.gz")
    return str(folder / "a.nii.gz"), {}


def zarr_2(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    kept = zarr.create_array(
        folder / "a.zarr", shape=array.shape, dtype=array.dtype, chunks=(5,) * array.ndim, zarr_format=2
    )
    kept[...] = array
    return str(folder / "a.zarr"), {}


def zarr_3(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    group = zarr.open_group(folder / "a.zarr", mode="w")
    group.create_array("deep/raw", data=array, chunks=(5,) * array.ndim)
    return f"{folder / 'a.zarr'}::deep/raw", {}


def ome_zarr_04(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    """Five axes with one time point, as bioformats2raw writes."""
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=2)
    data = array[None] if array.ndim == 4 else array[None, None]
    group.create_array("0", data=data, chunks=(1, 1, 4, 4, 4))
    units = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *units],
            "datasets": [
                {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 0.03, 0.008, 0.008]}]}
            ],
        }
    ]
    return str(folder / "a.zarr"), {}


def ours(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    write_store(folder / "a.zarr", array, voxel_size_zyx_nm=SIZE, chunk_zyx=(4, 4, 4))
    return str(folder / "a.zarr"), {}


def nisb(folder: Path, array: np.ndarray) -> tuple[str, dict]:
    group = zarr.open_group(folder / "data.zarr", mode="w", zarr_format=2)
    turned = array.transpose(3, 2, 1, 0) if array.ndim == 4 else array.T[..., None]
    group.create_array("img", data=turned, chunks=(6, 6, 6, 1))
    group.create_array("seg", data=np.zeros(SHAPE[::-1], np.uint32), chunks=(6, 6, 6))
    return f"{folder / 'data.zarr'}::img", {}


CASES: list[tuple[Writer, np.ndarray]] = [
    (hdf5, GREY),
    (hdf5, COLOURED),
    (hdf5_contiguous, WIDE),
    (hdf5_contiguous, COLOURED),
    (tiff_mapped, WIDE),
    (tiff_mapped, COLOURED),
    (tiff_imagej, WIDE),
    (tiff_imagej, COLOURED),
    (tiff_ome_compressed, GREY),
    (tiff_ome_compressed, COLOURED),
    (tiff_tiled, WIDE),
    (tiff_stack, WIDE),
    (png_stack, GREY),
    (png_stack, WIDE),
    (nifti, WIDE),
    (nifti, COLOURED),
    (nifti_compressed, GREY),
    (zarr_2, GREY),
    (zarr_2, COLOURED),
    (zarr_3, WIDE),
    (zarr_3, COLOURED),
    (ome_zarr_04, GREY),
    (ome_zarr_04, COLOURED),
    (ours, WIDE),
    (ours, COLOURED),
    (nisb, GREY),
    (nisb, COLOURED),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].__name__}-{case[1].dtype}-{case[1].ndim}d")
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, np.ndarray]:
    writer, array = request.param
    source, options = writer(tmp_path_factory.mktemp(writer.__name__), array)
    volume = open_volume(source, voxel_size_zyx_nm=SIZE, **options)
    if array.ndim == 3:
        volume = volume.drop_single_channel()
    return pickle.loads(pickle.dumps(volume)), array  # as a data loader's worker would get it


@st.composite
def boxes(draw: st.DrawFn, shape_zyx: tuple[int, int, int], smallest: int = 0) -> Box:
    start = [draw(st.integers(0, n - smallest)) for n in shape_zyx]
    return Box(start, [draw(st.integers(a + smallest, n)) for a, n in zip(start, shape_zyx, strict=True)])


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_box_is_a_slice_of_the_whole(written: tuple[Volume, np.ndarray], data: st.DataObject) -> None:
    volume, whole = written
    assert volume.shape_zyx == SHAPE
    assert volume.dtype == whole.dtype
    assert volume.has_channels == (whole.ndim == 4)
    assert volume.channels == (3 if whole.ndim == 4 else 1)
    box = data.draw(boxes(SHAPE))
    found = volume.read(box)
    np.testing.assert_array_equal(found, whole[(..., *box.slices)])
    assert found.dtype == whole.dtype
    assert found.flags.c_contiguous
    assert found.flags.writeable
    if whole.ndim == 4:
        channels = slice(*sorted(data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))))
        np.testing.assert_array_equal(volume.read(box, channels), whole[(channels, *box.slices)])


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_box_of_a_crop_is_a_slice_of_a_slice(written: tuple[Volume, np.ndarray], data: st.DataObject) -> None:
    volume, whole = written
    outer = data.draw(boxes(SHAPE, smallest=1))
    cropped = volume.crop(outer)
    inner = data.draw(boxes(cropped.shape_zyx))
    np.testing.assert_array_equal(cropped.read(inner), whole[(..., *outer.slices)][(..., *inner.slices)])
    moved = np.subtract(cropped.offset_zyx_nm, volume.offset_zyx_nm)
    np.testing.assert_allclose(moved, np.multiply(outer.start_zyx, SIZE))
